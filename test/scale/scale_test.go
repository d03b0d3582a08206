package scale

import (
	"strings"
	"testing"
	"time"
)

// The short form: ten regions of twenty nodes, all of them heard.
func TestTenRegionsHearEverythingThroughCrashesAndCuts(t *testing.T) {
	run(t, config{
		regions: 10, nodes: 20, subscriptions: 10, heard: 10, seed: 1,
		lifetime: 500 * time.Second, publish: 50 * time.Millisecond, crashEvery: time.Second,
		calm: 4 * time.Second, crashes: 4 * time.Second, cut: 4 * time.Second, joined: 4 * time.Second,
	})
}

// bound is within what time 99 of 100 new interests are applied wherever they are
// needed while nothing fails: the shortest round trip between regions and 100 ms.
const bound = shortestTrip + 100*time.Millisecond

// run runs a mesh, prints what was seen and asserts what must be so.
func run(t *testing.T, cfg config) {
	began := time.Now()
	w := begin(cfg)
	made := time.Now()
	w.live()
	var table strings.Builder
	w.print(&table)
	t.Logf("made in %v, lived %v\n%s", made.Sub(began).Round(time.Second), time.Since(made).Round(time.Second), table.String())
	for _, what := range w.failed {
		t.Error(what)
	}
	calm := w.phases[0]
	if p99 := percentile(calm.took, 99); len(calm.took) == 0 || p99 > bound {
		t.Errorf("while nothing fails, 99 of 100 of %d interests are applied within %v, want %v", len(calm.took), p99, bound)
	}
	for _, p := range w.phases {
		if p.published > 0 && p.due == 0 {
			t.Errorf("%s: nobody wanted any event: nothing is shown", p.name)
		}
	}
}
