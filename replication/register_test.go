package replication

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/transport/peer"
)

// The register is the region's: who began it can be lost with its disk. Without a
// quorum nothing new is registered, within a bounded time, and what is known is
// answered all the same.
func TestTheRegisterOutlivesWhoBeganIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.until("three vote on the metadata", func() bool { return w.metaVoters() == 3 })
		w.check(w.nodes[0].running().BeginRegister(t.Context(), w.nodes[0].self.ID, nil))
		w.until("another node knows of it", w.nodes[1].running().KeepsRegister)
		if e, err := w.nodes[1].running().RegisterRegion(t.Context(), "us", "first"); err != nil || e.FoundedBy != "first" {
			t.Fatalf("%+v, %v", e, err)
		}
		w.crash(0, true) // for good
		for i, want := range map[int]peer.ID{1: "first", 2: "first"} {
			if e, err := w.nodes[i].running().RegisterRegion(t.Context(), "us", "second"); err != nil || e.FoundedBy != want {
				t.Errorf("node %d: %+v, %v; %s founded it", i, e, err, want)
			}
		}
		e, err := w.nodes[2].running().RegisterRegion(t.Context(), "ap", "second")
		if err != nil || e.FoundedBy != "second" {
			t.Fatalf("%+v, %v", e, err)
		}
		w.crash(1, true)
		began := time.Now()
		if e, err := w.nodes[2].running().RegisterRegion(t.Context(), "sa", "third"); !errors.Is(err, ErrNoLeader) {
			t.Errorf("without a quorum: %+v, %v", e, err)
		}
		if took := time.Since(began); took > proposeWait {
			t.Errorf("it took %v to say so", took)
		}
		if e, err := w.nodes[2].running().RegisterRegion(t.Context(), "ap", "third"); err != nil || e.FoundedBy != "second" {
			t.Errorf("what is known is not answered without a quorum: %+v, %v", e, err)
		}
	})
}

// A register that was taken over in part registers nothing of its own.
func TestNothingIsRegisteredBeforeTheRegisterIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1)
		m := w.nodes[0].running()
		before := []meta.Region{{Name: "eu", FoundedBy: "n0"}, {Name: "us", FoundedBy: "n1"}, {Name: "-", FoundedBy: "n2"}, {Name: "ap", FoundedBy: "n3"}}
		if err := m.BeginRegister(t.Context(), "n0", before); !errors.Is(err, meta.ErrInvalid) {
			t.Fatalf("an entry that cannot be: %v", err)
		}
		if e, err := m.RegisterRegion(t.Context(), "ap", "another"); !errors.Is(err, ErrNoRegister) {
			t.Fatalf("half of the register is there: %+v, %v", e, err)
		}
		w.check(m.BeginRegister(t.Context(), "n0", append(before[:2], before[3])))
		if e, err := m.RegisterRegion(t.Context(), "ap", "another"); err != nil || e.FoundedBy != "n3" {
			t.Errorf("%+v, %v", e, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.BeginRegister(ctx, "n0", []meta.Region{{Name: "ap", FoundedBy: "another"}}); err == nil {
			t.Error("another register is taken over after the first")
		}
	})
}
