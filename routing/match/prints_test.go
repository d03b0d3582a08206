package match

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/routing/filter"
)

// The test vectors of SipHash-2-4's authors: key 00 01 … 0f, input 00 01 … .
func TestFingerprintsAreSipHash(t *testing.T) {
	k := Key{k0: 0x0706050403020100, k1: 0x0f0e0d0c0b0a0908}
	var input []byte
	for i := range byte(15) {
		input = append(input, i)
	}
	for n, want := range map[int]uint64{0: 0x726fdb47dd0e0e31, 8: 0x93f5f5799a932462, 15: 0xa129ca6149be45e5} {
		if got := k.mix(0, string(input[:n])); got != want {
			t.Errorf("of %d bytes: %#x, want %#x", n, got, want)
		}
	}
}

func TestFingerprintsKeepTheOrderAndTheBoundsOfValues(t *testing.T) {
	k := NewKey([]byte("secret"))
	if k.Fingerprint("a", "b") == k.Fingerprint("b", "a") || k.Fingerprint("ab") == k.Fingerprint("a", "b") || k.Fingerprint("a", "") == k.Fingerprint("a") {
		t.Error("different values have equal fingerprints")
	}
	if other := NewKey([]byte("other")); other.ID == k.ID || other.Fingerprint("a") == k.Fingerprint("a") {
		t.Error("different keys make equal fingerprints")
	}
}

// somePrints are fingerprints of the values that conjuncts draws from.
func somePrints(t *rapid.T) Prints {
	p := Prints{
		Base:  filter.Conjunct{Type: rapid.SampledFrom([]string{"", "a", "a.*", "a.b", ">"}).Draw(t, "type")},
		Attrs: rapid.SampledFrom([][]string{{"source"}, {"subject"}, {"ext", "source"}}).Draw(t, "attrs"),
		Cut:   rapid.SampledFrom([]uint8{0, 30}).Draw(t, "cut"),
		Key:   rapid.SampledFrom([]Key{NewKey([]byte("1")), NewKey([]byte("2"))}).Draw(t, "key"),
	}
	if rapid.Bool().Draw(t, "check") {
		p.Base.Preds = []filter.Pred{{Attr: "subject", Op: filter.Exists}}
	}
	value := rapid.SampledFrom([]string{"x", "xy", "y", "xyz"})
	for range rapid.IntRange(1, 5).Draw(t, "size") {
		values := make([]string, len(p.Attrs))
		for i := range values {
			values[i] = value.Draw(t, "v")
		}
		p.Set = append(p.Set, p.Key.Fingerprint(values...)>>p.Cut)
	}
	slices.Sort(p.Set)
	p.Set = slices.Compact(p.Set)
	return p
}

// Beside plain conjuncts, whatever was added and removed before, an event finds
// the values of the sets that have the fingerprint of its values, each once for
// each fingerprint's table.
func TestTheIndexFindsFingerprints(t *testing.T) {
	type pair struct {
		p Prints
		v int
	}
	rapid.Check(t, func(t *rapid.T) {
		x := New[int]()
		var have []pair
		plain := map[int]filter.Conjunct{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				p := pair{somePrints(t), 1000 + rapid.IntRange(0, 3).Draw(t, "value")}
				have = append(have, p)
				x.AddPrints(p.p, p.v)
			case 2:
				if len(have) > 0 {
					k := rapid.IntRange(0, len(have)-1).Draw(t, "which")
					x.RemovePrints(have[k].p, have[k].v)
					have = slices.Delete(have, k, k+1)
				}
			case 3:
				plain[i] = conjuncts().Draw(t, "conjunct")
				x.Add(plain[i], i)
			case 4:
				ev := someEvent(t)
				var want []int
				for _, p := range have {
					fp, ok := p.p.Key.OfEvent(&ev, p.p.Attrs)
					if ok && slices.Contains(p.p.Set, fp>>p.p.Cut) && p.p.Base.Match(&ev) {
						want = append(want, p.v)
					}
				}
				for k, c := range plain {
					if c.Match(&ev) {
						want = append(want, k)
					}
				}
				slices.Sort(want)
				want = slices.Compact(want)
				got := x.Match(&ev, nil)
				slices.Sort(got)
				if got = slices.Compact(got); !slices.Equal(got, want) {
					t.Fatalf("type %q: got %v, want %v", ev.Type(), got, want)
				}
			}
		}
		for _, p := range have {
			x.RemovePrints(p.p, p.v)
		}
		for k, c := range plain {
			x.Remove(c, k)
		}
		if x.Len() != 0 || len(x.root.exact) != 0 || x.root.star != nil || x.root.rest != nil || x.any != nil {
			t.Fatalf("%d values are left, or places for them", x.Len())
		}
	})
}

// A table of fingerprints is what a map of them would be, through growing and
// shrinking and where many of them begin at one slot.
func TestATableOfFingerprintsIsAMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	x := New[int]()
	p := Prints{Attrs: []string{"subject"}, Key: NewKey(nil)}
	have := map[[2]int]int{}
	for round := range 4000 {
		fp, v := rng.IntN(3000), rng.IntN(3)
		p.Set = []uint32{uint32(fp)}
		if at := [2]int{fp, v}; round < 3000 && rng.IntN(3) > 0 || have[at] == 0 {
			have[at]++
			x.AddPrints(p, v)
		} else if have[at]--; true {
			x.RemovePrints(p, v)
		}
	}
	tab := &x.any.printTables[0]
	pairs := 0
	for at, n := range have {
		s := tab.slots[tab.find(uint32(at[0]), uint32(slices.Index(tab.values, at[1])))]
		if int(s.how&maxAdded) != n {
			t.Fatalf("%v was added %d times, the table says %d", at, n, s.how&maxAdded)
		}
		if n > 0 {
			pairs++
		}
	}
	if tab.used != pairs || x.Len() != pairs {
		t.Errorf("%d pairs, the table has %d and the index %d", pairs, tab.used, x.Len())
	}
}

// BenchmarkMatchFingerprints is BenchmarkMatch where twenty regions say their
// interests as fingerprints.
func BenchmarkMatchFingerprints(b *testing.B) {
	const n, regions = 1_000_000, 20
	list, _ := filters(n, false)
	_, events := filters(n, true)
	type shape struct {
		typ   string
		attrs string
	}
	key := NewKey([]byte("mesh"))
	sets := map[shape]*[regions]Prints{}
	rng := rand.New(rand.NewPCG(3, 4))
	for _, c := range list {
		var attrs, values []string
		for _, p := range c.Preds {
			if p.Op == filter.In {
				attrs, values = append(attrs, p.Attr), append(values, p.Values[0])
			}
		}
		if attrs == nil {
			continue
		}
		s := shape{c.Type, fmt.Sprint(attrs)}
		if sets[s] == nil {
			sets[s] = new([regions]Prints)
		}
		p := &sets[s][rng.IntN(regions)]
		p.Base.Type, p.Attrs, p.Key = c.Type, attrs, key
		p.Set = append(p.Set, key.Fingerprint(values...))
	}
	list = nil
	before := heap()
	x := New[string]()
	for _, byRegion := range sets {
		for r, p := range byRegion {
			x.AddPrints(p, fmt.Sprint("region", r))
		}
	}
	size := heap() - before
	var found []string
	for i := range events {
		found = x.Match(&events[i], found[:0])
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		found = x.Match(&events[i&8191], found[:0])
		i++
	}
	b.ReportMetric(float64(size)/float64(x.Len()), "heap-B/fingerprint")
	b.ReportMetric(float64(x.Len())/1e6, "M-fingerprints")
	runtime.KeepAlive(x)
	runtime.KeepAlive(sets)
}
