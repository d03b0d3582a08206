package routing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/routing/filter"
)

func someConjunct(t *rapid.T) filter.Conjunct {
	c := filter.Conjunct{Type: rapid.SampledFrom([]string{"", ">", "a", "a.*", "a.b", "*.b", "a.>"}).Draw(t, "type")}
	for _, attr := range []string{"source", "subject", "tier"} {
		switch rapid.IntRange(0, 5).Draw(t, attr) {
		case 1, 2:
			values := rapid.SampledFrom([][]string{{"x"}, {"y"}, {"x", "y"}, {"xy", "z"}, {"x", "y", "z"}}).Draw(t, "values")
			c.Preds = append(c.Preds, filter.Pred{Attr: attr, Op: filter.In, Values: values})
		case 3:
			c.Preds = append(c.Preds, filter.Pred{Attr: attr, Op: filter.Prefix, Values: []string{rapid.SampledFrom([]string{"x", "xy", "z", ""}).Draw(t, "prefix")}})
		case 4:
			c.Preds = append(c.Preds, filter.Pred{Attr: attr, Op: filter.Suffix, Values: []string{rapid.SampledFrom([]string{"y", "xy"}).Draw(t, "suffix")}})
		}
	}
	return c
}

// An interest is announced, or one that is announced covers it. Until one that
// was announced goes, which may leave more announced than need be, no announced
// one covers another: all that is looked for is found.
func TestOnlyTheWidestInterestsAreAnnounced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		announced := map[string]bool{}
		c := newCover(func(in *covered, on bool) {
			entry := in.entry
			if announced[entry] == on {
				t.Fatalf("%q is announced %v again", entry, on)
			}
			announced[entry] = on
		})
		added := map[string]filter.Conjunct{}
		count := map[string]int{}
		gone := false
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			if len(added) > 0 && rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				e := rapid.SampledFrom(keys(added)).Draw(t, "entry")
				gone = gone || announced[e] && count[e] == 1
				c.remove(e)
				if count[e]--; count[e] == 0 {
					delete(added, e)
					delete(count, e)
				}
			} else {
				conj := someConjunct(t)
				e := EncodeEntry("default", conj)
				c.add(e, "default", conj)
				added[e] = conj
				count[e]++
			}
			for e := range announced {
				if _, has := added[e]; announced[e] && !has {
					t.Fatalf("%q is announced, but not there", e)
				}
			}
			for e, conj := range added {
				by := 0
				for other, wider := range added {
					if announced[other] && filter.Covers(wider, conj) && len(wider.Preds) <= len(conj.Preds) {
						by++
					}
				}
				switch {
				case by == 0:
					t.Fatalf("nothing that is announced covers %v", conj)
				case announced[e] && by > 1 && !gone:
					t.Fatalf("%v is announced though another covers it", conj)
				}
			}
		}
		for e, n := range count {
			for range n {
				c.remove(e)
			}
		}
		if len(c.all)+len(c.areas) > 0 {
			t.Fatalf("%d interests and %d namespaces are left", len(c.all), len(c.areas))
		}
	})
}

func keys(m map[string]filter.Conjunct) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}

// BenchmarkSubscribe adds and removes one more subscription than there are.
func BenchmarkSubscribe(b *testing.B) {
	subject := func(i int) filter.Filter {
		return filter.Filter{Conjuncts: []filter.Conjunct{{Type: fmt.Sprintf("shop.type%d", i%100), Preds: []filter.Pred{
			{Attr: "subject", Op: filter.In, Values: []string{fmt.Sprint("subject/", i)}},
			{Attr: "tier", Op: filter.In, Values: []string{fmt.Sprint(i % 5)}},
		}}}}
	}
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := New("self", "eu")
			for i := range n {
				table.Subscribe("default", subject(i), &sink{}, "")
			}
			i := n
			b.ReportAllocs()
			for b.Loop() {
				table.Unsubscribe(table.Subscribe("default", subject(i), &sink{}, ""))
				i++
			}
		})
	}
}

// An order finds what begins, or ends, with something as comparing with each
// would, through sorting in and out of very many.
func TestAnOrderFindsWhatBeginsOrEndsWithSomething(t *testing.T) {
	for _, e := range []edge{{"subject", filter.Prefix}, {"subject", filter.Suffix}} {
		rng := rand.New(rand.NewPCG(1, 2))
		var o order
		var listed []*covered
		for step := range 5000 {
			if len(listed) > 0 && rng.IntN(100) < 30+step/80 {
				i := rng.IntN(len(listed))
				listed[i].listed = false
				o.remove()
				listed = slices.Delete(listed, i, i+1)
			} else {
				c := filter.Conjunct{Preds: []filter.Pred{{Attr: "subject", Op: filter.In, Values: []string{fmt.Sprintf("%d/%d", rng.IntN(40), rng.IntN(40))}}}}
				in := &covered{entry: fmt.Sprint(step), conjunct: c, listed: true}
				v, _ := e.value(&c)
				o.add(e.key(v), in)
				listed = append(listed, in)
			}
			if step%50 > 0 {
				continue
			}
			part := strconv.Itoa(rng.IntN(40))
			ask := filter.Conjunct{Preds: []filter.Pred{{Attr: "subject", Op: e.op, Values: []string{part}}}}
			found := map[*covered]bool{}
			o.begin(e.key(part), func(in *covered) { found[in] = true })
			for _, in := range listed {
				if want := filter.Covers(ask, in.conjunct); want != found[in] {
					t.Fatalf("step %d: %v covers %v: %v", step, ask, in.conjunct, want)
				}
				delete(found, in)
			}
			if len(found) > 0 {
				t.Fatalf("step %d: %d are found that are gone", step, len(found))
			}
		}
		if most := 4*len(listed) + 4*maxFresh; len(o.sorted)+len(o.fresh) > most {
			t.Errorf("%d places for %d interests", len(o.sorted)+len(o.fresh), len(listed))
		}
	}
}

// A group finds who covers an interest, and whom it covers, as comparing with
// each would.
func TestAGroupFindsWhatCoversAndWhatIsCovered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var g group
		var listed []*covered
		for step := range rapid.IntRange(1, 80).Draw(t, "steps") {
			if len(listed) > 0 && rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				i := rapid.IntRange(0, len(listed)-1).Draw(t, "which")
				g.unlist(listed[i])
				listed = slices.Delete(listed, i, i+1)
			} else {
				in := &covered{entry: fmt.Sprint(step), conjunct: someConjunct(t)}
				in.conjunct.Type = "a"
				g.list(in)
				listed = append(listed, in)
			}
			ask := &covered{conjunct: someConjunct(t)}
			ask.conjunct.Type = "a"
			found := map[*covered]bool{}
			for _, in := range g.covered(ask) {
				found[in] = true
			}
			covers := false
			for _, in := range listed {
				covers = covers || len(in.conjunct.Preds) <= len(ask.conjunct.Preds) && filter.Covers(in.conjunct, ask.conjunct)
				want := len(in.conjunct.Preds) >= len(ask.conjunct.Preds) && filter.Covers(ask.conjunct, in.conjunct)
				if want != found[in] {
					t.Fatalf("%v covers %v: %v, found %v", ask.conjunct, in.conjunct, want, found[in])
				}
			}
			if by := g.coverer(ask); (by != nil) != covers {
				t.Fatalf("%v is covered: %v, by %v", ask.conjunct, covers, by)
			}
		}
	})
}
