package fact

import (
	"fmt"
	"testing"
	"time"
)

// TestNothingWaitsForAComparisonUnlessSomethingIsLost has nodes join, in any
// order, on links that lose nothing, while they say what they want: all of it
// must be known, and known to be known, without the comparisons that make up
// for losses.
func TestNothingWaitsForAComparisonUnlessSomethingIsLost(t *testing.T) {
	for seed := range uint64(400) {
		w := newWorld(t, seed)
		w.orderly, w.compare, w.rumors = true, time.Hour, 0.5
		w.latency = func(a, b *simNode) time.Duration {
			if a.region == b.region {
				return time.Duration(100+w.rng.IntN(2000)) * time.Microsecond
			}
			return time.Duration(1000+w.rng.IntN(20_000)) * time.Microsecond
		}
		for r := range 3 {
			for i := range 3 {
				n := w.add(fmt.Sprintf("r%d-%d", r, i), fmt.Sprintf("r%d", r))
				n.gateway = i < 2
			}
		}
		within := func() time.Duration { return time.Duration(w.rng.IntN(80)) * time.Millisecond }
		for i, a := range w.nodes {
			for _, b := range w.nodes[:i] {
				if a.region == b.region || a.gateway && b.gateway {
					w.after(within(), func() { w.connect(a, b) })
				}
			}
			for n := range 3 {
				topic := near
				if n > 0 && a.gateway {
					topic = wide
				}
				w.after(within(), func() { a.set(topic, []string{fmt.Sprintf("%s/%d", a.id, n)}, nil) })
			}
		}
		if seed%3 == 0 { // a link breaks and comes back
			a, b := w.nodes[w.rng.IntN(len(w.nodes))], w.nodes[w.rng.IntN(len(w.nodes))]
			w.after(within(), func() { w.disconnect(a, b) })
			w.after(100*time.Millisecond, w.mesh)
		}
		w.run(500 * time.Millisecond)
		if d := w.differs(); d != "" {
			t.Fatalf("seed %d: %s", seed, d)
		}
		for _, n := range w.nodes {
			for _, b := range n.barriers {
				t.Fatalf("seed %d: %s waits for %v to acknowledge version %d on %d", seed, n.id, n.Acked(b.topic, b.ver), b.ver, b.topic)
			}
		}
	}
}
