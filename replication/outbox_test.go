package replication

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/partition"
)

// Calls that wait together get the outcomes of their own records, whoever among
// them has given up meanwhile.
func TestAnAppendGetsItsOwnOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1)
		s := w.stream("orders", 1)
		m := w.nodes[0].running()
		a, _ := m.Meta().Assignment(s.UUID)
		if _, err := m.Append(t.Context(), a.Partitions[0], []partition.Record{event(s.UUID, 0)}); err != nil {
			t.Fatal(err)
		}
		o := m.outbox(a.Partitions[0])
		o.mu.Lock()
		o.running = true // so that the calls wait together
		o.mu.Unlock()
		over, cancel := context.WithCancel(t.Context())
		cancel()
		type outcome struct {
			results []partition.Appended
			err     error
		}
		var got [3]outcome
		for i, ctx := range []context.Context{over, t.Context(), t.Context()} {
			records := []partition.Record{event(s.UUID, 2*i+1), event(s.UUID, 2*i+2)}
			err := o.put(&appendCall{ctx, time.Now().Add(appendWait), records, func(a []partition.Appended, err error) { got[i] = outcome{a, err} }})
			if err != nil {
				t.Fatal(err)
			}
		}
		o.run()
		if !errors.Is(got[0].err, ErrNoLeader) {
			t.Errorf("of the one that has given up: %v", got[0])
		}
		for i := 1; i < 3; i++ {
			if want := fmt.Sprint([]partition.Appended{{Offset: int64(2*i - 1)}, {Offset: int64(2 * i)}}); fmt.Sprint(got[i].results) != want {
				t.Errorf("call %d: %v %v, want %s", i, got[i].results, got[i].err, want)
			}
		}
	})
}
