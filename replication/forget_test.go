package replication

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// What a node remembers of others, and of partitions, goes with them.
func TestNothingIsRememberedOfWhatTheRegionHasNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		l := w.publish(w.stream("orders", 2), 3)
		l.goesOn(30)
		m := w.nodes[1].running()
		const gone, number = peer.ID("gone"), 9999
		now := time.Now()
		m.reach.down(gone, now)
		m.leads.note(gone, 1, now)
		m.noteOlder(gone)
		m.wayTo(gone)
		m.noteLeader(number, gone)
		m.courier(number)
		for _, a := range []asker{{gone, l.parts[0]}, {w.nodes[0].self.ID, number}} {
			err := m.turns.take(t.Context(), a, turn{}, func(uint64, func(error)) (uint64, error) { return 1, nil })
			w.check(err)
		}
		w.until("it is forgotten", func() bool {
			m.turns.mu.Lock()
			defer m.turns.mu.Unlock()
			m.reach.mu.Lock()
			defer m.reach.mu.Unlock()
			m.leads.mu.Lock()
			defer m.leads.mu.Unlock()
			m.mu.Lock()
			defer m.mu.Unlock()
			for a := range m.turns.sequences {
				if a.node == gone || a.partition == number {
					return false
				}
			}
			_, reach := m.reach.seen[gone]
			_, leads := m.leads.said[gone]
			return !reach && !leads && !m.older[gone] && m.slots[gone] == nil && m.leaders[number] == "" && m.couriers[number] == nil
		})
		l.goesOn(30)
		m.mu.Lock()
		couriers := len(m.couriers)
		m.mu.Unlock()
		if couriers == 0 {
			t.Error("what is in use is forgotten, too")
		}
		l.end(3)
	})
}

// Who waits for its turn when its sender is forgotten gets none, and the sender may
// begin anew.
func TestTurnsEndWithTheirSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s turns
		a := asker{"n1", 1}
		take := func(sequence, number uint64) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			return s.take(ctx, a, turn{sequence: sequence, number: number}, func(uint64, func(error)) (uint64, error) { return 1, nil })
		}
		if err := take(1, 0); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		waits := make(chan error)
		go func() { waits <- take(1, 2) }()
		synctest.Wait()
		s.forget(func(asker) bool { return true })
		if err := <-waits; !errors.Is(err, errTurn) || time.Since(began) > 0 {
			t.Errorf("who waited got %v after %v", err, time.Since(began))
		}
		if len(s.sequences) > 0 {
			t.Errorf("%d senders are remembered", len(s.sequences))
		}
		if err := take(2, 0); err != nil {
			t.Errorf("the sender began anew and got %v", err)
		}
	})
}
