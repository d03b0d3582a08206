package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

func TestWhatBeginsInARegionHasPassedIt(t *testing.T) {
	n := open(t, Config{Region: "eu"})
	l := &n.flows.lanes[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.offer("nobody", &flow.Frame{Kind: flow.Mark, Flow: flow.ID{Origin: n.self.ID, Boot: 1, Region: "us"}})
	if got := slices.Collect(l.out.visited.All()); !slices.Equal(got, []string{"eu"}) {
		t.Errorf("it says that it has passed %v", got)
	}
}

// What has passed as many regions as a record can list ends here: the next node
// would take it for malformed.
func TestWhatHasPassedAllTheRegionsThatItMayIsDropped(t *testing.T) {
	n := open(t, Config{Region: "eu"})
	there := peer.Peer{ID: "us-1", Region: "us"}
	n.graph.SetPeer(there)
	n.graph.SetLinked(there, true)
	pass := func(regions int) (noRoute, linkDown uint64) {
		noRoute, linkDown = n.count.drops[droppedNoRoute].Load(), n.count.drops[droppedLinkDown].Load()
		var visited wire.Visited
		for i := range regions {
			visited = visited.And(fmt.Sprint("r", i))
		}
		head := flow.Frame{Kind: flow.Mark, Flow: flow.ID{Origin: "o", Boot: 1, Region: "us"}}
		n.flows.relay("x", &wire.Record{How: wire.Enter, Visited: visited}, &head, nil)
		return n.count.drops[droppedNoRoute].Load() - noRoute, n.count.drops[droppedLinkDown].Load() - linkDown
	}
	if noRoute, linkDown := pass(wire.MaxVisited - 1); noRoute != 0 || linkDown != 1 {
		t.Errorf("one that has room for this region was not sent on: %d without a route", noRoute)
	}
	if noRoute, linkDown := pass(wire.MaxVisited); noRoute != 1 || linkDown != 0 {
		t.Errorf("one without room was sent on: %d without a route", noRoute)
	}
	if graph.MaxRegions != wire.MaxVisited {
		t.Errorf("ways may pass %d regions, and records list %d", graph.MaxRegions, wire.MaxVisited)
	}
}

func TestANodeDoesNotLeaveWhileARegionThatGossipHasForgottenIsOwedEvents(t *testing.T) {
	n := open(t, Config{Region: "eu"})
	var b event.Builder
	b.SetString("id", "1").SetString("source", "/s").SetString("type", "a")
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	l := &n.flows.lanes[3]
	l.mu.Lock()
	err = l.origin.Publish(time.Now(), "gone", 3, DefaultNamespace, &ev, flow.Block)
	l.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Leave(ctx); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("it left: %v", err)
	}
}
