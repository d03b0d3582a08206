package transport

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// State is what a link is doing.
type State string

const (
	Up         State = "up"
	Connecting State = "connecting" // first attempt under way
	Down       State = "down"
)

// LinkStats is one link as it is now. Counters grow from the first session to
// the peer on.
type LinkStats struct {
	Peer      peer.Peer
	State     State
	Since     time.Time     // of the last change between up and not up
	Reason    string        // why it is not up; empty when up
	Before    string        // when it is up: why it had not been, unless it is up for the first time
	RTT       time.Duration // of the last heartbeats, and before them of the handshake; 0 when not up
	Loss      float64       // the part of packets that the network lost of late, repaired or not, 0 to 1
	Dialled   bool          // by this node, when it is up
	Lanes     int           // connections that carry events; 0 when not up
	LanesWhy  string        // why there are that many: the reason of the last change in this session
	BytesIn   uint64        // of batches, as they came
	BytesOut  uint64        // as they went out
	Saved     uint64        // bytes that compression kept from going out
	EventsIn  uint64
	EventsOut uint64
	Queued    int    // bytes of events that wait
	Dropped   uint64 // events that were queued when the link went down or were refused by Forward
}

// Stats is the endpoint as it is now.
type Stats struct {
	Links          []LinkStats
	Connections    int    // QUIC connections that are open
	Handshakes     int    // incoming ones that are not over
	PacketsDropped uint64 // of layers, because nobody read them fast enough
	PacketsRebuilt uint64 // of QUIC's, that the network had lost
}

// counters of a session, and of a link's past ones.
type counters struct {
	bytesIn, bytesOut, bytesSaved, eventsIn, eventsOut, dropped atomic.Uint64
}

func (c *counters) add(other *counters) {
	c.bytesIn.Add(other.bytesIn.Load())
	c.bytesOut.Add(other.bytesOut.Load())
	c.bytesSaved.Add(other.bytesSaved.Load())
	c.eventsIn.Add(other.eventsIn.Load())
	c.eventsOut.Add(other.eventsOut.Load())
	c.dropped.Add(other.dropped.Load())
}

// Links are all links that are kept, up or not, by peer.
func (e *Endpoint) Links() []LinkStats {
	e.mu.RLock()
	links := make([]*link, 0, len(e.links))
	for _, l := range e.links {
		links = append(links, l)
	}
	e.mu.RUnlock()
	stats := make([]LinkStats, 0, len(links))
	for _, l := range links {
		stats = append(stats, l.stats())
	}
	slices.SortFunc(stats, func(a, b LinkStats) int { return cmp.Compare(a.Peer.ID, b.Peer.ID) })
	return stats
}

// Link is one link that is kept.
func (e *Endpoint) Link(id peer.ID) (LinkStats, bool) {
	l := e.find(id)
	if l == nil {
		return LinkStats{}, false
	}
	return l.stats(), true
}

// Stats is the endpoint as it is now.
func (e *Endpoint) Stats() Stats {
	s := Stats{Links: e.Links(), PacketsDropped: e.socket.dropped.Load(), PacketsRebuilt: e.socket.mender.rebuilt.Load()}
	e.mu.RLock()
	defer e.mu.RUnlock()
	s.Connections, s.Handshakes = len(e.conns), e.knocks.all
	return s
}

func (l *link) stats() LinkStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := LinkStats{Peer: l.target, State: Connecting, Since: l.since, Reason: l.reason, Before: l.before}
	if l.broken {
		st.State = Down
	}
	var sum counters
	sum.add(&l.totals)
	if s := l.cur; s != nil {
		sum.add(&s.counters)
		if !s.ended() {
			st.Peer, st.State, st.Dialled = s.peer, Up, s.dialled
			st.Lanes, st.LanesWhy = s.laneCount()
			if st.RTT = time.Duration(s.rtt.Load()); st.RTT == 0 {
				st.RTT = s.control.ConnectionStats().SmoothedRTT
			}
			st.Loss = s.losses.part()
			st.Queued = int(s.backlog.size.Load())
		}
	}
	st.BytesIn, st.BytesOut = sum.bytesIn.Load(), sum.bytesOut.Load()
	st.Saved = sum.bytesSaved.Load()
	st.EventsIn, st.EventsOut = sum.eventsIn.Load(), sum.eventsOut.Load()
	st.Dropped = sum.dropped.Load()
	return st
}
