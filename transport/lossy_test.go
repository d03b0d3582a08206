package transport

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// lose makes the network lose a part of the packets, from now on.
func (w *network) lose(part float64) {
	random := rand.New(rand.NewPCG(1, 2))
	w.setDrop(func(simnet.Packet) bool { return random.Float64() < part })
}

// flood offers events of 1 KiB on all slices in turn, as fast as they are taken,
// for some time. It returns how many bytes of them came to b in the second half.
func flood(t *testing.T, a, b *node, lasting time.Duration) (came int) {
	t.Helper()
	body := make([]byte, 1024) // that does not shrink
	noise := rand.NewChaCha8([32]byte{})
	start := time.Now()
	half := 0
	for slice := uint8(0); time.Since(start) < lasting; slice++ {
		if half == 0 && time.Since(start) > lasting/2 {
			half = b.size()
		}
		noise.Read(body)
		a.recorder.mu.Lock()
		rooms := a.rooms
		a.recorder.mu.Unlock()
		switch err := a.Offer("b", slice%wire.MaxLanes, &wire.Record{How: wire.Deliver, Body: body}, 1); err {
		case nil:
		case ErrLinkFull:
			a.wait("room", func() bool { return a.rooms > rooms })
		default:
			t.Fatal(err)
		}
	}
	return b.size() - half
}

func (r *recorder) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}

func TestOnALossyLinkSixteenLanesAreManyTimesAsFastAsOne(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures")
	}
	rate := map[int]float64{}
	for _, lanes := range []int{1, wire.MaxLanes} {
		synctest.Test(t, func(t *testing.T) {
			w, conns := newNetwork(t, 40*time.Millisecond, 2)
			a, b := open(t, conns[0], "a", unrepaired, func(c *Config) { c.MaxLanes = lanes }), open(t, conns[1], "b")
			linkUp(a, b)
			w.lose(0.01)
			const lasting = 30 * time.Second
			rate[lanes] = float64(flood(t, a, b, lasting)) / (lasting / 2).Seconds() / 1e6
			st := a.Links()[0]
			t.Logf("80 ms, 1 %% loss, at most %d lanes: %.2f MB/s on %d (%s)", lanes, rate[lanes], st.Lanes, st.LanesWhy)
		})
	}
	if rate[wire.MaxLanes] < 6*rate[1] {
		t.Errorf("%.2f MB/s, and %.2f on one lane", rate[wire.MaxLanes], rate[1])
	}
}

// punctual is a recorder that notes how long the events of pace were on their way.
type punctual struct {
	*recorder
	took []time.Duration // guarded by recorder.mu
}

func (p *punctual) HandleBatch(from peer.ID, records []byte) {
	now := time.Now().UnixNano()
	p.mu.Lock()
	for rest := records; len(rest) > 0; {
		rec, n, err := wire.ReadRecord(rest)
		if err != nil {
			p.t.Error(err)
			break
		}
		rest = rest[n:]
		p.took = append(p.took, time.Duration(now-int64(binary.BigEndian.Uint64(rec.Body))))
	}
	p.mu.Unlock()
	p.recorder.HandleBatch(from, records)
}

// pace sends an event of 1 KiB every millisecond, on all slices in turn.
func pace(t *testing.T, a *node, lasting time.Duration) {
	t.Helper()
	noise := rand.NewChaCha8([32]byte{})
	body := make([]byte, 1024)
	for i := range lasting / time.Millisecond {
		noise.Read(body)
		binary.BigEndian.PutUint64(body, uint64(time.Now().UnixNano()))
		if err := a.Forward("b", uint8(i%wire.MaxLanes), &wire.Record{How: wire.Deliver, Body: body}, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestOnALossyLinkFewEventsWaitForALostPacket(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures")
	}
	const rtt = 80 * time.Millisecond
	for loss, slowest := range map[float64]time.Duration{0.001: rtt, 0.01: 3 * rtt} {
		synctest.Test(t, func(t *testing.T) {
			w, conns := newNetwork(t, rtt/2, 2)
			p := &punctual{}
			a, b := open(t, conns[0], "a"), open(t, conns[1], "b", func(c *Config) { p.recorder, c.Handler = c.Handler.(*recorder), p })
			linkUp(a, b)
			w.lose(loss)
			pace(t, a, time.Minute)
			b.wait("all", func() bool { return len(p.took) == 60_000 })
			late := p.took[30_000:]
			slices.Sort(late)
			at := func(q float64) time.Duration { return late[int(q*float64(len(late)))].Round(time.Millisecond) }
			st := a.Links()[0]
			t.Logf("80 ms, %.1f %% loss, 1 k/s: p50 %v, p99 %v, p99.9 %v, on %d lanes (%s)", loss*100, at(0.5), at(0.99), at(0.999), st.Lanes, st.LanesWhy)
			if at(0.99) > slowest {
				t.Errorf("p99 is %v, want at most %v", at(0.99), slowest)
			}
		})
	}
}
