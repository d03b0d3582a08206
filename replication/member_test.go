package replication

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/replication/placement"
	"github.com/skeinmesh/skein/store/storetest"
	"github.com/skeinmesh/skein/transport/peer"
)

func TestARegionOfOneKeepsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1)
		s := w.stream("orders", 1)
		m := w.nodes[0].running()
		a, _ := m.Meta().Assignment(s.UUID)
		for i := range 10 {
			if _, err := m.Append(t.Context(), a.Partitions[0], []partition.Record{event(s.UUID, i)}); err != nil {
				t.Fatal(err)
			}
		}
		w.crash(0, true)
		w.start(0)
		m = w.nodes[0].running()
		w.until("the replica is open again", func() bool {
			_, err := m.local(a.Partitions[0])
			return err == nil
		})
		w.until("the events are there", func() bool { return len(w.read(m, a.Partitions[0], s.UUID)) == 10 })
	})
}

func TestEveryNodeAppendsAndReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 5)
		s := w.stream("orders", 4)
		next := 0
		want := map[uint32]int{}
		for _, n := range w.nodes {
			m := n.running()
			a, _ := m.Meta().Assignment(s.UUID)
			for range 20 {
				number := a.Partitions[placement.Partition([]byte{byte(next)}, len(a.Partitions))]
				if _, err := m.Append(t.Context(), number, []partition.Record{event(s.UUID, next)}); err != nil {
					t.Fatal(err)
				}
				want[number]++
				next++
			}
		}
		for _, n := range w.nodes {
			for number, count := range want {
				w.until("a node reads what the others appended", func() bool {
					return len(w.read(n.running(), number, s.UUID)) == count
				})
			}
		}
	})
}

func TestTheMetadataGetsThreeVotersAndOutlivesItsFounder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 4)
		voters := func() (n int) {
			for _, m := range w.nodes[3].running().meta.group().Members() {
				if m.Voter {
					n++
				}
			}
			return n
		}
		w.until("three vote", func() bool { return voters() == 3 })
		w.crash(0, true)
		m := w.nodes[3].running()
		w.until("a stream is made without the founder", func() bool {
			return m.Propose(t.Context(), &meta.CreateStream{UUID: meta.ID{9}, Definition: meta.Definition{
				Namespace: "default", Name: "orders", Partitions: 1, Placement: "local"}.WithDefaults()}) == nil
		})
		w.start(0)
		w.until("the founder hears of it", func() bool {
			_, ok := w.nodes[0].running().Meta().Stream(meta.ID{9})
			return ok
		})
	})
}

// A region that grows from one node to three keeps three replicas of what it had.
func TestReplicasAreAddedAsNodesJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1)
		s := w.stream("orders", 1)
		m := w.nodes[0].running()
		a, _ := m.Meta().Assignment(s.UUID)
		for i := range 100 {
			if _, err := m.Append(t.Context(), a.Partitions[0], []partition.Record{event(s.UUID, i)}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 {
			w.add(&townNode{town: w, disk: storetest.NewDisk(), self: peer.Peer{
				ID: peer.ID(fmt.Sprintf("late-%d", i)), Name: fmt.Sprintf("l%d", i), Region: "eu",
			}})
			w.start(len(w.nodes) - 1)
		}
		w.until("all partitions have three voters", func() bool {
			for _, p := range m.Meta().Partitions() {
				if len(p.Replicas) != 3 || p.Change != nil {
					return false
				}
			}
			return true
		})
		w.crash(0, true)
		m = w.nodes[2].running()
		w.until("the others have the events", func() bool {
			got, err := m.Read(t.Context(), Read{Partition: a.Partitions[0], Log: s.UUID, From: FromEarliest})
			return err == nil && len(got.List) == 100
		})
		if _, err := m.Append(t.Context(), a.Partitions[0], []partition.Record{event(s.UUID, 100)}); err != nil {
			t.Error(err)
		}
	})
}
