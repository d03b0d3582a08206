package replication

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store/storetest"
	"github.com/skeinmesh/skein/transport/peer"
)

// fetches is what a node was given of others' files, and when.
type fetches struct {
	mu   sync.Mutex // guards the list
	list []fetched
}

type fetched struct {
	at    time.Time
	bytes int
}

// heard is a townNode's heard.
func (f *fetches) heard(question, answer []byte) {
	if question[0] != askChunk || answer[0] != answered {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, fetched{time.Now(), len(answer) - 1})
}

func (f *fetches) bytes() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.list {
		n += one.bytes
	}
	return n
}

// most fails the test if in any time more was fetched than a pace allows, but for
// what counts as one moment.
func (f *fetches) most(t *testing.T, perSecond int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.list {
		sum := 0
		for _, one := range f.list[i:] {
			sum += one.bytes
			within := one.at.Sub(f.list[i].at)
			if may := int(within.Seconds()*float64(perSecond)) + 2*chunkBytes; sum > may {
				t.Fatalf("%d bytes were fetched in %v, at most %d a second are allowed", sum, within, perSecond)
			}
		}
	}
}

const (
	largeEvent = 2 << 10
	largeFirst = 100 * perPublisher
)

// large has a town of three keep so many bytes of a stream, in one partition, each
// in an entry of its own: more than a leader keeps for those who lack a few.
func large(w *town, bytes int) (s meta.Stream, number uint32) {
	s = w.stream("orders", 1)
	w.until("the replicas are there", func() bool { return w.whole(3) })
	m := w.nodes[0].running()
	a, _ := m.Meta().Assignment(s.UUID)
	for n := range bytes / largeEvent {
		e := event(s.UUID, largeFirst+n)
		e.Data = append(e.Data, make([]byte, largeEvent)...)
		if _, err := m.Append(w.t.Context(), a.Partitions[0], []partition.Record{e}); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, n := range w.nodes { // whoever leads has a snapshot of all, and not all entries
		p, err := n.running().local(a.Partitions[0])
		w.check(err)
		w.until("a snapshot of all is kept", func() bool {
			return p.Group().Stats().Applied >= uint64(bytes/largeEvent) && p.Group().Snapshot(w.t.Context()) == nil
		})
	}
	return s, a.Partitions[0]
}

// knows has the load know of the events that large made.
func (l *load) knows(events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range events {
		l.tries[largeFirst+n] = true
	}
}

// newcomer adds a node, which is started, and has one of the three others go, so
// that it gets all that this one has.
func newcomer(w *town, rate int) (i int, f *fetches) {
	f = &fetches{}
	w.add(&townNode{town: w, disk: storetest.NewDisk(), heard: f.heard, fetchRate: int64(rate), self: peer.Peer{
		ID: "late", Name: "late", Region: "eu",
	}})
	i = len(w.nodes) - 1
	w.start(i)
	w.check(w.nodes[1].running().Propose(w.t.Context(), &meta.SetNodeState{ID: w.nodes[2].self.ID, State: meta.Draining}))
	return i, f
}

// left reports whether a node has nothing more that others need.
func (w *town) left(from int) bool {
	for _, p := range w.nodes[0].running().Meta().Partitions() {
		if p.Change != nil || len(p.Replicas) != 3 ||
			slices.ContainsFunc(p.Replicas, func(r meta.Replica) bool { return r.Node == w.nodes[from].self.ID || r.Role != meta.Voter }) {
			return false
		}
	}
	return true
}

// A node that takes over replicas fetches no faster than it may, for all of them
// together, and publishing goes on; it leads none of which it has not all.
func TestANewNodeTakesOverReplicasAtItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const kept, rate = 1 << 20, 256 << 10
		w := newTown(t, 3)
		s, number := large(w, kept)
		l := w.publish(s, 1)
		l.knows(kept / largeEvent)
		l.goesOn(30)
		began := time.Now()
		i, f := newcomer(w, rate)
		w.until("the replicas are taken over", func() bool {
			if waited := l.goesOn(3); waited > 5*time.Second {
				t.Errorf("publishing stood still for %v", waited)
			}
			if p, err := w.nodes[i].running().local(number); err == nil && p.Group().IsLeader() && f.bytes() < kept {
				t.Errorf("it leads with %d of %d bytes", f.bytes(), kept)
			}
			return w.left(2)
		})
		f.most(t, rate)
		if took := time.Since(began); f.bytes() < kept || took < (kept-chunkBytes)/rate*time.Second {
			t.Errorf("%d bytes of %d were fetched in %v", f.bytes(), kept, took)
		}
		l.end(3)
	})
}

// A node that is cut off, or crashes, while it takes over goes on where it was.
func TestATakeoverGoesOnWhereItWas(t *testing.T) {
	for name, fault := range map[string]func(w *town, i int){
		"after a cut": func(w *town, i int) {
			w.cut(i)
			time.Sleep(10 * time.Second) // simulated
			w.cut()
		},
		"after a crash": func(w *town, i int) {
			w.crash(i, false)
			w.start(i)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const kept, rate = 1 << 20, 256 << 10
				w := newTown(t, 3)
				s, number := large(w, kept)
				i, f := newcomer(w, rate)
				for part := 1; part < 4; part++ {
					w.until(fmt.Sprintf("%d quarters are there", part), func() bool { return f.bytes() > part*kept/4 })
					fault(w, i)
				}
				w.until("the replicas are taken over", func() bool { return w.left(2) })
				if n, most := f.bytes(), kept+kept/8; n < kept || n > most {
					t.Errorf("%d bytes were fetched of %d", n, kept)
				}
				w.until("it has all", func() bool { return len(w.read(w.nodes[i].running(), number, s.UUID)) == kept/largeEvent })
			})
		})
	}
}

// A node gives of its files no more than it may, to all who ask together.
func TestANodeGivesOfItsFilesAtItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const kept, rate, askers = 512 << 10, 64 << 10, 4
		w := newTownOf(t, 3, func(n *townNode) { n.fetchRate = rate })
		s, number := large(w, kept)
		m := w.nodes[0].running()
		p, err := m.local(number)
		if err != nil {
			t.Fatal(err)
		}
		l, err := p.Log(partition.LogID(s.UUID))
		if err != nil {
			t.Fatal(err)
		}
		f := &fetches{}
		var wg sync.WaitGroup
		for range askers {
			wg.Go(func() {
				for _, file := range l.Files()[:4] {
					q, err := json.Marshal(chunk{Partition: number, Log: s.UUID, File: file})
					if err != nil {
						t.Error(err)
						return
					}
					q = append([]byte{askChunk}, q...)
					f.heard(q, m.Answer(t.Context(), "late", q))
				}
			})
		}
		wg.Wait()
		f.most(t, rate)
		if n := f.bytes(); n < askers*3*60<<10 {
			t.Errorf("only %d bytes were given", n)
		}
	})
}
