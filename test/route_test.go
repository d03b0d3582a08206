package test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
)

// TestRegionsInAChainDeliverToEachOther has three regions of which the outer two
// cannot reach each other.
func TestRegionsInAChainDeliverToEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 2, 2}})
		m.CutRegions("r0", "r2")
		m.Until(time.Minute, "the outer regions have lost their links", func() bool {
			return !linked(m, "r0", "r2")
		})
		left, right := subscribe(t, m.Nodes[1], "a"), subscribe(t, m.Nodes[4], "a")
		if len(left.Missing()) > 0 || len(right.Missing()) > 0 {
			t.Errorf("the barriers miss %v and %v", left.Missing(), right.Missing())
		}
		for i := range 50 {
			publish(t, m.Nodes[i%2], "a", fmt.Sprint("l", i))
			publish(t, m.Nodes[4+i%2], "a", fmt.Sprint("r", i))
		}
		for _, s := range []*node.Subscription{left, right} {
			got := collect(t, s, 5*time.Second)
			if want := append(numbers("l", 50), numbers("r", 50)...); len(got) != len(want) {
				t.Errorf("got %d events, want %d: %v", len(got), len(want), got)
			}
		}
		r, err := m.Nodes[0].Route("", new(newEvent(t, "a", "1", nil)))
		if err != nil || len(r.Targets) != 1 || r.Targets[0].Region != "r2" || !slices.Equal(r.Targets[0].Path, []string{"r1", "r2"}) {
			t.Errorf("the route is %+v, %v", r.Targets, err)
		}
		top := m.Nodes[0].Topology(context.Background())
		if !slices.ContainsFunc(top.Links, func(l node.LinkView) bool { return l.FromRegion == "r2" && l.ToRegion == "r2" }) {
			t.Error("the links inside the far region are not in the topology")
		}
	})
}

func TestWhatIsForSeveralRegionsPassesALinkOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events = 200
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 1, 1, 1}, Apart: [][2]string{{"r0", "r2"}, {"r0", "r3"}}})
		subs := []*node.Subscription{subscribe(t, m.Nodes[2], "a"), subscribe(t, m.Nodes[3], "a"), subscribe(t, m.Nodes[4], "a")}
		for i := range events {
			publish(t, m.Nodes[i%2], "a", fmt.Sprint(i))
		}
		for i, s := range subs {
			if got := collect(t, s, 5*time.Second); len(got) != events {
				t.Errorf("subscriber %d got %d events of %d", i, len(got), events)
			}
		}
		carried := uint64(0)
		for _, n := range m.Nodes[:2] {
			for _, l := range n.LinkViews() {
				if l.ToRegion == "r1" {
					carried += l.EventsOut
				}
			}
		}
		if carried < events || carried > events*11/10 { // some may be sent again while routes settle
			t.Errorf("%d events passed into the middle region, which %d were for", carried, events)
		}
	})
}

func TestARegionJoinsThroughAnotherAndReachesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 2, 2, 1}, Apart: [][2]string{{"r0", "r2"}, {"r0", "r3"}, {"r1", "r3"}}})
		first, last := subscribe(t, m.Nodes[0], "a"), subscribe(t, m.Nodes[6], "a")
		if len(first.Missing()) > 0 || len(last.Missing()) > 0 {
			t.Errorf("the barriers miss %v and %v", first.Missing(), last.Missing())
		}
		for i := range 20 {
			publish(t, m.Nodes[1], "a", fmt.Sprint("f", i))
			publish(t, m.Nodes[6], "a", fmt.Sprint("l", i))
		}
		for _, s := range []*node.Subscription{first, last} {
			if got := collect(t, s, 5*time.Second); len(got) != 40 {
				t.Errorf("got %d events of 40: %v", len(got), got)
			}
		}
		if linked(m, "r0", "r2") || linked(m, "r0", "r3") || linked(m, "r1", "r3") {
			t.Error("the regions were not apart")
		}
	})
}

func TestANodeThatCanOnlyDialOutIsAFullMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 2, 1}, NAT: []int{1, 4}})
		for round := range 3 {
			switch round {
			case 1: // whoever it was linked to comes back, and cannot dial it
				m.Crash(0)
				m.Start(0)
				m.WaitReady(0)
			case 2:
				m.CutRegions("r1", "r2")
				m.Until(time.Minute, "the cut shows", func() bool { return !linked(m, "r2", "r1") })
				m.HealRegions("r1", "r2")
			}
			m.Until(time.Minute, "all are linked", func() bool {
				return linked(m, "r2", "r0") && linked(m, "r2", "r1") && linked(m, "r0", "r2") && linked(m, "r1", "r2")
			})
			hidden, open := subscribe(t, m.Nodes[4], "a"), subscribe(t, m.Nodes[2], "a")
			if len(hidden.Missing()) > 0 || len(open.Missing()) > 0 {
				t.Fatalf("round %d: the barriers miss %v and %v", round, hidden.Missing(), open.Missing())
			}
			for i := range 20 {
				for _, n := range m.Nodes {
					publish(t, n, "a", fmt.Sprintf("%s-%d", n.Self().Name, i))
				}
			}
			for _, s := range []*node.Subscription{hidden, open} {
				if got := collect(t, s, 3*time.Second); len(got) != 100 {
					t.Errorf("round %d: got %d events of 100", round, len(got))
				}
				s.Close()
			}
		}
	})
}

// TestIndirectPath: where one region does not reach another in one direction, a
// third relays, and order holds.
func TestIndirectPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 1, 1}})
		s, back := subscribe(t, m.Nodes[3], "a"), subscribe(t, m.Nodes[0], "a")
		m.CutOneWay("r0", "r2")
		start := time.Now()
		for i := range 40 {
			publish(t, m.Nodes[1], "a", fmt.Sprint("f", i))
			publish(t, m.Nodes[3], "a", fmt.Sprint("b", i))
			time.Sleep(100 * time.Millisecond)
		}
		for _, s := range []*node.Subscription{s, back} {
			got := collect(t, s, 3*time.Second)
			for _, from := range []string{"f", "b"} {
				if of := slices.DeleteFunc(slices.Clone(got), func(id string) bool { return id[:1] != from }); !slices.Equal(of, numbers(from, 40)) {
					t.Errorf("from %s came %v", from, of)
				}
			}
		}
		if linked(m, "r0", "r2") {
			t.Errorf("after %v the way that is cut in one direction is still used", time.Since(start))
		}
	})
}

// linked reports whether a node of one region has a link to the other.
func linked(m *simmesh.Mesh, from, to string) bool {
	return slices.ContainsFunc(m.Nodes, func(n *node.Node) bool {
		return n != nil && n.Self().Region == from && slices.ContainsFunc(n.LinkViews(), func(l node.LinkView) bool {
			return l.ToRegion == to && l.State == "up"
		})
	})
}
