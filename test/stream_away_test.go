package test

import (
	"fmt"
	"log/slog"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// ordersOf makes orders whose envelopes have so many bytes each.
func ordersOf(t *testing.T, count, bytes int, from int) (evs []event.Event) {
	t.Helper()
	for i := range count {
		sized := func(data int) event.Event {
			var b event.Builder
			b.SetString("id", fmt.Sprint(from+i)).SetString("source", "/shop").SetString("type", "order.placed")
			ev, err := b.SetData(event.BinaryData, make([]byte, data)).Event()
			if err != nil {
				t.Fatal(err)
			}
			return ev
		}
		half := sized(bytes / 2)
		few := len(half.Bytes()) - bytes/2
		evs = append(evs, sized(bytes-few))
	}
	return evs
}

// Events of any size that a node takes, and as many as are published at once, are kept
// in another region at once if it can be reached, in their order, also through a region
// on the way; and what had to wait for it arrives.
func TestTheLargestEventsAreKeptInAnotherRegion(t *testing.T) {
	for _, placement := range []string{"home:r2", "local:r2,r3"} {
		t.Run(placement, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1, 1, 1}, Apart: [][2]string{{"r0", "r2"}, {"r0", "r3"}}})
				orders(t, m.Nodes[2], node.StreamDefinition{Placement: placement})
				published := 0
				publish := func(count, bytes int, waiting bool) {
					t.Helper()
					kept, err := m.Nodes[0].PublishKept(t.Context(), "", ordersOf(t, count, bytes, published), "")
					if err != nil || len(kept) != count {
						t.Fatalf("%d events of %d bytes: %d are kept, %v", count, bytes, len(kept), err)
					}
					for i, p := range kept {
						if p.Waiting != waiting || p.Event != i || !waiting && p.Offset != int64(published+i) {
							t.Fatalf("%d events of %d bytes: event %d is %+v", count, bytes, i, p)
						}
					}
					published += count
				}
				publish(1, 1<<20, false)
				publish(4096, 300, false)
				publish(1, 1<<20, false)
				publish(9, 300<<10, false)
				if placement == "home:r2" {
					m.IsolateRegion("r2")
					publish(3, 1<<20, true)
					publish(2000, 300, true)
					m.HealRegion("r2")
					m.Until(time.Minute, "nothing waits any more", func() bool {
						view, err := m.Nodes[0].Drained()
						return err == nil && view.Waiting == 0
					})
				}
				list := readAll(t, m.Nodes[2], "")
				for i, ev := range list {
					if ev.Event.ID() != fmt.Sprint(i) {
						t.Fatalf("event %d is %s", i, ev.Event.ID())
					}
				}
				if len(list) != published {
					t.Errorf("%d of %d events are kept", len(list), published)
				}
			})
		})
	}
}

// What waits for a stream that is deleted goes out while that can be undone, and is
// dropped once the stream is purged: then it can be given to nobody.
func TestWhatWaitsForAPurgedStreamIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said lines
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}, Log: slog.New(slog.NewTextHandler(&said, nil))})
		orders(t, m.Nodes[1], node.StreamDefinition{Placement: "home:r1"})
		wait := func(from, to int) {
			t.Helper()
			m.CutRegions("r0", "r1")
			kept, err := m.Nodes[0].PublishKept(t.Context(), "", ordersOf(t, to-from, 1000, from), "")
			if err != nil || len(kept) != to-from || !kept[0].Waiting {
				t.Fatalf("%v, %v", kept, err)
			}
			if err := m.Nodes[1].DeleteStream(t.Context(), "", "orders"); err != nil {
				t.Fatal(err)
			}
		}
		nothingWaits := func() {
			t.Helper()
			m.Until(time.Minute, "nothing waits", func() bool {
				view, err := m.Nodes[0].Drained()
				return err == nil && view.Waiting == 0
			})
		}
		wait(0, 3)
		m.HealRegions("r0", "r1")
		nothingWaits()
		if _, err := m.Nodes[1].UndeleteStream(t.Context(), "", "orders"); err != nil {
			t.Fatal(err)
		}
		if list := readAll(t, m.Nodes[1], ""); len(list) != 3 {
			t.Errorf("%d events are kept in a stream that was not deleted after all", len(list))
		}
		m.Until(time.Minute, "the stream is back", func() bool {
			kept, err := m.Nodes[0].PublishKept(t.Context(), "", ordersOf(t, 1, 1000, 3), "")
			return err == nil && len(kept) == 1
		})

		wait(4, 9)
		m.Crash(0)
		m.Crash(1)
		time.Sleep(25 * time.Hour) // simulated
		m.Start(1)
		m.WaitReady(1)
		time.Sleep(time.Minute) // simulated: the stream is purged
		m.HealRegions("r0", "r1")
		m.Start(0)
		m.WaitReady(0)
		nothingWaits()
		if !regexp.MustCompile(`level=WARN .* is dropped.* events=5`).MatchString(said.String()) {
			t.Error("nobody says what is dropped")
		}
	})
}
