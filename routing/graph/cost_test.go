package graph

import (
	"testing"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestACostOfALinkThatCameUpMeanwhileStands(t *testing.T) {
	g := New(at("a", 0), func() {})
	g.SetLinked(at("b", 0), true)
	measured := map[peer.ID]int{"b-0": 100} // before the other link comes up
	g.SetCost("b-1", 30)
	g.SetLinked(at("b", 1), true)
	g.SetCosts(measured)
	if got := g.Reach(); got[0] != "b 30" {
		t.Errorf("it says %v", got)
	}
}
