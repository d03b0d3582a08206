package replication

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
)

// A node that was let into the metadata's group is not dropped from it before it
// could register.
func TestANewcomerIsNotTakenForOneThatHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1)
		m := w.nodes[0].running()
		w.until("the metadata is led", func() bool {
			_, ok := m.Meta().Node(w.nodes[0].self.ID)
			return ok
		})
		newcomer := multiraft.Replica{Node: "newcomer", Epoch: 1}
		w.check(m.admit(t.Context(), newcomer.Node, start{Name: "new", Level: meta.Level, Boot: 1, Instance: meta.ID{1}, Epoch: 1}))
		time.Sleep(10 * controlEvery) // simulated
		if !member(m.meta.group(), newcomer) {
			t.Error("it is dropped")
		}
	})
}
