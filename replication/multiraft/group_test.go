package multiraft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestWhatIsAppliedIsTheSameOnAllReplicas(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		leader := group[leaderOf(t, group)]
		for i := range 100 {
			index, result, err := leader.Apply(t.Context(), fmt.Appendf(nil, "entry %d", i))
			if err != nil || index == 0 || result != i+1 {
				t.Fatalf("entry %d: index %d, result %v, %v", i, index, result, err)
			}
		}
		if err := leader.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, want := leader.fsm.state()
		for id, r := range group {
			until(t, time.Second, "all applied on "+string(id), func() bool {
				n, sum := r.fsm.state()
				return n == 100 && sum == want
			})
		}
	})
}

func TestTheOnlyVoterLeadsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 1, nil)
		defer m.close()
		began := time.Now()
		group := m.startGroup(0, nodeName(0))
		leaderOf(t, group)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("it led after %v", took)
		}
	})
}

func TestProposalsKeepTheirOrder(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		leader := group[leaderOf(t, group)]
		var all []*Proposal
		for i := range 500 {
			p, err := leader.Propose(t.Context(), fmt.Append(nil, i))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		var before uint64
		for i, p := range all {
			<-p.Done()
			index, result, err := p.Outcome()
			if err != nil || index <= before || result != i+1 {
				t.Fatalf("proposal %d: index %d after %d, result %v, %v", i, index, before, result, err)
			}
			before = index
		}
	})
}

func TestAFollowerRefusesProposals(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		leader := leaderOf(t, group)
		for id, r := range group {
			if id == leader {
				continue
			}
			if _, _, err := r.Apply(t.Context(), []byte("x")); !errors.Is(err, ErrNotLeader) {
				t.Errorf("a follower said %v", err)
			}
		}
		if _, _, err := group[leader].Apply(t.Context(), make([]byte, MaxEntry+1)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("an entry that is too large: %v", err)
		}
	})
}

// An append of 64 entries of the largest size is 16 MiB; no frame takes that.
func TestTheLargestEntriesArriveInBoundedFrames(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		id := leaderOf(t, group)
		for _, other := range m.nodes() {
			if other != id {
				m.isolate(other) // so that entries gather
				break
			}
		}
		var all []*Proposal
		for i := range 2 * maxPending {
			data := make([]byte, 256<<10)
			data[0] = byte(i)
			p, err := group[id].Propose(t.Context(), data)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		for _, p := range all {
			<-p.Done()
			if _, _, err := p.Outcome(); err != nil {
				t.Fatal(err)
			}
		}
		for _, other := range m.nodes() {
			if other != id {
				m.heal(other)
			}
		}
		_, want := group[id].fsm.state()
		for node, r := range group {
			until(t, time.Minute, "all applied on "+string(node), func() bool { _, sum := r.fsm.state(); return sum == want })
		}
	})
}

func TestLeadershipIsHandedOver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		old := leaderOf(t, group)
		next := m.nodes()[0]
		if next == old {
			next = m.nodes()[1]
		}
		began := time.Now()
		if err := group[old].TransferLeadership(t.Context(), Replica{next, 1}); err != nil {
			t.Fatal(err)
		}
		if got := leaderOf(t, group); got != next {
			t.Fatalf("%s leads, not %s", got, next)
		}
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// What is proposed in the meantime is in the next leader's log, or waits for it:
// else the voter would stand with too short a log, and nobody would lead.
func TestLeadershipIsHandedOverUnderLoad(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		at := leaderOf(t, group)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		for range 4 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					for _, r := range group {
						r.Propose(ctx, fmt.Append(nil, n))
					}
					time.Sleep(500 * time.Microsecond) // else virtual time would stand still
				}
			})
		}
		for i := range 300 {
			to := m.nodes()[i%3]
			if to == at {
				continue
			}
			began := time.Now()
			if err := group[at].TransferLeadership(t.Context(), Replica{to, 1}); err != nil {
				t.Fatalf("transfer %d: %v", i, err)
			}
			until(t, time.Second, "led by the voter", func() bool { return group[to].IsLeader() })
			if took := time.Since(began); took > 200*time.Millisecond {
				t.Fatalf("transfer %d to %s took %v", i, to, took)
			}
			at = to
		}
	})
}

// A voter that was cut off a moment ago answers no more.
func TestAHandoverInVainTakesNoLongerThanItMay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		old := leaderOf(t, group)
		if _, _, err := group[old].Apply(t.Context(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		next := slices.DeleteFunc(m.nodes(), func(id peer.ID) bool { return id == old })[0]
		time.Sleep(100 * time.Millisecond) // it has all
		m.isolate(next)
		began := time.Now()
		handed := make(chan error, 1)
		go func() { handed <- group[old].TransferLeadership(t.Context(), Replica{next, 1}) }()
		time.Sleep(10 * time.Millisecond)
		if _, _, err := group[old].Apply(t.Context(), []byte("y")); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > transferWithin+100*time.Millisecond {
			t.Errorf("nobody could propose for %v", took)
		}
		if err := <-handed; err == nil {
			t.Error("it was handed to a voter that is cut off")
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

func TestEachChangeOfLeaderIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		told := make(chan Replica, 100)
		var all []Replica
		for _, id := range m.nodes() {
			all = append(all, Replica{id, 1})
		}
		group := map[peer.ID]*replica{}
		for i, r := range all {
			group[r.Node] = m.startReplica(0, r, func(c *GroupConfig) {
				c.Bootstrap = all
				if i == 0 {
					c.OnLeader = func(leader Replica, term uint64) { told <- leader }
				}
			})
		}
		first := leaderOf(t, group)
		to := all[slices.IndexFunc(all, func(r Replica) bool { return r.Node != first })]
		if err := group[first].TransferLeadership(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		until(t, time.Second, "told of the second leader", func() bool {
			last := Replica{}
			for len(told) > 0 {
				last = <-told
			}
			return last == to
		})
	})
}

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
