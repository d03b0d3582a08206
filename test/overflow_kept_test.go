package test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// A region that is cut off has no room for the events that are for it, and their
// publisher waits for room. What a stream keeps is acknowledged all the same, whoever
// else is published with it: if it were refused, its publisher would send it again, and
// a stream without a window would keep it twice.
func TestWhatAStreamKeepsIsNotRefusedForWantOfRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}, Node: func(_ int, cfg *node.Config) { cfg.RegionBuffer = smallBuffer }})
		orders(t, m.Nodes[0], node.StreamDefinition{})
		far := subscribe(t, m.Nodes[1], "order.placed")
		other := subscribe(t, m.Nodes[1], "a")
		m.CutRegions("r0", "r1")
		m.Until(time.Minute, "the link is down", func() bool { return !linked(m, "r0", "r1") })

		// The lane is full of what no stream keeps.
		if _, err := flood(t, m.Nodes[0], node.Block); !errors.Is(err, node.ErrOverloaded) {
			t.Fatal(err)
		}
		order := func(id string) event.Event { return newEvent(t, "order.placed", id, make([]byte, padding)) }
		publish := func(evs ...event.Event) {
			t.Helper()
			began := time.Now()
			kept, err := m.Nodes[0].PublishKept(t.Context(), "", evs, node.Block)
			if err != nil || len(kept) != 1 || kept[0].Duplicate {
				t.Fatalf("kept at %v, %v", kept, err)
			}
			if waited := time.Since(began); waited < time.Second || waited > 3*time.Second {
				t.Errorf("it waited %v for room", waited)
			}
		}
		for i := range 3 {
			publish(order(fmt.Sprint(i)))
		}
		publish(newEvent(t, "a", "beside", make([]byte, padding)), order("3"))

		items := harvest(t, m, far)
		if len(items) != 1 || items[0].Gap == nil || items[0].Gap.Cause != "overflow" {
			t.Errorf("who listens in the other region got %+v", items)
		}
		if items := harvest(t, m, other); items[len(items)-1].Gap == nil {
			t.Errorf("the event beside what is kept is not told as a gap: the last is %s", items[len(items)-1].Event.ID())
		}
		if kept := readAll(t, m.Nodes[0], ""); len(kept) != 4 {
			t.Errorf("%v are kept, want 4", ids(kept))
		}
	})
}
