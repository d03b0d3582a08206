package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
)

// alone is a region of one node that keeps a stream in one partition, with one event.
func alone(t *testing.T) (*town, *Member, meta.Stream, uint32) {
	t.Helper()
	w := newTown(t, 1)
	s := w.stream("orders", 1)
	m := w.nodes[0].running()
	a, _ := m.Meta().Assignment(s.UUID)
	if _, err := m.Append(t.Context(), a.Partitions[0], []partition.Record{event(s.UUID, 0)}); err != nil {
		t.Fatal(err)
	}
	return w, m, s, a.Partitions[0]
}

// Calls that wait together get the outcomes of their own records, whoever among
// them has given up meanwhile.
func TestAnAppendGetsItsOwnOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, m, s, number := alone(t)
		co := m.courier(number)
		co.mu.Lock()
		co.running = true // so that the calls wait together
		co.mu.Unlock()
		over, cancel := context.WithCancel(t.Context())
		cancel()
		type outcome struct {
			results []partition.Appended
			err     error
		}
		var got [3]outcome
		for i, ctx := range []context.Context{over, t.Context(), t.Context()} {
			records := []partition.Record{event(s.UUID, 2*i+1), event(s.UUID, 2*i+2)}
			err := co.put(&appendCall{ctx: ctx, until: time.Now().Add(appendWait), records: records, done: func(a []partition.Appended, err error) { got[i] = outcome{a, err} }})
			if err != nil {
				t.Fatal(err)
			}
		}
		co.run()
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

// More than goes to a leader at once is divided, and kept in order. If a part of it is
// not kept, that is unknown of all.
func TestALargeAppendReachesALeaderElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		s := w.stream("orders", 1)
		a, _ := w.nodes[0].running().Meta().Assignment(s.UUID)
		number := a.Partitions[0]
		for _, size := range []int{1, appendBytes / 3, 1<<20 + 60<<10} {
			records := make([]partition.Record, 5<<20/size)
			if size == 1 {
				records = make([]partition.Record, 3*appendRecords+1)
			}
			for i := range records {
				records[i] = partition.Record{Log: partition.LogID(s.UUID), Data: make([]byte, size)}
			}
			for _, n := range w.nodes {
				began := time.Now()
				kept, err := n.running().Append(t.Context(), number, records)
				if err != nil {
					t.Fatalf("%d records of %d bytes: %v", len(records), size, err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("%d records of %d bytes took %v", len(records), size, took)
				}
				for i, k := range kept {
					if k.Offset != kept[0].Offset+int64(i) {
						t.Fatalf("record %d is at %d, the first at %d", i, k.Offset, kept[0].Offset)
					}
				}
			}
		}
	})
	records := make([]partition.Record, 2*appendRecords+1)
	outcome := func(errs ...error) (got []partition.Appended, err error) {
		done := 0
		c := appendCall{records: records, done: func(a []partition.Appended, e error) { got, err, done = a, e, done+1 }}
		for i, part := range c.divide() {
			var kept []partition.Appended
			if errs[i] == nil {
				for range part.records {
					kept = append(kept, partition.Appended{Offset: int64(i)})
				}
			}
			part.done(kept, errs[i])
		}
		if done != 1 {
			t.Errorf("%d outcomes", done)
		}
		return got, err
	}
	if got, err := outcome(nil, nil, nil); err != nil || len(got) != len(records) || got[0].Offset != 0 || got[appendRecords].Offset != 1 || got[2*appendRecords].Offset != 2 {
		t.Errorf("%d results, %v", len(got), err)
	}
	if _, err := outcome(ErrNoLeader, nil, nil); !errors.Is(err, multiraft.ErrUnknown) {
		t.Errorf("some are kept: %v", err)
	}
	whole := (&appendCall{ctx: t.Context(), until: time.Now().Add(time.Hour), records: records, done: func([]partition.Appended, error) {}}).divide()
	other := &appendCall{records: records[:1]}
	b := &batch{calls: []*appendCall{whole[1], other}, records: records[:appendRecords+1]}
	if !b.behead() || len(b.calls) != 2 {
		t.Errorf("%d calls are left of a batch that misses nothing", len(b.calls))
	}
	whole[0].done(nil, partition.ErrBusy)
	if !b.behead() || len(b.calls) != 1 || b.calls[0] != other || len(b.records) != 1 {
		t.Errorf("%d calls and %d records are left of a batch when what comes before a part is not kept", len(b.calls), len(b.records))
	}
	if b := new(courier).pack([]*appendCall{whole[2]}, 0); len(b.calls) > 0 {
		t.Error("a part goes out although what comes before it is not kept")
	}
	if _, err := outcome(ErrNoLeader, partition.ErrBusy, ErrNoLeader); !nothingKept(err) {
		t.Errorf("none is kept: %v", err)
	}
}

// What is refused while another batch is on its way holds up what comes after it.
func TestABatchIsNotKeptBeforeOneThatWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m, s, number := alone(t)
		release := w.nodes[0].disk.Hang()
		offsets := make([]int64, 4)
		var kept sync.WaitGroup
		put := func(n int) {
			kept.Add(1)
			err := m.AppendAsync(t.Context(), number, []partition.Record{event(s.UUID, n)}, func(r []partition.Appended, err error) {
				defer kept.Done()
				if err != nil {
					t.Error(err)
					return
				}
				offsets[n] = r[0].Offset
			})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond) // simulated
		}
		put(1)
		m.disk.over.Store(refuseAt)
		put(2)
		m.disk.over.Store(0)
		put(3)
		release()
		kept.Wait()
		if !slices.Equal(offsets, []int64{0, 1, 2, 3}) {
			t.Errorf("four events are kept at %v", offsets)
		}
	})
}
