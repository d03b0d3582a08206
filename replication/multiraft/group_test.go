package multiraft

import (
	"errors"
	"fmt"
	"slices"
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
