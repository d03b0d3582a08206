package replication

import (
	"testing"
	"testing/synctest"
	"time"
)

// drain empties a node.
func (w *town) drain(i int) {
	w.t.Helper()
	m := w.nodes[i].running()
	w.check(m.Drain(w.t.Context(), true))
	w.until("others have taken over all replicas", func() bool { return m.Kept().Replicas == 0 })
}

// A node that is drained has no replicas, leads nothing and has no vote when it
// says so, and publishing goes on meanwhile.
func TestADrainedNodeIsEmpty(t *testing.T) {
	for name, nodes := range map[string]int{"of three": 3, "of five": 5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, nodes)
				s := w.stream("orders", 4)
				w.until("the replicas are there", func() bool { return w.whole(3) })
				l := w.publish(s, 3)
				l.goesOn(30)
				w.drain(0)
				if k := w.nodes[0].running().Kept(); k != (Kept{Draining: true, Others: nodes - 1}) {
					t.Errorf("it says that it keeps %+v", k)
				}
				if groups := w.nodes[0].running().host.Groups(); len(groups) != 1 { // the metadata, which it follows
					t.Errorf("it has replicas of %d groups", len(groups))
				}
				w.stop(0)
				l.goesOn(50)
				l.end(min(3, nodes-1))
			})
		})
	}
}

// A node that nobody can take over from keeps what it has, says so, and goes on.
func TestTheOnlyNodeIsNotDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1)
		s := w.stream("orders", 1)
		l := w.publish(s, 1)
		l.goesOn(10)
		m := w.nodes[0].running()
		w.check(m.Drain(t.Context(), true))
		for range 10 {
			l.goesOn(10)
			time.Sleep(time.Second)                                           // simulated
			if k := m.Kept(); k.Replicas < 2 || k.Others > 0 || !k.Draining { // the metadata's, and the streams'
				t.Fatalf("it says that it keeps %+v", k)
			}
		}
		w.check(m.Drain(t.Context(), false))
		if k := m.Kept(); k.Draining {
			t.Errorf("it is drained on: %+v", k)
		}
		l.goesOn(10)
		l.end(1)
	})
}
