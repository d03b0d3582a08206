package replication

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/partition"
)

func event(log meta.ID, n int) partition.Record {
	var key partition.Key
	binary.LittleEndian.PutUint64(key[:], uint64(n)+1)
	return partition.Record{
		Log: partition.LogID(log), Window: partition.Window{Age: time.Hour, Events: 100_000}, Key: key, Data: fmt.Appendf(nil, "event %d", n),
	}
}

// load is some publishers that append to a stream through nodes at random, and
// what they know of it.
type load struct {
	w      *town
	stream meta.Stream
	parts  []uint32
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	acked  map[int]place
	tries  map[int]bool // events that were offered
	full   int          // appends refused for a full disk
	filled int          // events beside those of the publishers
}

// place is where an event is kept.
type place struct {
	partition uint32
	offset    int64
}

// perPublisher is more events than one publishes.
const perPublisher = 1_000_000

// publish begins to publish. A publisher offers a few events at a time, and the
// same again until they are acknowledged.
func (w *town) publish(s meta.Stream, publishers int) *load {
	ctx, cancel := context.WithCancel(w.t.Context())
	l := &load{w: w, stream: s, stop: cancel, acked: map[int]place{}, tries: map[int]bool{}}
	for _, n := range w.nodes {
		if m := n.running(); m != nil {
			a, _ := m.Meta().Assignment(s.UUID)
			l.parts = a.Partitions
		}
	}
	w.t.Cleanup(func() {
		cancel()
		l.wg.Wait()
	})
	for p := range publishers {
		l.wg.Go(func() {
			for n := p * perPublisher; ctx.Err() == nil; n += 3 {
				l.insist(ctx, p, n)
				time.Sleep(3 * time.Millisecond) // simulated: else time would stand still
			}
		})
	}
	return l
}

func (l *load) insist(ctx context.Context, publisher, first int) {
	number := l.parts[(first/3)%len(l.parts)]
	var records []partition.Record
	l.mu.Lock()
	for n := first; n < first+3; n++ {
		records = append(records, event(l.stream.UUID, n))
		l.tries[n] = true
	}
	l.mu.Unlock()
	for try := publisher; ctx.Err() == nil; try++ {
		m := l.w.pick(try)
		if m == nil {
			time.Sleep(time.Millisecond) // simulated
			continue
		}
		results, err := m.Append(ctx, number, records)
		l.mu.Lock()
		if err == nil {
			for i, r := range results {
				l.acked[first+i] = place{number, r.Offset}
			}
		}
		if isFull(err) {
			l.full++
		}
		l.mu.Unlock()
		if err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond) // simulated
	}
}

// pick is one of the nodes, or nil if it is down.
func (w *town) pick(try int) *Member {
	w.mu.Lock()
	n := w.nodes[try%len(w.nodes)]
	w.mu.Unlock()
	return n.running()
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// goesOn waits until n more events are acknowledged, and says how long that took.
func (l *load) goesOn(n int) time.Duration {
	l.w.t.Helper()
	began, want := time.Now(), l.count()+n
	l.w.until("publishing goes on", func() bool { return l.count() >= want })
	return time.Since(began)
}

// end stops the load, waits until every partition has its replicas and all of
// them have the same, and compares that with what publishers know.
func (l *load) end(replicas int) {
	w := l.w
	w.t.Helper()
	l.stop()
	l.wg.Wait()
	w.until("all partitions have their replicas", func() bool { return w.whole(replicas) })
	at := map[int]place{}
	for _, number := range l.parts {
		list := l.same(number)
		last := map[int]int{}
		for offset, data := range list {
			var n int
			if _, err := fmt.Sscanf(data, "event %d", &n); err != nil {
				w.t.Fatal(err)
			}
			if other, twice := at[n]; twice {
				w.t.Errorf("event %d is kept at %v and again at %v", n, other, place{number, int64(offset)})
			}
			at[n] = place{number, int64(offset)}
			if publisher := n / perPublisher; n < last[publisher] {
				w.t.Errorf("partition %d: event %d of a publisher is behind its %d", number, n, last[publisher])
			} else {
				last[publisher] = n
			}
			if !l.tries[n] {
				w.t.Errorf("event %d is kept and was never published", n)
			}
		}
	}
	for n, want := range l.acked {
		if got, kept := at[n]; !kept || got != want {
			w.t.Errorf("event %d was acknowledged at %v: is it kept (%v), at %v", n, want, kept, got)
		}
	}
	w.t.Logf("%d events acknowledged, %d offered, %d kept", len(l.acked), len(l.tries), len(at))
}

// whole reports whether every partition has so many healthy replicas, all of them
// open, and nothing is changing.
func (w *town) whole(replicas int) bool {
	for _, n := range w.nodes {
		m := n.running()
		if m == nil || m.Fenced() != nil {
			continue
		}
		for _, p := range m.Meta().Partitions() {
			if len(p.Replicas) != replicas || p.Change != nil {
				return false
			}
			for _, rep := range p.Replicas {
				other := w.member(rep.Node)
				if other == nil || rep.Lost || rep.Role != meta.Voter {
					return false
				}
				if _, err := other.local(p.Number); err != nil {
					return false
				}
			}
		}
	}
	return true
}

// same waits until all replicas of a partition have the same log, and returns it.
func (l *load) same(number uint32) (list []string) {
	w := l.w
	w.t.Helper()
	differ := ""
	for range 1500 {
		var logs [][]string
		differ = ""
		for _, n := range w.nodes {
			if m := n.running(); m != nil {
				if p, err := m.local(number); err == nil {
					logs = append(logs, readReplica(w.t, p, l.stream.UUID))
				}
			}
		}
		for _, other := range logs[1:] {
			if len(other) != len(logs[0]) {
				differ = fmt.Sprintf("one replica has %d events, another %d", len(logs[0]), len(other))
				break
			}
			for i := range other {
				if other[i] != logs[0][i] {
					w.t.Fatalf("partition %d: at offset %d one replica has %q, another %q", number, i, logs[0][i], other[i])
				}
			}
		}
		if differ == "" {
			return logs[0]
		}
		time.Sleep(20 * time.Millisecond) // simulated
	}
	w.t.Fatalf("partition %d: %s", number, differ)
	return nil
}

// readReplica reads what one replica has of a log, from its first offset, which
// must be 0.
func readReplica(t *testing.T, p *partition.Partition, log meta.ID) (list []string) {
	t.Helper()
	l, err := p.Log(partition.LogID(log))
	if err != nil {
		return nil
	}
	r := l.Reader(0)
	buf := make([]byte, 16<<10)
	for {
		b, err := r.Read(buf)
		if err != nil {
			t.Fatalf("a replica reads: %v", err)
		}
		if b.Len() == 0 {
			return list
		}
		for offset, rec := range b.Records() {
			if offset != int64(len(list)) {
				t.Fatalf("offset %d follows %d", offset, len(list)-1)
			}
			list = append(list, string(rec.Data)+fmt.Sprint(" ", rec.Time))
		}
	}
}
