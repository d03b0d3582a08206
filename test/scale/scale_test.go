package scale

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// The short form hears all of its ten regions of twenty nodes.
func TestEverythingSaidIsHeardAndEveryEventAccountedForThroughCrashesAndCuts(t *testing.T) {
	if testing.Short() {
		t.Skip("two hundred machines")
	}
	run(t, config{
		regions: 10, nodes: 20, subscriptions: 10, heard: 10, seed: 1,
		lifetime: 500 * time.Second, publish: 50 * time.Millisecond, crashEvery: time.Second,
		calm: 4 * time.Second, crashes: 4 * time.Second, cut: 4 * time.Second, joined: 4 * time.Second,
	})
}

// A region that hears of the others' gateways alone sees what it would if all
// were modelled whole: the same assertions hold.
func TestAFewRegionsStandForAll(t *testing.T) {
	if testing.Short() {
		t.Skip("many machines")
	}
	run(t, config{
		regions: 10, nodes: 20, subscriptions: 10, heard: 2, seed: 1,
		lifetime: 500 * time.Second, publish: 50 * time.Millisecond, crashEvery: time.Second,
		calm: 4 * time.Second, crashes: 4 * time.Second, cut: 4 * time.Second, joined: 4 * time.Second,
	})
}

// The whole is a hundred regions of a hundred nodes with a hundred subscriptions
// each, of which two are heard. It needs about 8 GB and a quarter of an hour.
func TestAWholeMeshOfTenThousandNodes(t *testing.T) {
	if os.Getenv("SKEIN_SOAK") == "" || raced {
		t.Skip("ten thousand nodes: only in a soak, and without the race detector")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(9 << 30))
	run(t, config{
		regions: 100, nodes: 100, subscriptions: 100, heard: 2, seed: 1,
		lifetime: 100_000 * time.Second, publish: 10 * time.Millisecond, crashEvery: 500 * time.Millisecond,
		calm: 5 * time.Second, crashes: 4 * time.Second, cut: 4 * time.Second, joined: 5 * time.Second,
	})
}

// bound is within what time 99 of 100 new interests are applied wherever they are
// needed while nothing fails: the shortest round trip between regions and 100 ms.
const bound = shortestTrip + 100*time.Millisecond

// run runs a mesh, prints what was seen and asserts what must be so.
func run(t *testing.T, cfg config) {
	t.Helper()
	began := time.Now()
	cfg.log = func(what string) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("%v: %s; %d MB of heap", time.Since(began).Round(time.Second), what, m.HeapAlloc>>20)
	}
	w := begin(cfg)
	w.live()
	var table strings.Builder
	w.print(&table)
	t.Log("\n" + table.String())
	for _, what := range w.failed {
		t.Error(what)
	}
	calm := w.phases[0]
	if p99 := percentile(calm.took, 99); len(calm.took) == 0 || p99 > bound {
		t.Errorf("while nothing fails, 99 of 100 of %d interests are applied within %v, want %v", len(calm.took), p99, bound)
	}
	for _, p := range w.phases {
		if p.due == 0 {
			t.Errorf("%s: nobody wanted any event: nothing is shown", p.name)
		}
	}
}
