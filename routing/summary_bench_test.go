package routing

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/skeinmesh/skein/routing/filter"
)

// services is the interests of many small services: two thousand types, few of
// them used much. Nearly all ask for one type and one subject.
func services(n int, yield func(filter.Conjunct)) {
	rng := rand.New(rand.NewPCG(1, 2))
	types := rand.NewZipf(rng, 1.1, 1, 1999)
	subjects := rand.NewZipf(rng, 1.05, 20, uint64(10*n))
	for i := range n {
		k := types.Uint64()
		typ, subject := fmt.Sprintf("shop.area%d.type%d", k%40, k), fmt.Sprintf("subject/%d", subjects.Uint64())
		c := filter.Conjunct{Type: typ, Preds: []filter.Pred{in("subject", subject)}}
		switch share := rng.IntN(1000); {
		case share >= 999:
			c.Preds = []filter.Pred{{Attr: "subject", Op: filter.Suffix, Values: []string{fmt.Sprint("/", i)}}}
		case share >= 950:
			c.Type = fmt.Sprintf("shop.*.type%d", k)
		case share >= 700:
			c.Preds = []filter.Pred{in("source", fmt.Sprintf("/source/%d", subjects.Uint64())), in("tier", fmt.Sprint(rng.IntN(5)))}
		}
		yield(c)
	}
}

// wireBytes is what a list of entries takes on the wire: sorted, each without
// what it has in common with the one before.
func wireBytes(entries map[string]struct{}) (n int) {
	list := make([]string, 0, len(entries))
	for e := range entries {
		list = append(list, e)
	}
	slices.Sort(list)
	before := ""
	for _, e := range list {
		shared := 0
		for shared < len(before) && shared < len(e) && before[shared] == e[shared] {
			shared++
		}
		n += len(e) - shared + 3
		before = e
	}
	return n
}

// BenchmarkSummary prints what a region's summary takes, on the wire and in the
// memory of who hears it, and how many events it lets come that nobody wants.
func BenchmarkSummary(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table, now := New("g", "eu"), start
			began := time.Now()
			exact := 0
			entries := make([]string, 0, n)
			services(n, func(c filter.Conjunct) {
				e := EncodeEntry("default", c)
				entries = append(entries, e)
			})
			slices.Sort(entries)
			entries = slices.Compact(entries)
			for _, e := range entries {
				exact += len(e)
			}
			if err := table.SetNode("n", entries, nil, true); err != nil {
				b.Fatal(err)
			}
			table.SummaryChanges(now)
			took := time.Since(began)
			for range 3 {
				now = now.Add(SummaryLinger)
				table.SummaryChanges(now)
			}
			said := table.summary.said.said
			list := make([]string, 0, len(said))
			for e := range said {
				list = append(list, e)
			}
			before := heapBytes()
			far := New("far", "us")
			if err := far.SetRegion("eu", "g", list, nil, true); err != nil {
				b.Fatal(err)
			}
			heard := heapBytes() - before
			unwanted, events := 0, 0
			var m Match
			services(2000, func(c filter.Conjunct) {
				ev := makeEvent(b, "shop.area1.type1", "subject/none")
				if len(c.Preds) > 0 && c.Preds[0].Attr == "subject" && c.Preds[0].Op == filter.In {
					ev = makeEvent(b, c.Type, "subject/none")
				}
				events++
				if far.Match("default", &ev, &m); len(m.Regions) > 0 {
					unwanted++
				}
			})
			for b.Loop() {
				table.SummaryChanges(now)
			}
			s := table.Stats()
			sized := far.Sizes()[OfRegion]
			b.ReportMetric(float64(wireBytes(said))/1e3, "wire-kB")
			b.ReportMetric(float64(wireBytes(said))/float64(sized), "wire-B/interest")
			b.ReportMetric(float64(exact)/1e3, "exact-kB")
			b.ReportMetric(float64(heard)/float64(sized), "heap-B/interest")
			b.ReportMetric(float64(len(said)), "entries")
			b.ReportMetric(float64(s.Fingerprints), "fingerprints")
			b.ReportMetric(float64(s.Widened), "widened")
			b.ReportMetric(float64(s.SummaryBytes)/1e3, "estimated-kB")
			b.ReportMetric(100*float64(unwanted)/float64(events), "%unwanted")
			b.ReportMetric(took.Seconds(), "s-to-build")
			runtime.KeepAlive(far)
		})
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
