package replication

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
)

// What is kept of a deleted stream goes after its grace from all disks, though nothing
// else happens in the region.
func TestADeletedStreamLeavesNothingOnTheDisks(t *testing.T) {
	for name, dedicated := range map[string]bool{"shared partitions": false, "dedicated ones": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, 3)
				s := w.define(meta.Definition{Name: "orders", Partitions: 1, Dedicated: dedicated})
				w.until("the replicas are there", func() bool { return w.whole(3) })
				m := w.nodes[1].running()
				a, _ := m.Meta().Assignment(s.UUID)
				w.check(w.big(m, a.Partitions[0], s.UUID, 0, 100))
				w.check(m.Propose(t.Context(), &meta.DeleteStream{UUID: s.UUID}))
				deleted := time.Now()
				all := func(gone bool) bool {
					for i := range w.nodes {
						if w.bytesOf(i, s.UUID) > 0 == gone {
							return false
						}
					}
					return true
				}
				w.until("the followers have it", func() bool { return all(false) })
				for i := range w.nodes { // a day is long for nodes that run
					w.stop(i)
				}
				time.Sleep(time.Until(deleted.Add(meta.Grace - 2*time.Minute))) // simulated
				for i := range w.nodes {
					w.start(i)
				}
				time.Sleep(time.Until(deleted.Add(meta.Grace - time.Second))) // simulated
				if !all(false) {
					t.Error("within its grace it is gone")
				}
				w.until("its files are gone", func() bool { return all(true) })
				if took := time.Since(deleted.Add(meta.Grace)); took > 30*time.Second {
					t.Errorf("they went %v after the grace", took)
				}
			})
		})
	}
}
