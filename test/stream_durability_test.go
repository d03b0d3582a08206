package test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// A publisher that asks for less is not made to wait, and hears what it got; what it
// published is kept all the same, in order, while nothing fails.
func TestAPublisherChoosesHowLongItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{3, 1}})
		orders(t, m.Nodes[0], node.StreamDefinition{})
		publish := func(level node.Durability, id int) (took time.Duration, at node.Position) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel() // the publisher is gone then
			began := time.Now()
			kept, err := m.Nodes[1].PublishWith(ctx, "", []event.Event{order(t, "/shop", fmt.Sprint(id))}, node.PublishOptions{Durability: level})
			if err != nil || len(kept) != 1 {
				t.Fatalf("%s: %v %v", level, kept, err)
			}
			return time.Since(began), kept[0]
		}
		const each = 30
		for i := range each {
			if took, at := publish(node.Routed, i); took > 0 || !at.Routed || at.Offset != 0 || node.Reached(1, []node.Position{at}) != node.Routed {
				t.Fatalf("as routed it takes %v and is told as %v", took, at)
			}
		}
		for i, level := range []node.Durability{node.Leader, node.Quorum, ""} {
			if took, at := publish(level, each+i); took == 0 || at.Routed || at.Offset != int64(each+i) {
				t.Errorf("as %q it takes %v and is told as %v", level, took, at)
			}
		}
		got := readAll(t, m.Nodes[3], "")
		if len(got) != each+3 {
			t.Fatalf("%d events are kept, want %d", len(got), each+3)
		}
		for i, ev := range got {
			if ev.Event.ID() != fmt.Sprint(i) {
				t.Errorf("event %d is %s", i, ev.Event.ID())
			}
		}
		if s := m.Nodes[1].Stats().Streams; s.Kept != each+3 || s.Lost != 0 {
			t.Errorf("%d events count as kept and %d as lost", s.Kept, s.Lost)
		}
	})
}

// Without a quorum a publisher that waits is refused; one that does not is taken, and
// what it lost is counted.
func TestWhatIsOnlyRoutedMayBeLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{3}})
		orders(t, m.Nodes[0], node.StreamDefinition{})
		m.Crash(1)
		m.Crash(2)
		time.Sleep(5 * time.Second)
		ev := []event.Event{order(t, "/shop", "1")}
		if kept, err := m.Nodes[0].PublishWith(t.Context(), "", ev, node.PublishOptions{Durability: node.Routed}); err != nil || !kept[0].Routed {
			t.Errorf("as routed: %v %v", kept, err)
		}
		if kept, err := m.Nodes[0].PublishKept(t.Context(), "", []event.Event{order(t, "/shop", "2")}, ""); !errors.Is(err, node.ErrNotKept) {
			t.Errorf("with a quorum: %v %v", kept, err)
		}
		m.Until(time.Minute, "the loss is counted", func() bool { return m.Nodes[0].Stats().Streams.Lost == 1 })
	})
}

// An event for a stream with a home is not told as routed: it is kept there, or
// waits on the disk.
func TestWhatAHomeIsToKeepIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}})
		orders(t, m.Nodes[1], node.StreamDefinition{Placement: "home:r1"})
		for i, cut := range []bool{false, true} {
			if cut {
				m.CutRegions("r0", "r1")
			}
			kept, err := m.Nodes[0].PublishWith(t.Context(), "", []event.Event{order(t, "/shop", fmt.Sprint(i))}, node.PublishOptions{Durability: node.Routed})
			want := map[bool]node.Durability{false: node.Quorum, true: node.Waiting}[cut]
			if err != nil || node.Reached(1, kept) != want {
				t.Errorf("cut %v: %v %v, want %s", cut, kept, err, want)
			}
		}
	})
}
