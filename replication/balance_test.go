package replication

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"
)

// Nodes that know of different leaders do not hand the same ones to each other
// again and again.
func TestLeadershipsSettle(t *testing.T) {
	for _, nodes := range []int{4, 6} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t, nodes)
			w.stream("orders", 4)
			w.until("the replicas are there", func() bool { return w.whole(3) })
			w.crash(0, false)
			time.Sleep(10 * time.Second) // simulated
			w.start(0)
			terms := func() map[string]uint64 {
				all := map[string]uint64{}
				for _, n := range w.nodes {
					for _, rep := range n.running().open() {
						_, term, _ := rep.part.Group().Leader()
						all[fmt.Sprint(rep.number, " on ", n.self.ID)] = term
					}
				}
				return all
			}
			last := terms()
			var since time.Duration
			w.until("no leader changes for half a minute", func() bool {
				since += 20 * time.Millisecond
				if now := terms(); !maps.Equal(now, last) {
					last, since = now, 0
				}
				return since > 30*time.Second
			})
			most := map[string]int{}
			for _, n := range w.nodes {
				for _, rep := range n.running().open() {
					if rep.part.Group().IsLeader() {
						most[n.self.Name]++
					}
				}
			}
			t.Logf("%d nodes lead %v", nodes, most)
		})
	}
}
