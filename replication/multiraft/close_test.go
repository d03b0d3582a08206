package multiraft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestCloseGivesEveryProposalAnOutcome(t *testing.T) {
	for _, cut := range []bool{false, true} {
		inBubble(t, func(t *testing.T) {
			m := newMesh(t, 3, nil)
			defer m.close()
			group := m.startGroup(0, m.nodes()...)
			id := leaderOf(t, group)
			if cut {
				m.isolate(id)
			}
			var all []*Proposal
			for i := range maxPending {
				p, err := group[id].Propose(t.Context(), fmt.Append(nil, i))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, p)
			}
			if err := group[id].Close(); err != nil {
				t.Fatal(err)
			}
			for i, p := range all {
				select {
				case <-p.Done():
				default:
					t.Fatalf("cut %v: proposal %d has no outcome after Close", cut, i)
				}
				if _, _, err := p.Outcome(); cut && err == nil {
					t.Errorf("proposal %d was committed without a quorum", i)
				}
			}
			if _, err := group[id].Propose(context.Background(), nil); !errors.Is(err, ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

// Raft forgets what its state machine has yet to apply when it is shut down.
func TestCloseWaitsForWhatIsCommittedToBeApplied(t *testing.T) {
	for _, hangs := range []time.Duration{500 * time.Millisecond, time.Minute} {
		inBubble(t, func(t *testing.T) { closeWhileItIsApplied(t, hangs, nil) })
	}
}

// So it is when the replica's store has failed with proposals on their way.
func TestCloseOfAFailedReplicaGivesEveryProposalAnOutcome(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		closeWhileItIsApplied(t, 500*time.Millisecond, errors.New("input/output error"))
	})
}

// closeWhileItIsApplied closes a leader whose state machine hangs for some time
// while it has all that was proposed; its store may have failed by then.
func closeWhileItIsApplied(t *testing.T, hangs time.Duration, fails error) {
	m := newMesh(t, 3, nil)
	defer m.close()
	group := m.startGroup(0, m.nodes()...)
	leader := group[leaderOf(t, group)]
	hang := make(chan struct{})
	leader.fsm.mu.Lock()
	leader.fsm.hang = hang
	leader.fsm.mu.Unlock()
	var all []*Proposal
	propose := func(i int) *Proposal {
		p, err := leader.Propose(t.Context(), fmt.Append(nil, i))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // a batch of its own for the state machine
		return p
	}
	for i := range maxPending - 1 {
		all = append(all, propose(i))
	}
	if fails != nil {
		leader.store.set(func(s *memoryStore) { s.err = fails })
		propose(maxPending)
		until(t, time.Second, "failed", func() bool { return leader.failure() != nil })
	}
	time.AfterFunc(hangs, func() { close(hang) })
	late := time.AfterFunc(hangs+time.Minute, func() { panic("the replica does not close") }) // and the others would go on for ever
	defer late.Stop()
	if err := leader.Close(); err != nil {
		t.Fatal(err)
	}
	for i, p := range all {
		<-p.Done()
		if _, _, err := p.Outcome(); err != nil {
			t.Errorf("proposal %d: %v", i, err)
		}
	}
}

// What comes after an entry that cannot be read is not applied, and its outcome is
// unknown.
func TestNothingIsAppliedAfterAnEntryThatCannotBeRead(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 2, nil)
		defer m.close()
		nodes := m.nodes()
		group := m.startGroup(0, nodes...)
		first := group[leaderOf(t, group)]
		var rotten uint64
		for i := range 10 {
			index, _, err := first.Apply(t.Context(), fmt.Append(nil, i))
			if err != nil {
				t.Fatal(err)
			}
			if i == 5 {
				rotten = index
			}
		}
		for _, r := range group {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		again := map[peer.ID]*replica{}
		for _, id := range nodes {
			kept := group[id].store
			r := m.startReplica(0, Replica{id, 1}, func(c *GroupConfig) { c.Store = kept })
			r.logs.mu.Lock()
			r.logs.cache = nil
			r.logs.mu.Unlock()
			kept.set(func(s *memoryStore) { s.rotten = rotten }) // read at the start, and now damaged
			again[id] = r
		}
		var leader *replica
		until(t, time.Minute, "failed", func() bool {
			for _, r := range again {
				if r.failure() != nil {
					leader = r
				}
			}
			return leader != nil
		})
		for _, r := range again {
			if n, _ := r.fsm.state(); n > 5 {
				t.Errorf("%s has applied %d entries, and the 6th cannot be read", r.Self(), n)
			}
			if err := r.Snapshot(t.Context()); err == nil && r == leader {
				t.Errorf("%s has kept a snapshot of what it did not apply", r.Self())
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// A replica is closed while a leader's entries wait for its disk, and opened again:
// the leader does not wait for the answers of the one that was closed.
func TestAReplicaThatIsOpenedAgainGetsEntriesAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		nodes := m.nodes()
		group := m.startGroup(0, nodes...)
		leader := leaderOf(t, group)
		others := slices.DeleteFunc(slices.Clone(nodes), func(id peer.ID) bool { return id == leader })
		follower := group[others[0]]
		hang := make(chan struct{})
		follower.store.set(func(s *memoryStore) { s.hang = hang })
		for i := range 10 {
			if _, err := group[leader].Propose(t.Context(), fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // an append of its own, for as many as may be on their way
		}
		time.AfterFunc(100*time.Millisecond, func() {
			follower.store.set(func(s *memoryStore) { s.hang = nil })
			close(hang)
		})
		if err := follower.Close(); err != nil {
			t.Fatal(err)
		}
		again := m.startReplica(0, follower.Self(), func(c *GroupConfig) { c.Store = follower.store })
		began := time.Now()
		until(t, time.Minute, "caught up", func() bool { n, _ := again.fsm.state(); return n == 10 })
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
