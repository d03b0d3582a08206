package replication

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store"
)

func isFull(err error) bool { return errors.Is(err, store.ErrFull) }

// leads is how many groups a node leads.
func (w *town) leads(i int) int { return w.nodes[i].running().host.Stats().Leaders }

// led makes a region of three whose partitions are spread, with a load.
func led(t *testing.T) (*town, *load) {
	w, s := three(t, 6)
	w.until("each node leads something", func() bool { return w.leads(0) > 0 && w.leads(1) > 0 && w.leads(2) > 0 })
	return w, w.publish(s, 6)
}

// A disk that fills up is said at 85 %; at 92 % its node leads nothing any more,
// at 97 % it does not vote; publishing and reading go on, and all is as before
// when there is room again. A region whose disks are all full refuses.
func TestDiskFullWatermarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := led(t)
		for _, n := range w.nodes {
			n.disk.Put("ballast", make([]byte, 160<<20)) // beside which the journal grows and shrinks little
		}
		n := w.nodes[1]
		used := func(hundredths int64) { n.disk.Limit(100*n.disk.Used()/hundredths + 1) }
		m := n.running()
		used(87)
		w.until("the node says that the disk fills up", func() bool { return m.disk.over.Load() == warnAt })
		if l.goesOn(100); w.leads(1) == 0 {
			t.Error("it leads nothing at 87 %")
		}
		used(94)
		w.until("it leads nothing", func() bool { return w.leads(1) == 0 })
		for range 40 { // and is not handed anything
			used(94) // it fills up further, since it follows
			if err := m.Health(); err != nil {
				t.Fatalf("at 94 %% it does not vote: %v", err)
			}
			l.goesOn(10)
			time.Sleep(250 * time.Millisecond) // simulated
			if lead := w.leads(1); lead > 0 {
				t.Fatalf("it leads %d groups at 94 %%", lead)
			}
		}
		for _, number := range l.parts {
			if _, err := m.readHere(t.Context(), &Read{Partition: number, Log: l.stream.UUID, From: FromEarliest}); err != nil {
				t.Errorf("it cannot be read: %v", err)
			}
		}
		used(99)
		w.until("it does not vote", func() bool { return isFull(m.Health()) })
		l.goesOn(100)
		if l.full > 0 {
			t.Errorf("%d appends were refused although two nodes have room", l.full)
		}
		n.disk.Limit(0)
		n.disk.Limit(4 << 30)
		w.until("it leads again", func() bool { return w.leads(1) > 0 })
		for _, n := range w.nodes {
			n.disk.Limit(100*n.disk.Used()/94 + 1)
		}
		w.until("appends are refused everywhere", func() bool {
			_, err := m.Append(t.Context(), l.parts[0], []partition.Record{event(l.stream.UUID, 50*perPublisher)})
			return isFull(err)
		})
		for _, n := range w.nodes {
			n.disk.Limit(4 << 30)
		}
		l.tries[50*perPublisher] = true // it may be kept: an attempt before may have been
		l.goesOn(100)
		l.end(3)
	})
}

// The disk of a node hangs that leads: others lead soon, and nothing is lost when
// it answers again.
func TestHungDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := led(t)
		l.goesOn(50)
		release := w.nodes[1].disk.Hang()
		began := time.Now()
		w.until("others lead", func() bool {
			for _, p := range w.nodes[0].running().Meta().Partitions() {
				if leader := w.nodes[0].running().leaderOf(p.Number); leader == "" || leader == w.nodes[1].self.ID {
					return false
				}
			}
			return true
		})
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
		l.goesOn(100)
		if took := time.Since(began); took > 7*time.Second { // whoever had asked the node asks others
			t.Errorf("publishing went on after %v", took)
		}
		time.Sleep(20 * time.Second) // simulated
		release()
		l.goesOn(100)
		w.until("the node leads again", func() bool { return w.leads(1) > 0 })
		l.end(3)
	})
}

// A sync fails on a node that leads some partitions and follows in others: what
// it led others lead, it says so, and started again it has all that it
// acknowledged.
func TestFailedSync(t *testing.T) {
	for name, how := range map[string]struct {
		at    int
		power bool
	}{
		"the next": {1, true}, "one soon": {20, true},
		// What the failed sync was for can be read until the power fails.
		"the next, and the process ends": {1, false}, "one soon, and the process ends": {20, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, l := led(t)
				l.goesOn(50)
				m := w.nodes[1].running()
				w.nodes[1].disk.FailSync(how.at, errors.New("input/output error"))
				w.until("the node says so", func() bool { return errors.Is(m.Health(), store.ErrFailed) })
				w.until("others lead", func() bool { return w.leads(0)+w.leads(2) == len(m.Meta().Partitions())+1 })
				l.goesOn(100)
				for _, p := range w.nodes[0].running().Meta().Partitions() {
					for _, rep := range p.Replicas {
						if rep.Lost {
							t.Errorf("a replica of partition %d is given up", p.Number)
						}
					}
				}
				w.crash(1, how.power)
				w.start(1)
				l.goesOn(100)
				w.crash(1, true)
				w.start(1)
				l.goesOn(100)
				l.end(3)
				w.outlive(l, 1)
			})
		})
	}
}

// A leader whose disk has no room does not add replicas to what it leads, since that
// writes, too: it goes on when there is room.
func TestAFullDiskChangesNoReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1)
		s := w.stream("orders", 2)
		w.until("the replicas are there", func() bool { return w.whole(1) })
		n := w.nodes[0]
		n.disk.Put("ballast", make([]byte, 48<<20))
		n.disk.Limit(100*n.disk.Used()/93 + 1)
		m := n.running()
		w.until("nothing is taken any more", func() bool { return isFull(m.room()) })
		w.join("b")
		w.join("c")
		w.until("the nodes are of the region", func() bool { return len(m.Meta().Nodes()) == 3 })
		w.until("replicas are to be added", func() bool {
			for _, p := range m.Meta().Partitions() {
				if p.Change != nil {
					return true
				}
			}
			return false
		})
		time.Sleep(20 * time.Second) // simulated
		for _, rep := range m.open() {
			if n := len(rep.part.Group().Members()); n != 1 {
				t.Errorf("partition %d has %d replicas", rep.number, n)
			}
		}
		n.disk.Limit(4 << 30)
		w.until("the replicas are added", func() bool { return w.whole(3) })
		l := w.publish(s, 1)
		l.goesOn(10)
		l.end(3)
	})
}
