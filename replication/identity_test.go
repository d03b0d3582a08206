package replication

import (
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store/storetest"
	"github.com/skeinmesh/skein/transport/peer"
)

// named is a replica of some group.
type named struct {
	group multiraft.GroupID
	multiraft.Replica
}

// replicasOf are the replicas that a node runs.
func replicasOf(m *Member) map[named]bool {
	list := map[named]bool{}
	for _, g := range m.host.Groups() {
		list[named{g.ID(), g.Self()}] = true
	}
	return list
}

// A node whose directory is gone, but not its identity, has forgotten what it
// voted for: its replicas never vote again, and are made anew.
func TestWipedReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		s := w.stream("orders", 2)
		w.until("the replicas are there", func() bool { return w.whole(3) })
		l := w.publish(s, 3)
		l.goesOn(100)
		n := w.nodes[2]
		old := replicasOf(n.running())
		w.crash(2, true)
		n.disk = storetest.NewDisk()
		w.start(2)
		for range 500 {
			for replica := range replicasOf(n.running()) {
				if old[replica] {
					t.Fatalf("a replica that has lost its memory runs: %v", replica)
				}
			}
			time.Sleep(20 * time.Millisecond) // simulated
		}
		l.goesOn(100)
		l.end(3)
	})
}

// With one node that was away and one that has lost its memory there is no quorum
// of those who know what was acknowledged, and nothing is decided until there is.
func TestAWipedNodeMakesNoQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		s := w.stream("orders", 1)
		w.until("the replicas are there", func() bool { return w.whole(3) })
		w.until("three vote on the metadata", func() bool { return w.metaVoters() == 3 })
		l := w.publish(s, 2)
		l.goesOn(30)
		w.crash(1, true) // it misses what follows
		l.goesOn(30)
		w.crash(0, true)
		w.crash(2, true)
		w.nodes[2].disk = storetest.NewDisk()
		w.start(1)
		w.start(2)
		count := l.count()
		time.Sleep(time.Minute) // simulated
		for _, i := range []int{1, 2} {
			for _, g := range w.nodes[i].running().host.Groups() {
				if _, _, led := g.Leader(); led {
					t.Errorf("node %d has a leader of group %s without a quorum of those that remember", i, g.ID())
				}
			}
		}
		if got := l.count(); got != count {
			t.Errorf("%d events were acknowledged without a quorum", got-count)
		}
		w.start(0)
		l.goesOn(30)
		l.end(3)
	})
}

func (w *town) metaVoters() (n int) {
	for _, node := range w.nodes {
		if m := node.running(); m != nil && m.meta.group().IsLeader() {
			for _, member := range m.meta.group().Members() {
				if member.Voter {
					n++
				}
			}
			return n
		}
	}
	return 0
}

// A node that is started from an old image of its disk takes part in nothing,
// and the others go on.
func TestRestoredImage(t *testing.T) {
	for name, all := range map[string]bool{"one node is started": false, "all nodes are": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, 3)
				s := w.stream("orders", 2)
				w.until("the replicas are there", func() bool { return w.whole(3) })
				l := w.publish(s, 2)
				l.goesOn(50)
				n := w.nodes[0]
				boot := n.self.Boot
				image := n.disk.Clone()
				w.crash(0, true)
				w.start(0) // the region hears of this start, which the image does not know
				w.until("the start is registered", n.running().registered.Load)
				l.goesOn(50)
				for i := range w.nodes {
					if i == 0 || all {
						w.crash(i, true)
					}
				}
				n.disk, n.self.Boot = image, boot
				for i := range w.nodes {
					if i == 0 || all {
						w.start(i)
					}
				}
				w.until("the image is found out", func() bool { return errors.Is(n.running().Fenced(), meta.ErrClone) })
				if groups := n.running().host.Groups(); len(groups) > 0 {
					t.Errorf("it takes part in %d groups", len(groups))
				}
				for i := 1; i < 3; i++ { // they hear of it when they ask it about themselves
					w.crash(i, false)
					w.start(i)
					w.until("another node is registered", w.nodes[i].running().registered.Load)
				}
				l.goesOn(50)
				w.crash(0, false)
				n.disk = storetest.NewDisk() // as the message says: it joins as new
				n.self.Boot += 10
				w.start(0)
				l.end(3)
			})
		})
	}
}

// A founder that begins again since its directory is gone asks to be let in, as
// others do: it does not found the region anew.
func TestDisjointBootstrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		s := w.stream("orders", 1)
		w.until("the replicas are there", func() bool { return w.whole(3) })
		w.until("three vote on the metadata", func() bool { return w.metaVoters() == 3 })
		w.crash(0, true)
		w.nodes[0].disk = storetest.NewDisk()
		w.start(0) // the founder, without a memory
		m := w.nodes[0].running()
		w.until("the founder is let in", func() bool {
			_, ok := m.Meta().Stream(s.UUID)
			return ok
		})
		if m.meta.group().Self().Epoch == 1 {
			t.Error("the founder goes on as the replica that has lost its memory")
		}
	})
}

// Two nodes that both believe they founded the region do not both decide: the
// one that has decided less stops as soon as they meet.
func TestOfTwoFoundersOneStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1)
		w.stream("orders", 1)
		w.add(&townNode{town: w, disk: storetest.NewDisk(), found: true, self: peer.Peer{
			ID: "another", Name: "another", Region: "eu",
		}})
		w.start(1)
		w.until("the second founder stops", func() bool { return errors.Is(w.nodes[1].running().Fenced(), errRival) })
		time.Sleep(10 * time.Second) // simulated
		if err := w.nodes[0].running().Fenced(); err != nil {
			t.Error(err)
		}
	})
}

// Wherever the power fails while a founder begins, its region begins when it is started
// again.
func TestAFounderBeginsWhereverThePowerFailed(t *testing.T) {
	whole := false
	for n := 1; !whole; n++ { // operations on its disk
		synctest.Test(t, func(t *testing.T) {
			w := &town{t: t, rng: rand.New(rand.NewPCG(uint64(n), 1))}
			founder := &townNode{town: w, disk: storetest.NewDisk(), found: true, self: peer.Peer{ID: "node-0", Name: "n0", Region: "eu", Boot: 1}}
			w.nodes = append(w.nodes, founder)
			founder.disk.CrashAfter(n, w.rng)
			if m, err := Open(founder.config()); err == nil {
				whole = true
				m.Close() // which may find the disk gone
			}
			founder.disk.Start()
			w.start(0)
			defer w.stop(0)
			w.until("the region begins", func() bool { return w.metaVoters() == 1 })
		})
	}
}
