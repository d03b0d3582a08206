package match

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/transport/event"
)

// A leaf that grows, shrinks and grows again finds all that it holds.
func TestALargeLeafHoldsBackNothingThatIsThere(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	x, have := New[int](), map[int]bool{}
	conjunct := func(i int) filter.Conjunct {
		return filter.Conjunct{Type: "a", Preds: []filter.Pred{{Attr: "subject", Op: filter.In, Values: []string{fmt.Sprint(i)}}}}
	}
	for round := range 12 {
		for range rng.IntN(3 * sieveFrom) {
			if i := rng.IntN(100_000); !have[i] {
				have[i] = true
				x.Add(conjunct(i), i)
			}
		}
		for i := range have {
			var b event.Builder
			ev, err := b.SetString("id", "1").SetString("source", "/s").SetString("type", "a").SetString("subject", fmt.Sprint(i)).Event()
			if err != nil {
				t.Fatal(err)
			}
			if got := x.Match(&ev, nil); len(got) != 1 || got[0] != i {
				t.Fatalf("round %d: %v for %d", round, got, i)
			}
		}
		for i := range have {
			if round%3 == 2 && len(have) > 10 {
				x.Remove(conjunct(i), i)
				delete(have, i)
			}
		}
	}
}
