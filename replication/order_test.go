package replication

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/partition"
)

// flood is a publisher that has many appends under way at one node, and offers none
// of them twice.
type flood struct {
	mu      sync.Mutex // guards the fields below
	offered int
	acked   map[int]int64 // their offsets
	failed  int
}

// pour appends events numbered from first on, each without waiting for those before,
// until stop is closed.
func (f *flood) pour(w *town, node, first int, number uint32, log meta.ID, stop chan struct{}) {
	var flying sync.WaitGroup
	defer flying.Wait()
	for n := first; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		time.Sleep(1500 * time.Microsecond) // simulated
		m := w.pick(node)
		if m == nil {
			continue
		}
		f.mu.Lock()
		f.offered++
		f.mu.Unlock()
		flying.Add(1)
		err := m.AppendAsync(w.t.Context(), number, []partition.Record{event(log, n)}, func(a []partition.Appended, err error) {
			defer flying.Done()
			f.mu.Lock()
			defer f.mu.Unlock()
			if err != nil {
				f.failed++
			} else {
				f.acked[n] = a[0].Offset
			}
		})
		if err != nil {
			flying.Done()
		}
	}
}

func (f *flood) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.acked)
}

// What a node has under way at once is kept in the order in which it was offered,
// however questions and answers are delayed and lost, while leaders are killed, cut
// off and asked to hand over; and nothing that was acknowledged is lost.
func TestAppendsUnderWayAreKeptInOrder(t *testing.T) {
	for seed := range 2 {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { floodAndStrike(t, uint64(seed)) })
		})
	}
}

func floodAndStrike(t *testing.T, seed uint64) {
	w := newTown(t, 3)
	w.rng = rand.New(rand.NewPCG(seed, 11))
	s := w.stream("orders", 1)
	w.until("the replicas are there", func() bool { return w.whole(3) })
	a, _ := w.nodes[0].running().Meta().Assignment(s.UUID)
	number, log := a.Partitions[0], s.UUID
	w.mu.Lock()
	w.rough = true
	w.mu.Unlock()
	floods := []*flood{{acked: map[int]int64{}}, {acked: map[int]int64{}}, {acked: map[int]int64{}}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i, f := range floods {
		wg.Go(func() { f.pour(w, i, i*perPublisher, number, log, stop) })
	}
	for round := range 8 {
		for i, f := range floods {
			want := f.count() + 50
			w.until("publishing goes on at node "+strconv.Itoa(i), func() bool { return f.count() >= want })
		}
		leader := w.leaderAt(number)
		switch round % 4 {
		case 0:
			w.crash(leader, false)
			time.Sleep(time.Second) // simulated
			w.start(leader)
		case 1:
			w.cut(leader)
			time.Sleep(3 * time.Second) // simulated
			w.cut()
		case 2:
			if p, err := w.nodes[leader].running().local(number); err == nil {
				g := p.Group()
				for _, m := range g.Members() {
					if m.Replica != g.Self() {
						g.TransferLeadership(t.Context(), m.Replica) // that it is refused is all right
						break
					}
				}
			}
		case 3:
			w.cut((leader + 1) % 3)
			time.Sleep(2 * time.Second) // simulated
			w.cut()
		}
	}
	close(stop)
	wg.Wait()
	w.mu.Lock()
	w.rough = false
	w.mu.Unlock()
	w.until("the replicas are there", func() bool { return w.whole(3) })
	l := &load{w: w, stream: s, parts: a.Partitions}
	kept := map[int]int64{}
	last := [3]int{-1, -1, -1}
	for offset, data := range l.same(number) {
		var n int
		if _, err := fmt.Sscanf(data, "event %d", &n); err != nil {
			t.Fatal(err)
		}
		if _, twice := kept[n]; twice {
			t.Errorf("event %d is kept twice", n)
		}
		kept[n] = int64(offset)
		if by := n / perPublisher; n <= last[by] {
			t.Errorf("event %d of node %d is behind its event %d", n, by, last[by])
		} else {
			last[by] = n
		}
	}
	for i, f := range floods {
		for n, offset := range f.acked {
			if got, is := kept[n]; !is || got != offset {
				t.Errorf("event %d was acknowledged at %d, and is at %d (kept: %v)", n, offset, got, is)
			}
		}
		t.Logf("node %d: %d offered, %d acknowledged, %d refused or unknown", i, f.offered, len(f.acked), f.failed)
	}
}

// leaderAt waits until a partition has a leader, and returns its node's number.
func (w *town) leaderAt(number uint32) (at int) {
	w.until("the partition has a leader", func() bool {
		for i, n := range w.nodes {
			if m := n.running(); m != nil {
				if p, err := m.local(number); err == nil && p.Group().IsLeader() {
					at = i
					return true
				}
			}
		}
		return false
	})
	return at
}
