package multiraft

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

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

// A snapshot can take the place of the whole log, even of what a leader began its
// term with, on every replica; then leadership can still be handed over, and a
// replica that comes back empty gets all.
func TestAnIdleGroupLetsGoOfItsWholeLog(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		first := leaderOf(t, group)
		for i := range 10 {
			if _, _, err := group[first].Apply(t.Context(), fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := group[first].Release(t.Context()); err != nil || len(group[first].store.list) < 10 {
			t.Errorf("%d entries are left of what came just now: %v", len(group[first].store.list), err)
		}
		to := slices.DeleteFunc(m.nodes(), func(id peer.ID) bool { return id == first })
		for _, next := range []peer.ID{to[0], to[1]} {
			if err := group[leaderOf(t, group)].TransferLeadership(t.Context(), Replica{next, 1}); err != nil {
				t.Fatal(err)
			}
			until(t, time.Minute, "led by "+string(next), func() bool { return leaderOf(t, group) == next })
			until(t, time.Minute, "no entry left", func() bool {
				left := 0
				for _, r := range group {
					if err := r.Release(t.Context()); err != nil {
						t.Log(err)
					}
					left += len(r.store.list)
				}
				return left == 0
			})
		}
		again := group[first]
		was, _ := again.snaps.List()
		time.Sleep(10 * time.Minute) // simulated
		if now, _ := again.snaps.List(); now[0].ID != was[0].ID {
			t.Error("though nothing came, another snapshot was taken")
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		again = m.startReplica(0, again.Self(), func(c *GroupConfig) { c.Store, c.Snapshots = again.store, again.snaps })
		if again.length().term == 0 {
			t.Error("it does not know the term of its last entry, by which it is weighed when the leader is lost")
		}
		late := message{kind: kindAppend, from: 1, term: again.raft.CurrentTerm(), last: 3, lastTerm: 1, entries: []*raft.Log{{Index: 4, Term: 1}, {Index: 5, Term: 1}}}
		again.sinceSnapshot(&late)
		got := make(chan raft.RPCResponse, 1)
		again.requests <- raft.RPC{Command: again.command(to[1], &late), RespChan: got}
		if r := (<-got).Response.(*raft.AppendEntriesResponse); !r.Success {
			t.Errorf("a leader that sends again what the snapshot has is answered %+v", r)
		}
		if _, _, err := group[to[1]].Apply(t.Context(), []byte("after")); err != nil {
			t.Fatal(err)
		}
		until(t, time.Minute, "all applied", func() bool { n, _ := again.fsm.state(); return n == 11 })

		list, err := again.cfg.Snapshots.List()
		if err != nil {
			t.Fatal(err)
		}
		resent := message{kind: kindAppend, from: 1, term: again.raft.CurrentTerm(), last: list[0].Index, lastTerm: list[0].Term}
		again.requests <- raft.RPC{Command: again.command(to[1], &resent), RespChan: got}
		if r := (<-got).Response.(*raft.AppendEntriesResponse); !r.Success {
			t.Errorf("a leader that goes on behind the snapshot is answered %+v", r)
		}
		if first, err := again.logs.FirstIndex(); first != list[0].Index+1 {
			t.Errorf("the log begins with %d, the snapshot ends with %d: %v", first, list[0].Index, err)
		}
		resent.commit = list[0].Index + 5
		if c := again.command(to[1], &resent).(*raft.AppendEntriesRequest).LeaderCommitIndex; c != list[0].Index {
			t.Errorf("an append up to %d commits up to %d", list[0].Index, c)
		}
		last, err := again.logs.LastIndex()
		if err := errors.Join(err, again.logs.DeleteRange(1, last)); err != nil { // as Raft does for a snapshot it has taken over
			t.Fatal(err)
		}
		if first, err := again.logs.FirstIndex(); first != list[0].Index+1 || err != nil {
			t.Errorf("of what follows the snapshot, entries before %d are gone: %v", first, err)
		}
		older := message{kind: kindInstall, group: again.id, from: 1, to: 1, term: again.raft.CurrentTerm(), last: list[0].Index - 1}
		if a := again.host.install(to[1], &older, strings.NewReader("")); a.status == statusOK || a.last != again.raft.AppliedIndex() {
			t.Errorf("a snapshot of what was applied before is answered %+v", a)
		}
	})
}

func TestEntriesOfTheLastSecondsAreYoung(t *testing.T) {
	var a age
	began := time.Now()
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
	if got := a.settled(at(0)); got != 1<<64-1 {
		t.Errorf("of a log that was opened, all is old up to %d", got)
	}
	for i := range uint64(20) { // two a second, from entry 100 on
		a.note(at(float64(i)/2), 100+i, 100+i)
	}
	for _, c := range []struct {
		at   float64
		want uint64
	}{{9.5, 109}, {11, 112}, {100, 119}} {
		if got := a.settled(at(c.at)); got > c.want || got+4 < c.want {
			t.Errorf("after %v s, entries are old up to %d, want about %d", c.at, got, c.want)
		}
	}
}
