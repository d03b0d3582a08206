package replication

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/partition"
)

// Of what is kept of big, a record has so many bytes in its file, and a file's header.
const (
	bigBytes    = 1036
	headerBytes = 56
)

// big appends events of 1000 bytes to a log.
func (w *town) big(m *Member, number uint32, log meta.ID, from, to int) error {
	var records []partition.Record
	for n := from; n < to; n++ {
		e := event(log, n)
		e.Data = bytes.Repeat([]byte{byte(n)}, 1000)
		records = append(records, e)
	}
	_, err := m.Append(w.t.Context(), number, records)
	return err
}

// begins waits until a log begins at an offset on all nodes, each of which has on its
// disk what it says it consists of, and no more; and sees what readers are told.
func (w *town) begins(number uint32, log meta.ID, start int64) {
	w.t.Helper()
	var m *Member
	for i := range w.nodes {
		m = w.nodes[i].running()
		var s Status
		var err error
		for range 30 {
			s, err = m.status(number, log)
			if err == nil && s.Start == start && w.bytesOf(i, log) <= s.Bytes {
				break
			}
			time.Sleep(time.Second) // simulated
		}
		if err != nil || s.Start != start || w.bytesOf(i, log) > s.Bytes {
			w.t.Fatalf("on node %d the log begins at %d, not %d, and has %d bytes, on the disk %d: %v", i, s.Start, start, s.Bytes, w.bytesOf(i, log), err)
		}
	}
	var trimmed *TrimmedError
	if _, err := m.Read(w.t.Context(), Read{Partition: number, Log: log}); !errors.As(err, &trimmed) || trimmed.Start != start {
		w.t.Errorf("who reads from offset 0 is told %v, not that the log begins at %d", err, start)
	}
	if got, err := m.Read(w.t.Context(), Read{Partition: number, Log: log, From: FromEarliest}); err != nil || got.Offset != start {
		w.t.Errorf("the earliest record is %d, not %d: %v", got.Offset, start, err)
	}
}

// bytesOf is how much a node's disk has of a log.
func (w *town) bytesOf(i int, log meta.ID) (sum int64) {
	for _, name := range files(w.nodes[i].disk, "streams") {
		if strings.HasSuffix(name, ".seg") && strings.HasPrefix(filepath.Base(filepath.Dir(name)), partition.LogID(log).String()) {
			sum += int64(len(w.nodes[i].disk.Bytes(name)))
		}
	}
	return sum
}

func TestRetention(t *testing.T) {
	const first, more = 300, 100 // events, more at once than a file holds
	for name, c := range map[string]struct {
		keep meta.Retention
		want int64 // the first offset that stays
	}{
		"age":    {meta.Retention{Age: time.Minute}, first},
		"events": {meta.Retention{Events: 150}, first + more - 150},
		"bytes":  {meta.Retention{Bytes: 150*bigBytes + 3*headerBytes}, first + more - 150}, // in four files
		"few":    {meta.Retention{Bytes: 2*bigBytes - 1}, first + more - 1},                 // fewer than a file holds
		"one":    {meta.Retention{Bytes: 1}, first + more - 1},                              // fewer than an event has
		"all":    {meta.Retention{Age: time.Minute, Events: 95, Bytes: 90 * bigBytes}, first + more - 89},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, 3)
				s := w.define(meta.Definition{Name: "orders", Partitions: 1, Retention: c.keep})
				w.until("the replicas are there", func() bool { return w.whole(3) })
				m := w.nodes[1].running()
				a, _ := m.Meta().Assignment(s.UUID)
				number := a.Partitions[0]
				w.check(w.big(m, number, s.UUID, 0, first))
				time.Sleep(50 * time.Second) // simulated
				if s, err := m.Status(t.Context(), number, s.UUID); c.keep == (meta.Retention{Age: time.Minute}) && (err != nil || s.Start > 0) {
					t.Errorf("before its time the log begins at %d: %v", s.Start, err)
				}
				w.check(w.big(m, number, s.UUID, first, first+more))
				time.Sleep(20 * time.Second) // simulated
				w.begins(number, s.UUID, c.want)
				for i := range w.nodes {
					w.crash(i, true)
				}
				for i := range w.nodes {
					w.start(i)
				}
				w.until("the replicas are open again", func() bool { return w.whole(3) })
				if c.keep.Age > 0 {
					time.Sleep(2 * time.Minute) // simulated
					c.want = first + more
				}
				w.begins(number, s.UUID, c.want)
			})
		})
	}
}

// Where the disks are so full that nothing is appended any more, retention and trims
// make room.
func TestATrimMakesRoomOnFullDisks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		s := w.define(meta.Definition{Name: "orders", Partitions: 1})
		w.until("the replicas are there", func() bool { return w.whole(3) })
		m := w.nodes[1].running()
		a, _ := m.Meta().Assignment(s.UUID)
		number := a.Partitions[0]
		for next := 0; next < 6000; next += 200 {
			w.check(w.big(m, number, s.UUID, next, next+200))
		}
		time.Sleep(time.Minute) // simulated: the journal lets go of what it can
		for _, n := range w.nodes {
			n.disk.Limit(100*n.disk.Used()/94 + 1)
		}
		w.until("appends are refused", func() bool { return isFull(w.big(m, number, s.UUID, 6000, 6001)) })
		w.check(m.Trim(t.Context(), number, s.UUID, 3000))
		w.begins(number, s.UUID, 3000)
		w.until("there is room again", func() bool { return w.big(m, number, s.UUID, 6000, 6001) == nil })

		for _, n := range w.nodes {
			n.disk.Limit(100*n.disk.Used()/94 + 1)
		}
		w.until("appends are refused again", func() bool { return isFull(w.big(m, number, s.UUID, 6001, 6002)) })
		log, err := m.Status(t.Context(), number, s.UUID)
		w.check(err)
		have, _ := m.Meta().Stream(s.UUID)
		d := have.Definition
		d.Retention.Events = 10
		w.check(m.Propose(t.Context(), &meta.UpdateStream{UUID: s.UUID, Version: have.Version, Definition: d}))
		w.begins(number, s.UUID, log.Next-10)
		w.until("there is room again", func() bool { return w.big(m, number, s.UUID, 6001, 6002) == nil })
	})
}
