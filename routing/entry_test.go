package routing

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/match"
)

func in(attr string, values ...string) filter.Pred {
	return filter.Pred{Attr: attr, Op: filter.In, Values: values}
}

// somePrintsOf is fingerprints of n values.
func somePrintsOf(n int) match.Prints {
	p := match.Prints{Base: filter.Conjunct{Type: "a.*"}, Attrs: []string{"source", "subject"}, Key: match.NewKey([]byte("key"))}
	for i := range n {
		p.Set = append(p.Set, p.Key.Fingerprint(fmt.Sprint(i)))
	}
	slices.Sort(p.Set)
	return p
}

func FuzzDecodeEntry(f *testing.F) {
	c := filter.Conjunct{Type: "a.*", Preds: []filter.Pred{in("subject", "x")}}
	f.Add(EncodeEntry("default", c))
	f.Add(encodeConjunct(kindWidened, "default", c))
	f.Add(encodePrints("default", somePrintsOf(1)))
	f.Add(encodePrints("default", somePrintsOf(maxPrints)))
	f.Add(strings.Repeat("\x01a", 40))
	f.Fuzz(func(t *testing.T, s string) {
		e, err := readEntry(s)
		if err != nil {
			if !errors.Is(err, ErrEntry) {
				t.Fatalf("%q: %v does not wrap ErrEntry", s, err)
			}
			return
		}
		again := ""
		switch {
		case e.prints != nil:
			if n := len(e.prints.Set); n == 0 || n > maxPrints || !slices.IsSorted(e.prints.Set) {
				t.Fatalf("%q is read as %d fingerprints", s, n)
			}
			again = encodePrints(e.ns, *e.prints)
		case e.widened:
			again = encodeConjunct(kindWidened, e.ns, e.conjunct)
		default:
			again = EncodeEntry(e.ns, e.conjunct)
		}
		if again != s || len(s) > maxEntry {
			t.Fatalf("%q is read as %s %s and written as %q", s, e.ns, e.conjunct, again)
		}
		// What can be read can be taken in, and away again.
		table := New("self", "eu")
		if err := table.SetRegion("us", "g", []string{s}, nil, true); err != nil {
			t.Fatal(err)
		}
		if n := table.Sizes()[OfRegion]; n == 0 || len(table.Interests()) == 0 {
			t.Fatalf("%q counts as %d interests", s, n)
		}
		table.DropGateway("us", "g")
		if len(table.spaces)+table.Sizes()[OfRegion] != 0 {
			t.Fatalf("something is left of %q", s)
		}
	})
}

func FuzzFeedback(f *testing.F) {
	f.Add("\x01"+EncodeEntry("default", filter.Conjunct{Type: "a"}), "\x30"+EncodeEntry("default", filter.Conjunct{}))
	f.Fuzz(func(t *testing.T, a, b string) {
		table := New("self", "eu")
		_ = table.SetFeedback("p", []string{a, b}, nil, true) // either may be malformed
		_ = table.SetFeedback("p", nil, []string{a}, false)
		_ = table.SetFeedback("p", nil, []string{b}, false)
		if len(table.summary.heard) > 0 {
			t.Fatal("costs are kept that are over")
		}
	})
}

func TestMalformedEntriesAreRefused(t *testing.T) {
	prints := encodePrints("default", somePrintsOf(3))
	unsorted := somePrintsOf(3)
	unsorted.Attrs = []string{"subject", "source"}
	many := somePrintsOf(maxPrints + 1)
	doubled := somePrintsOf(1)
	doubled.Set = append(doubled.Set, doubled.Set[0])
	none := somePrintsOf(0)
	for what, s := range map[string]string{
		"nothing":                  "",
		"no namespace":             EncodeEntry("", filter.Conjunct{}),
		"an unknown kind":          "\xc1a" + prints[8:],
		"one byte more":            prints + "x",
		"one byte less":            prints[:len(prints)-1],
		"too many fingerprints":    encodePrints("default", many),
		"no fingerprints":          encodePrints("default", none),
		"a fingerprint twice":      encodePrints("default", doubled),
		"attributes out of order":  encodePrints("default", unsorted),
		"attributes that are none": encodePrints("default", match.Prints{Set: []uint32{1}}),
		"too much":                 EncodeEntry("default", filter.Conjunct{Preds: []filter.Pred{in("a", strings.Repeat("x", 1000)+"1", strings.Repeat("x", 1000)+"2"), in("b", manyValues(20, 1000)...)}}),
	} {
		if _, err := readEntry(s); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// manyValues are n different values of a size.
func manyValues(n, size int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%0*d", size, i))
	}
	return list
}

// What no entry has room for is said wider: it must not be lost, nor keep other
// interests from being said.
func TestAnInterestThatIsTooLongIsSaidWider(t *testing.T) {
	f := filter.Filter{Conjuncts: []filter.Conjunct{{Type: "a", Preds: []filter.Pred{
		in("ext", manyValues(32, 1000)...), in("subject", "x"), {Attr: "tier", Op: filter.Prefix, Values: []string{"y"}},
	}}}}
	table := New("self", "eu")
	s := table.Subscribe("default", f, &sink{}, "")
	adds, _ := table.InterestChanges(start)
	if len(adds) != 1 || len(adds[0]) > maxEntry {
		t.Fatalf("says %d entries", len(adds))
	}
	_, c, err := DecodeEntry(adds[0])
	if err != nil || len(c.Preds) != 2 || !filter.Covers(c, f.Conjuncts[0]) {
		t.Fatalf("says %s (%v)", c, err)
	}
	table.Unsubscribe(s)
	table.InterestChanges(start)
	if _, removes := table.InterestChanges(start.Add(InterestLinger)); len(removes) != 1 {
		t.Errorf("%d entries are taken back", len(removes))
	}
}
