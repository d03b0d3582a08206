package routing

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/routing/filter"
)

func someConjunct(t *rapid.T) filter.Conjunct {
	c := filter.Conjunct{Type: rapid.SampledFrom([]string{"", ">", "a", "a.*", "a.b", "*.b", "a.>"}).Draw(t, "type")}
	for _, attr := range []string{"source", "subject", "tier"} {
		switch rapid.IntRange(0, 4).Draw(t, attr) {
		case 1, 2:
			values := rapid.SampledFrom([][]string{{"x"}, {"y"}, {"x", "y"}, {"xy", "z"}, {"x", "y", "z"}}).Draw(t, "values")
			c.Preds = append(c.Preds, filter.Pred{Attr: attr, Op: filter.In, Values: values})
		case 3:
			c.Preds = append(c.Preds, filter.Pred{Attr: attr, Op: filter.Prefix, Values: []string{"x"}})
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
