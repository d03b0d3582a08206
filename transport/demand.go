package transport

import (
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

const (
	// settle is how long a session has one lane in any case: until then little is
	// known of the way to the peer.
	settle = time.Second
	// patience is how long a lane's writer must have had more to write than it
	// could before there are more lanes; where packets get lost, haste. Both are
	// at least two round trips: a window opens by one packet in one of them.
	patience = 200 * time.Millisecond
	haste    = 50 * time.Millisecond
	// lossy is the part of packets lost from which on more lanes are worth it:
	// every loss halts one lane for a round trip, and shrinks its window.
	lossy = 1.0 / 2000
	// fewPackets in a heartbeat's time are too few to have lanes for.
	fewPackets = 8
	// unneeded is how long lanes are kept that are not needed, all of them;
	// fading, how long half of them after that.
	unneeded = 30 * time.Second
	fading   = 5 * time.Second
)

// demand is how many lanes a session needs, as a power of two: more when events
// wait though they are sent as fast as the windows allow, or when packets get
// lost; fewer after some time without either.
type demand struct {
	mu      sync.Mutex // guards the fields below
	most    int        // what both nodes take
	need    int        // by this node's own measure
	asked   int        // what the peer needs, as it says
	felt    time.Time  // when need was last as high
	changed time.Time  // when there were last more or fewer lanes
	why     string     // of need
	sent    float64    // packets, the recent ones counting most
	lost    float64    // packets of them
	total   traffic    // all of both, at the last look
}

// traffic is what went out on lanes, in packets.
type traffic struct{ sent, lost uint64 }

// wants is how many lanes there should be, and for what reason.
func (d *demand) wants() (n int, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asked > d.need {
		return min(d.asked, d.most), "the peer needs them"
	}
	return d.need, d.why
}

// ask notes what the peer needs.
func (d *demand) ask(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = n
}

// became notes how many lanes there are now.
func (d *demand) became(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed = now
}

// loss is the part of packets that got lost lately. d.mu is held.
func (d *demand) loss() float64 {
	if d.sent < fewPackets {
		return 0
	}
	return d.lost / d.sent
}

// patience is how long a writer must be under load, given a round trip time.
func (d *demand) patience(rtt time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.loss() >= lossy {
		return max(haste, 2*rtt)
	}
	return max(patience, 2*rtt)
}

// strained notes that a writer has been under load since some time, with so many
// lanes. It reports whether more are needed than before.
func (d *demand) strained(now, since time.Time, lanes int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if since.Before(d.changed) {
		return false // the lanes that have come since may be enough
	}
	return d.more(now, lanes, "load")
}

// look takes stock of what went out, at every heartbeat. It reports whether the
// number of lanes that are needed has changed.
func (d *demand) look(now time.Time, total traffic, lanes int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	sent := float64(total.sent - min(d.total.sent, total.sent))
	lost := float64(total.lost - min(d.total.lost, total.lost)) // quic-go takes losses back
	d.total = total
	d.sent, d.lost = d.sent*7/8+sent, d.lost*7/8+lost
	if lost > 0 && sent >= fewPackets && d.loss() >= lossy && now.Sub(d.changed) > beatEvery {
		return d.more(now, lanes, "loss")
	}
	if idle := now.Sub(d.felt); d.need > 1 && idle >= unneeded {
		d.need /= 2
		d.felt, d.why = now.Add(fading-unneeded), "no need of more"
		return true
	}
	return false
}

// more doubles the lanes that are needed, unless that many have not come yet.
// d.mu is held.
func (d *demand) more(now time.Time, lanes int, why string) bool {
	if lanes < d.need {
		return false
	}
	d.felt = now
	need := min(2*lanes, d.most)
	if need <= d.need {
		return false
	}
	d.need, d.why = need, why
	return true
}

// load is what a lane's writer has had to do since it last had nothing to do, or
// since the last look at it.
type load struct {
	since time.Time
	sent  int // bytes
}

func newLoad(now time.Time) load { return load{since: now} }

// bear looks at the load of a lane's writer that has more to write.
func (s *session) bear(l *lane, load *load) {
	now := time.Now()
	took := now.Sub(load.since)
	if s.most == 1 || took < haste || now.Sub(s.begun) < settle {
		return
	}
	stats := l.conn.ConnectionStats()
	if took < s.demand.patience(stats.SmoothedRTT) {
		return
	}
	since, sent := load.since, load.sent
	*load = newLoad(now)
	if !s.distant() || float64(sent)/took.Seconds() < windowUsed(stats)/2 {
		return // the peer does not take more, and would not on more lanes
	}
	if s.demand.strained(now, since, s.openLanes()) {
		s.stir()
	}
}

// windowUsed is the bytes per second that a connection sends when nothing but its
// congestion window holds it up.
func windowUsed(c quic.ConnectionStats) float64 {
	return float64(c.CongestionWindow) / max(c.SmoothedRTT, time.Millisecond).Seconds()
}

// weigh looks, at every heartbeat, at what was lost and what is needed no more.
func (s *session) weigh(now time.Time) {
	if s.most == 1 || now.Sub(s.begun) < settle || !s.distant() {
		return
	}
	open := s.openLanes()
	changed := s.demand.look(now, s.laneTraffic(), open)
	if n, _ := s.demand.wants(); changed || n != open { // perhaps tend could not do it before
		s.stir()
	}
}

// distant reports whether the peer is so far that more than one lane can be of
// use: where acknowledgements come at once, a loss is made up for at once.
func (s *session) distant() bool { return s.control.ConnectionStats().MinRTT >= farAway }
