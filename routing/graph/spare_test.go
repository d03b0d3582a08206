package graph

import (
	"slices"
	"testing"

	"github.com/skeinmesh/skein/transport/peer"
)

// linkedAll is the world in which every node is linked to every other, as a
// mesh is that has formed at once.
func linkedAll(n int, regions ...string) map[peer.ID]*Graph {
	graphs := world(n, regions...)
	for _, g := range graphs {
		for _, p := range g.Peers() {
			g.SetLinked(p, true)
		}
	}
	return graphs
}

func TestSpareLinksAreThoseThatNeitherEndWants(t *testing.T) {
	graphs := linkedAll(8, "eu", "us")
	for _, g := range graphs { // gateways say what they reach; the others could do without
		for _, p := range g.Peers() {
			if p.Region == g.self.Region && graphs[p.ID].IsGateway() {
				g.SetReach(p.ID, graphs[p.ID].Reach())
			}
		}
	}
	for id, g := range graphs {
		for _, p := range g.Peers() {
			spare := slices.Contains(g.Spare(), p.ID)
			if wants := g.Wants(p.ID) || graphs[p.ID].Wants(id); spare == wants {
				t.Errorf("the link from %s to %s is spare: %t, wanted: %t", id, p.ID, spare, wants)
			}
		}
	}
}

func TestARetiredLinkIsUsedAgainOnlyWhenItIsNeeded(t *testing.T) {
	graphs := linkedAll(8, "eu", "us")
	var g *Graph // of a node that is no gateway
	for _, other := range graphs {
		if !other.IsGateway() {
			g = other
		}
	}
	abroad := "us"
	if g.self.Region == abroad {
		abroad = "eu"
	}
	if spare := g.Spare(); len(spare) > 0 {
		t.Errorf("%v are spare while nobody else reaches %s", spare, abroad)
	}
	gateway := g.Gateways(g.self.Region)[0]
	g.SetReach(gateway, []string{abroad + " 80"})
	spare := g.Spare()
	if len(spare) != 8 {
		t.Fatalf("%d links are spare, want 8", len(spare))
	}
	for _, id := range spare {
		g.Retire(id)
	}
	if hop := g.Hop(abroad, 3); hop.Next != gateway || hop.Abroad || len(g.Reach()) != 0 {
		t.Errorf("the next step is %+v, it reaches %v; want all to go via %s", hop, g.Reach(), gateway)
	}
	g.SetReach(gateway, nil)
	if hop := g.Hop(abroad, 3); !hop.Abroad || !slices.Equal(g.Reached(), []string{abroad}) {
		t.Errorf("the next step is %+v, it reaches %v; want its own link again, since nobody else has one", hop, g.Reach())
	}
}
