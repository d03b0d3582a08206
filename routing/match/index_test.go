package match

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/transport/event"
)

func conjuncts() *rapid.Generator[filter.Conjunct] {
	types := rapid.SampledFrom([]string{"", "a", "a.b", "a.*", "*", "*.b", ">", "a.>", "a.b.c", "*.*"})
	values := rapid.SampledFrom([]string{"x", "xy", "y", "xyz", ""})
	return rapid.Custom(func(t *rapid.T) filter.Conjunct {
		c := filter.Conjunct{Type: types.Draw(t, "type")}
		for _, attr := range []string{"ext", "source", "subject"} {
			switch rapid.IntRange(0, 7).Draw(t, attr) {
			case 1, 2:
				c.Preds = append(c.Preds, filter.Pred{Attr: attr, Op: filter.In, Values: []string{values.Draw(t, "v")}})
			case 3:
				c.Preds = append(c.Preds, filter.Pred{Attr: attr, Op: filter.In, Values: []string{"x", "y"}})
			case 4:
				c.Preds = append(c.Preds, filter.Pred{Attr: attr, Op: filter.Prefix, Values: []string{values.Draw(t, "v")}})
			case 5:
				c.Preds = append(c.Preds, filter.Pred{Attr: attr, Op: filter.Suffix, Values: []string{values.Draw(t, "v")}})
			case 6:
				c.Preds = append(c.Preds, filter.Pred{Attr: attr, Op: filter.Op(rapid.IntRange(int(filter.Exists), int(filter.Absent)).Draw(t, "op"))})
			}
		}
		if rapid.IntRange(0, 4).Draw(t, "rest") == 0 {
			c.RestText = "the id is 1"
			c.Rest = func(ev *event.Event) bool { return ev.ID() == "1" }
		}
		return c
	})
}

func someEvent(t *rapid.T) event.Event {
	value := rapid.SampledFrom([]string{"x", "xy", "y", "xyz", "z"})
	var b event.Builder
	b.SetString("id", rapid.SampledFrom([]string{"1", "2"}).Draw(t, "id")).SetString("source", value.Draw(t, "source"))
	b.SetString("type", rapid.SampledFrom([]string{"a", "b", "a.b", "a.b.c", "c.b", "a.", ".", "a.b.c.d"}).Draw(t, "type"))
	for _, attr := range []string{"subject", "ext"} {
		if rapid.Bool().Draw(t, attr) {
			b.SetString(attr, value.Draw(t, "value"))
		}
	}
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestTheIndexFindsWhatEachFilterWouldAccept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := New[int]()
		have := map[int]filter.Conjunct{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				have[i] = conjuncts().Draw(t, "conjunct")
				x.Add(have[i], i)
			case 2:
				for k, c := range have {
					x.Remove(c, k)
					x.Remove(c, k) // nothing
					delete(have, k)
					break
				}
			case 3:
				ev := someEvent(t)
				got := x.Match(&ev, nil)
				slices.Sort(got)
				var want []int
				for k, c := range have {
					if c.Match(&ev) {
						want = append(want, k)
					}
				}
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("type %q: got %v, want %v of %v", ev.Type(), got, want, have)
				}
			}
		}
		if x.Len() != len(have) {
			t.Fatalf("Len is %d with %d values", x.Len(), len(have))
		}
	})
}

func TestAnIndexThatIsEmptyAgainKeepsNothing(t *testing.T) {
	x := New[int]()
	add := func(do func(filter.Conjunct, int)) {
		for i := range 1000 {
			do(filter.Conjunct{Type: fmt.Sprintf("type.%d.>", i), Preds: []filter.Pred{{Attr: "subject", Op: filter.In, Values: []string{fmt.Sprint(i)}}}}, i)
			do(filter.Conjunct{Type: fmt.Sprintf("type.%d", i), Preds: []filter.Pred{{Attr: "subject", Op: filter.Prefix, Values: []string{fmt.Sprint(i)}}}}, i)
			do(filter.Conjunct{Preds: []filter.Pred{{Attr: fmt.Sprint("a", i), Op: filter.Exists}}}, i)
		}
	}
	add(x.Add)
	add(x.Remove)
	if x.Len() != 0 || len(x.root.exact) != 0 || x.root.star != nil || x.any != nil {
		t.Errorf("%d values, %d nodes below the root and %v are left", x.Len(), len(x.root.exact), x.any)
	}
}

// filters are the mix of filters of many small services: nearly all ask for one
// type and one subject.
func filters(n int, events bool) (list []filter.Conjunct, evs []event.Event) {
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.1, 1, 1999)
	typ := func() string { k := zipf.Uint64(); return fmt.Sprintf("shop.area%d.type%d", k%40, k) }
	in := func(attr, v string) filter.Pred { return filter.Pred{Attr: attr, Op: filter.In, Values: []string{v}} }
	subject := func() string { return fmt.Sprintf("subject/%d", rng.IntN(n)) }
	for i := range n {
		if events {
			break
		}
		var c filter.Conjunct
		switch share := rng.IntN(100); {
		case i < 500:
			c = filter.Conjunct{Type: typ(), Preds: []filter.Pred{{Attr: "subject", Op: filter.Suffix, Values: []string{fmt.Sprint("/", i)}}}}
		case share < 70:
			c = filter.Conjunct{Type: typ(), Preds: []filter.Pred{in("subject", subject())}}
		case share < 90:
			c = filter.Conjunct{Type: typ(), Preds: []filter.Pred{in("source", fmt.Sprintf("/source/%d", rng.IntN(n))), in("tier", fmt.Sprint(rng.IntN(5)))}}
		case share < 97:
			c = filter.Conjunct{Type: fmt.Sprintf("shop.*.type%d", zipf.Uint64()), Preds: []filter.Pred{in("subject", subject())}}
		default:
			c = filter.Conjunct{Type: fmt.Sprintf("shop.area%d.>", zipf.Uint64()%40), Preds: []filter.Pred{in("subject", subject())}}
		}
		list = append(list, c)
	}
	for range 8192 {
		if !events {
			break
		}
		var b event.Builder
		b.SetString("id", "1").SetString("source", fmt.Sprintf("/source/%d", rng.IntN(n))).SetString("type", typ())
		b.SetString("subject", subject()).SetString("tier", fmt.Sprint(rng.IntN(5)))
		ev, err := b.Event()
		if err != nil {
			panic(err)
		}
		evs = append(evs, ev)
	}
	return list, evs
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, events := filters(n, true)
			before := heap()
			list, _ := filters(n, false)
			x := New[uint32]()
			for i, c := range list {
				x.Add(c, uint32(i))
			}
			list = nil
			size := heap() - before
			var found []uint32
			for i := range events {
				found = x.Match(&events[i], found[:0])
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				found = x.Match(&events[i&8191], found[:0])
				i++
			}
			b.ReportMetric(float64(size)/1e6, "heap-MB")
			runtime.KeepAlive(x)
		})
	}
}
