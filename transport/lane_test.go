package transport

import (
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
	return &wire.Record{How: wire.Deliver, Body: []byte(body)}
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
			if err := put(t, a, "b", deliver(body)); err != nil {
				t.Fatal(err)
			}
		}
		big := strings.Repeat("y", 1<<20)
		if err := put(t, a, "b", deliver(big)); err != nil {
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
		if err := put(t, a, "b", deliver(big+big)); !errors.Is(err, ErrTooLarge) {
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
			err := a.Forward("b", 0, rec, 1)
			if err == ErrLinkFull {
				time.Sleep(10 * time.Second) // until QUIC's windows are full as well
				if err = a.Forward("b", 0, rec, 1); err == ErrLinkFull {
					break
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			sent++
		}
		if dropped := a.Links()[0].Dropped; dropped == 0 {
			t.Error("what Forward refused was not counted")
		}
		test(t, w, a, b, sent, func() { close(b.hold) })
	})
}

func TestALaneThatRefusedSaysWhenItHasRoomAgain(t *testing.T) {
	slow(t, func(t *testing.T, w *network, a, b *node, sent int, goOn func()) {
		if err := a.Offer("b", 0, deliver("no room"), 1); err != ErrLinkFull || !a.Full("b", 0) {
			t.Errorf("Offer: %v, full: %v", err, a.Full("b", 0))
		}
		if !a.Linked("b") {
			t.Error("the link went down because of a slow receiver")
		}
		if err := a.Send("b", 0x20, []byte("still")); err != nil {
			t.Error(err)
		}
		b.wait("a control frame past the full lane", func() bool { return len(b.frames) == 1 })
		if a.rooms != 0 {
			t.Error("told of room that there is not")
		}
		goOn()
		a.wait("room", func() bool { return a.rooms == 1 })
		if a.Full("b", 0) {
			t.Error("full, when there is room")
		}
		if err := a.Offer("b", 0, deliver("at last"), 1); err != nil {
			t.Error(err)
		}
		b.wait("everything", func() bool { return len(b.records) == sent+1 })
		if last := b.records[sent]; last != "a at last" {
			t.Errorf("the last is %q", last)
		}
		if a.rooms != 1 {
			t.Errorf("told %d times of room", a.rooms)
		}
	})
}

func TestAnOfferIsRefusedLongBeforeTheQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, conns := newNetwork(t, latency, 2)
		a, b := open(t, conns[0], "a"), open(t, conns[1], "b")
		b.hold = make(chan struct{})
		defer close(b.hold)
		linkUp(a, b)
		rec := deliver(strings.Repeat("x", 100_000))
		for a.Offer("b", 0, rec, 1) == nil {
		}
		if queued := a.Links()[0].Queued; queued > defaultLaneQueue/8 {
			t.Errorf("%d bytes are queued", queued)
		}
		if err := a.Forward("b", 0, rec, 1); err != nil {
			t.Errorf("Forward, while Offer is refused: %v", err)
		}
	})
}

func TestALinkThatGoesDownLetsThoseGoWhoWaitForRoom(t *testing.T) {
	slow(t, func(t *testing.T, w *network, a, b *node, sent int, goOn func()) {
		if err := a.Offer("b", 0, deliver("no room"), 1); err != ErrLinkFull {
			t.Error(err)
		}
		start := time.Now()
		w.setBoth(a.peer.Addr, b.peer.Addr, true)
		a.wait("the end of waiting", func() bool { return a.rooms == 1 })
		if err := a.Offer("b", 0, deliver("too late"), 1); err != ErrLinkDown || time.Since(start) > silence {
			t.Errorf("Offer: %v after %v", err, time.Since(start))
		}
		a.waitDown("b")
		if st := a.Links()[0]; st.Dropped < 100 {
			t.Errorf("%d dropped, want what was queued: %+v", st.Dropped, st)
		}
		goOn()
	})
}
