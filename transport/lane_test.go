package transport

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

func testPeer(id peer.ID) peer.Peer { return peer.Peer{ID: id, Region: "eu"} }

func deliver(body string) *wire.Record {
	return &wire.Record{How: wire.Deliver, Envelope: []byte(body)}
}

func TestRecordsArriveInOrderAndWhole(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		var want []string
		size := 0
		for i := range 5000 {
			body := fmt.Sprintf("%d %s", i, strings.Repeat("x", i*i%3000))
			size += len(body)
			want = append(want, "a "+body[:min(len(body), 40)])
			if err := a.Forward(t.Context(), "b", deliver(body)); err != nil {
				t.Fatal(err)
			}
		}
		big := strings.Repeat("y", 1<<20)
		if err := a.Forward(t.Context(), "b", deliver(big)); err != nil {
			t.Fatal(err)
		}
		b.wait("records", func() bool { return len(b.records) == 5001 })
		for i := range want {
			if b.records[i] != want[i] {
				t.Fatalf("record %d is %q, want %q", i, b.records[i], want[i])
			}
		}
		if b.bytes != size+len(big) {
			t.Errorf("%d bytes arrived, want %d", b.bytes, size+len(big))
		}
		if err := a.Forward(t.Context(), "b", deliver(big+big)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Forward of too much: %v", err)
		}
		if st := a.Links()[0]; st.EventsOut != 5001 || st.Queued != 0 || st.Dropped != 0 {
			t.Errorf("link: %+v", st)
		}
		if st := b.Links()[0]; st.EventsIn != 5001 {
			t.Errorf("link: %+v", st)
		}
	})
}

// slow runs a test with a receiver b that takes no batch until it is told to,
// and a queue at a of 1 MiB, which a has filled.
func slow(t *testing.T, test func(t *testing.T, w *network, a, b *node, sent int, goOn func())) {
	synctest.Test(t, func(t *testing.T) {
		w, conns := newNetwork(t, latency, 2)
		a := open(t, conns[0], "a", func(c *Config) { c.LaneQueue = 1 << 20 })
		b := open(t, conns[1], "b")
		b.hold = make(chan struct{})
		linkUp(a, b)
		sent, rec := 0, deliver(strings.Repeat("x", 10_000))
		for {
			err := a.TryForward("b", rec)
			if err == ErrLinkFull {
				time.Sleep(10 * time.Second) // until QUIC's windows are full as well
				if err = a.TryForward("b", rec); err == ErrLinkFull {
					break
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			sent++
		}
		if dropped := a.Links()[0].Dropped; dropped == 0 {
			t.Error("what TryForward refused was not counted")
		}
		test(t, w, a, b, sent, func() { close(b.hold) })
	})
}

func TestForwardWaitsForRoomWhileTheReceiverIsSlow(t *testing.T) {
	slow(t, func(t *testing.T, w *network, a, b *node, sent int, goOn func()) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := a.Forward(ctx, "b", deliver("no room"))
		if !errors.Is(err, ErrLinkFull) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Forward: %v after %v", err, time.Since(start))
		}
		if !a.Linked("b") {
			t.Error("the link went down because of a slow receiver")
		}
		if err := a.Send("b", 0x20, []byte("still")); err != nil {
			t.Error(err)
		}
		b.wait("a control frame past the full lane", func() bool { return len(b.frames) == 1 })
		done := make(chan error)
		go func() { done <- a.Forward(t.Context(), "b", deliver("at last")) }()
		synctest.Wait()
		goOn()
		if err := <-done; err != nil {
			t.Error(err)
		}
		b.wait("everything", func() bool { return len(b.records) == sent+1 })
		if last := b.records[sent]; last != "a at last" {
			t.Errorf("the last is %q", last)
		}
	})
}

func TestForwardDoesNotWaitForALinkThatIsDown(t *testing.T) {
	slow(t, func(t *testing.T, w *network, a, b *node, sent int, goOn func()) {
		done := make(chan error)
		go func() { done <- a.Forward(t.Context(), "b", deliver("too late")) }()
		synctest.Wait()
		start := time.Now()
		w.setBoth(a.peer.Addr, b.peer.Addr, true)
		if err := <-done; err != ErrLinkDown || time.Since(start) > silence {
			t.Errorf("Forward: %v after %v", err, time.Since(start))
		}
		a.waitDown("b")
		if st := a.Links()[0]; st.Dropped < 100 {
			t.Errorf("%d dropped, want what was queued: %+v", st.Dropped, st)
		}
		goOn()
	})
}
