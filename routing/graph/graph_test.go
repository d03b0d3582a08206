package graph

import (
	"fmt"
	"slices"
	"testing"

	"github.com/skeinmesh/skein/transport/peer"
)

func at(region string, i int) peer.Peer {
	return peer.Peer{ID: peer.ID(fmt.Sprintf("%s-%d", region, i)), Region: region}
}

// world makes the graphs of every node of regions with n nodes each, all
// knowing each other.
func world(n int, regions ...string) map[peer.ID]*Graph {
	var all []peer.Peer
	for _, r := range regions {
		for i := range n {
			all = append(all, at(r, i))
		}
	}
	graphs := map[peer.ID]*Graph{}
	for _, self := range all {
		g := New(self, func() {})
		for _, p := range all {
			g.SetPeer(p)
		}
		graphs[self.ID] = g
	}
	return graphs
}

func TestAllNodesNameTheSameGateways(t *testing.T) {
	graphs := world(9, "eu", "us")
	want := graphs["eu-0"].Gateways("eu")
	if len(want) != GatewaysPerRegion {
		t.Fatalf("%d gateways, want %d", len(want), GatewaysPerRegion)
	}
	for id, g := range graphs {
		if got := g.Gateways("eu"); !slices.Equal(got, want) {
			t.Errorf("%s names %v, others %v", id, got, want)
		}
		if g.IsGateway() != slices.Contains(g.Gateways(g.self.Region), id) {
			t.Errorf("%s does not know what it is", id)
		}
	}
}

func TestGatewaysAreThoseThatAreToldTo(t *testing.T) {
	g := New(at("eu", 0), func() {})
	for i := range 8 {
		p := at("us", i)
		p.Gateway = peer.GatewayNever
		g.SetPeer(p)
	}
	if got := g.Gateways("us"); len(got) != GatewaysPerRegion {
		t.Errorf("a region that has nobody else has gateways %v", got)
	}
	g.SetPeer(at("us", 3))
	if got := g.Gateways("us"); !slices.Equal(got, []peer.ID{"us-3"}) {
		t.Errorf("gateways are %v, want the one that may be", got)
	}
	for i := range 7 {
		p := at("us", i)
		p.Gateway = peer.GatewayAlways
		g.SetPeer(p)
	}
	if got := g.Gateways("us"); len(got) != 7 || slices.Contains(got, "us-7") {
		t.Errorf("gateways are %v, want the seven that are told to", got)
	}
}

func TestLinksAreWantedByBothEnds(t *testing.T) {
	graphs := world(8, "eu", "us", "ap")
	for id, g := range graphs {
		for _, p := range g.Wanted() {
			back := graphs[p.ID].Wanted()
			if !slices.ContainsFunc(back, func(q peer.Peer) bool { return q.ID == id }) {
				t.Errorf("%s wants a link to %s, which does not want it", id, p.ID)
			}
		}
	}
	if n := len(graphs["eu-0"].Linked("eu")); n != 0 {
		t.Errorf("%d links without any", n)
	}
}

func TestTheNextHopFollowsTheLinks(t *testing.T) {
	g := New(at("eu", 0), func() {})
	for i := range 3 {
		g.SetPeer(at("eu", i))
		g.SetPeer(at("us", i))
	}
	if h := g.Hop("us", 0); h != (Hop{}) {
		t.Errorf("no link, but a hop: %+v", h)
	}
	g.SetLinked(at("eu", 1), true)
	if h := g.Hop("us", 0); h != (Hop{}) {
		t.Errorf("a neighbour that does not reach the region is a hop: %+v", h)
	}
	g.SetReach("eu-1", []string{"us 80"})
	if h := g.Hop("us", 0); h.Next != "eu-1" || h.Abroad {
		t.Errorf("want to go via the gateway, got %+v", h)
	}
	g.SetLinked(at("us", 2), true)
	if h := g.Hop("us", 0); h.Next != "us-2" || !h.Abroad {
		t.Errorf("want to go straight, got %+v", h)
	}
	if got := g.Reach(); !slices.Equal(got, []string{"us 0"}) {
		t.Errorf("reaches %v, want us", got)
	}
	before := g.Hop("us", 0)
	g.SetLinked(at("us", 2), false)
	g.SetLinked(at("us", 2), true)
	if again := g.Hop("us", 0); again.Link == before.Link || again.Next != before.Next {
		t.Errorf("a link that is up again is no other way: %+v, was %+v", again, before)
	}
	g.SetLinked(at("us", 2), false)
	g.DropPeer("eu-1")
	if h := g.Hop("us", 0); h != (Hop{}) {
		t.Errorf("all gone, but a hop: %+v", h)
	}
}

func TestAChangeOfEntryNodesMovesFewLanes(t *testing.T) {
	const regions = 200 // more keys than 16 lanes of one pair give
	var before, after []peer.ID
	nodes := []peer.ID{"a", "b", "c", "d", "e"}
	for r := range regions {
		for lane := range uint8(Lanes) {
			before = append(before, first(nodes, fmt.Sprint(r), lane))
			after = append(after, first(nodes[:4], fmt.Sprint(r), lane))
		}
	}
	share := map[peer.ID]int{}
	for i := range before {
		share[before[i]]++
		if before[i] != "e" && before[i] != after[i] {
			t.Fatalf("lane %d moved from %s to %s though %s is still there", i, before[i], after[i], before[i])
		}
	}
	for id, n := range share {
		if mean := regions * Lanes / len(nodes); n < mean*3/4 || n > mean*5/4 {
			t.Errorf("%s has %d lanes, the mean is %d", id, n, mean)
		}
	}
}

func BenchmarkHop(b *testing.B) {
	g := New(at("eu", 0), func() {})
	g.SetLinked(at("us", 1), true)
	b.ReportAllocs()
	for b.Loop() {
		g.Hop("us", 3)
	}
}
