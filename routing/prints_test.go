package routing

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/match"
)

// Whatever is added and removed, once flushed the chunks hold each fingerprint
// that counts once; folded, they hold nothing else and are few.
func TestChunksHoldWhatCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		said := map[string]bool{}
		cut := rapid.SampledFrom([]uint8{0, 17}).Draw(t, "cut")
		s := newPrintSet("default", match.Prints{Base: filter.Conjunct{Type: "a"}, Attrs: []string{"subject"}, Cut: cut}, func(e string, on bool) {
			if said[e] == on {
				t.Fatalf("%q is said %v again", e, on)
			}
			if said[e] = on; !on {
				delete(said, e)
			}
		})
		counts := map[uint32]int{}
		holds := func() (all []uint32) {
			for e := range said {
				r, err := readEntry(e)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, r.prints.Set...)
			}
			slices.Sort(all)
			return all
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			from, n := rapid.IntRange(0, 600).Draw(t, "from"), rapid.SampledFrom([]int{1, 5, 200}).Draw(t, "size")
			what := rapid.IntRange(0, 4).Draw(t, "what")
			for i := uint32(from); i < uint32(from+n); i++ {
				whole := i * 7_000_003
				fp := whole >> cut
				switch {
				case what < 2:
					s.add(whole)
					counts[fp]++
				case what == 2 && counts[fp] > 0:
					s.remove(whole)
					if counts[fp]--; counts[fp] == 0 {
						delete(counts, fp)
					}
				}
			}
			switch what {
			case 3:
				s.fold()
			case 4:
				s.flush()
				held := holds()
				if len(slices.Compact(slices.Clone(held))) != len(held) {
					t.Fatal("a fingerprint is said twice")
				}
				for fp := range counts {
					if _, has := slices.BinarySearch(held, fp); !has || !s.has(fp<<cut) {
						t.Fatalf("%d is not said", fp)
					}
				}
			}
			over := 0
			for c := range s.chunks {
				gone := 0
				for _, fp := range c.set {
					if counts[fp] == 0 {
						gone++
					}
				}
				if gone != c.over {
					t.Fatalf("of a chunk %d are over, not %d", gone, c.over)
				}
				over += gone
			}
			if s.live != len(counts) || len(s.at) != len(counts)+over {
				t.Fatalf("%d count and %d are over; the set has %d and %d", len(counts), over, s.live, len(s.at))
			}
		}
		s.flush()
		s.fold()
		s.fold()
		if want := slices.Sorted(maps.Keys(counts)); !slices.Equal(holds(), want) {
			t.Fatalf("%d fingerprints are said, %d count", len(holds()), len(want))
		}
		if most := 2 + 4*len(counts)/chunkPrints; len(said) > most {
			t.Fatalf("%d fingerprints are said in %d entries", len(counts), len(said))
		}
		if s.close(); len(said) > 0 {
			t.Fatal("something is still said")
		}
	})
}
