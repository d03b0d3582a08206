package routing

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/transport/peer"
)

// Whatever the routes are: each region that a frame is for gets one copy, with the
// numbers of its own flow, and no node gets two.
func TestARelaySplitsAFrameSoThatEachRegionIsInOneCopy(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 5))
		region := func(i int) string { return fmt.Sprint("r", i) }
		want := map[string]flow.Claim{}
		claim := func(i int) flow.Claim {
			c := flow.Claim{Region: region(i), Base: rng.Uint64N(50), Age: rng.Uint64N(50), Prev: rng.Uint64N(1000)}
			want[c.Region] = c
			return c
		}
		first, count := claim(0), rng.Uint64N(100)
		head := flow.Frame{Kind: flow.Events, Flow: flow.ID{Origin: "o", Boot: 1, Region: first.Region, Lane: 2},
			Base: first.Base, Age: first.Age, Prev: first.Prev, Upto: first.Prev + count}
		others := rng.IntN(8)
		for i := range others {
			head.Others = append(head.Others, claim(i+1))
		}
		hops := map[string]graph.Hop{}
		for r := range want {
			hops[r] = graph.Hop{Next: peer.ID([]string{"", "a", "b", "c"}[rng.IntN(4)])}
		}
		own := region(rng.IntN(12)) // or none of them
		delete(want, own)
		reached := map[peer.ID]bool{}
		Relay(&head, own, func(r string) graph.Hop { return hops[r] }, func(hop graph.Hop, to *flow.Frame) {
			if reached[hop.Next] {
				t.Errorf("seed %d: two copies to %q", seed, hop.Next)
			}
			reached[hop.Next] = true
			if to.Flow.Origin != "o" || to.Flow.Lane != 2 || to.Upto != to.Prev+count {
				t.Errorf("seed %d: %+v", seed, to)
			}
			for _, c := range append([]flow.Claim{{Region: to.Flow.Region, Base: to.Base, Age: to.Age, Prev: to.Prev}}, to.Others...) {
				if want[c.Region] != c || hops[c.Region].Next != hop.Next {
					t.Errorf("seed %d: %+v goes to %q; wanted are %+v", seed, c, hop.Next, want)
				}
				delete(want, c.Region)
			}
		})
		if len(want) > 0 || len(head.Others) != others {
			t.Fatalf("seed %d: in no copy: %v", seed, want)
		}
	}
}
