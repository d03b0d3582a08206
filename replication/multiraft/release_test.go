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
		if err := group[first].Release(t.Context()); err != nil || group[first].store.length() < 10 {
			t.Errorf("%d entries are left of what came just now: %v", group[first].store.length(), err)
		}
		to := slices.DeleteFunc(m.nodes(), func(id peer.ID) bool { return id == first })
		for _, next := range []peer.ID{to[0], to[1]} {
			if err := group[leaderOf(t, group)].TransferLeadership(t.Context(), Replica{next, 1}); err != nil {
				t.Fatal(err)
			}
			until(t, time.Minute, "led by "+string(next), func() bool { return leaderOf(t, group) == next })
			letGo(t, group)
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
	}{{9.5, 109}, {11, 112}, {14, 118}} {
		if got := a.settled(at(c.at)); got > c.want || got+4 < c.want {
			t.Errorf("after %v s, entries are old up to %d, want about %d", c.at, got, c.want)
		}
	}
	a.note(at(14), 108, 110) // in place of what came later
	if got := a.settled(at(16)); got > 107 {
		t.Errorf("entries are old up to %d, though those from 108 on are new", got)
	}
	if got := a.settled(at(30)); got != 110 {
		t.Errorf("in the end entries are old up to %d", got)
	}
	a.note(at(31), 105, 106)
	if got := a.settled(at(32)); got != 104 {
		t.Errorf("entries are old up to %d, though those from 105 on are new", got)
	}
}

// letGo has all replicas let go of their logs until no entry is left.
func letGo(t *testing.T, group map[peer.ID]*replica) {
	t.Helper()
	until(t, time.Minute, "no entry left", func() bool {
		left := 0
		for _, r := range group {
			if err := r.Release(t.Context()); err != nil {
				t.Log(err)
			}
			left += r.store.length()
		}
		return left == 0
	})
}

// released makes a group of three that has let go of ten entries, and closes it: what is
// read now is read from what is kept.
func released(t *testing.T, m *mesh) map[peer.ID]*replica {
	t.Helper()
	group := m.startGroup(0, m.nodes()...)
	first := leaderOf(t, group)
	for i := range 10 {
		if _, _, err := group[first].Apply(t.Context(), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	letGo(t, group)
	for _, r := range group {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return group
}

// again starts a replica anew, with what it kept.
func (m *mesh) again(r *replica) *replica {
	m.t.Helper()
	n := m.startReplica(0, r.Self(), func(c *GroupConfig) { c.Store, c.Snapshots = r.store, r.snaps })
	n.store, n.snaps = r.store, r.snaps
	return n
}

// A follower whose disk is full refuses entry after entry, and so the leader goes back
// in its log, to where a snapshot has taken its place. When there is room again nothing
// is gone of what was acknowledged, and the group goes on, also if it needs this
// follower.
func TestAFullDiskBehindAReleasedLog(t *testing.T) {
	for name, c := range map[string]struct{ others, bytes int }{
		"NeededForAQuorum": {1, 1},
		"NotNeeded":        {2, 1},
		"LargeEntries":     {1, partBytes + 1}, // so that of what is sent again a part succeeds
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				m := newMesh(t, 3, nil)
				defer m.close()
				group := released(t, m)
				running := map[peer.ID]*replica{}
				for _, id := range m.nodes()[:c.others+1] {
					running[id] = m.again(group[id])
				}
				leader := running[leaderOf(t, running)]
				if _, _, err := leader.Apply(t.Context(), make([]byte, c.bytes)); err != nil {
					t.Fatal(err)
				}
				var full *replica
				for id, r := range running {
					if id != leader.Self().Node {
						full = r
					}
				}
				sent := leader.host.Stats().SnapshotsSent
				full.store.set(func(s *memoryStore) { s.full = true })
				done := make(chan error, 4)
				for i := range cap(done) {
					go func() {
						_, _, err := leader.Apply(t.Context(), fmt.Append(nil, "later ", i))
						done <- err
					}()
					time.Sleep(100 * time.Millisecond) // simulated
				}
				until(t, time.Minute, "a snapshot sent", func() bool { return leader.host.Stats().SnapshotsSent > sent })
				sent = leader.host.Stats().SnapshotsSent
				time.Sleep(30 * time.Second) // simulated
				if n := leader.host.Stats().SnapshotsSent - sent; n > 25 {
					t.Errorf("in half a minute the leader sent %d snapshots", n)
				}
				full.store.set(func(s *memoryStore) { s.full = false })
				for range cap(done) {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				for _, r := range running {
					until(t, time.Minute, "all applied", func() bool { n, _ := r.fsm.state(); return n == 15 })
					first, err := r.logs.FirstIndex()
					s, _ := r.logs.snapshot()
					if err != nil || first > s.Index+1 {
						t.Errorf("the log of %s begins with %d, its snapshot ends with %d: %v", r.Self(), first, s.Index, err)
					}
					if err := r.failure(); err != nil {
						t.Error(err)
					}
				}
				if got := full.host.Stats().SnapshotsReceived; got > 0 {
					t.Errorf("it has put %d snapshots in the place of what it had", got)
				}
			})
		})
	}
}

// A snapshot of what a replica has is answered with yes, and changes nothing, whether
// the replica has applied that or only has it in its log. The answer is read by a leader
// that is still sending.
func TestASnapshotOfWhatIsThereChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		r := m.again(released(t, m)[nodeName(0)]) // alone
		s, _ := r.logs.snapshot()
		tell := func(msg message) raft.AppendEntriesResponse {
			t.Helper()
			got := make(chan raft.RPCResponse, 1)
			answer, taken := r.take(nodeName(1), &msg, got)
			if !taken || answer.Error != nil {
				t.Fatalf("%+v", answer)
			}
			return *answer.Response.(*raft.AppendEntriesResponse)
		}
		const term = 9
		late := message{kind: kindAppend, from: 1, term: term, last: s.Index, lastTerm: s.Term, entries: []*raft.Log{
			{Index: s.Index + 1, Term: term}, {Index: s.Index + 2, Term: term}, {Index: s.Index + 3, Term: term},
		}, commit: s.Index + 1}
		if a := tell(late); !a.Success {
			t.Fatalf("the log goes on behind the snapshot: %+v", a)
		}
		leader := Group{id: r.id, self: Replica{nodeName(1), 1}, host: m.hosts[nodeName(1)].Host, ctx: t.Context()}
		send := func(last, lastTerm, term uint64) (*message, error) {
			data := strings.NewReader(strings.Repeat("x", 1<<20))
			a := &raft.InstallSnapshotRequest{Term: term, LastLogIndex: last, LastLogTerm: lastTerm, Size: int64(data.Len()),
				Configuration: raft.EncodeConfiguration(raft.Configuration{})}
			return transport{&leader}.sendSnapshot(r.Self(), a, data)
		}
		for _, c := range []struct{ last, lastTerm uint64 }{{s.Index - 1, s.Term}, {s.Index, s.Term}, {s.Index + 1, term}, {s.Index + 3, term}} {
			a, err := send(c.last, c.lastTerm, term)
			if err != nil || a.flags&flagYes == 0 || a.term != term {
				t.Errorf("a snapshot up to %d is answered %+v, %v", c.last, a, err)
			}
		}
		if a, err := send(s.Index, s.Term, term-1); err != nil || a.flags&flagYes != 0 || a.term != term {
			t.Errorf("a leader of another term is answered %+v, %v", a, err)
		}
		if n, _ := r.fsm.state(); n != 11 {
			t.Errorf("%d entries are applied", n)
		}
		first, _ := r.store.FirstIndex()
		last, _ := r.store.LastIndex()
		if first != s.Index+1 || last != s.Index+3 {
			t.Errorf("the log goes from %d to %d, the snapshot to %d", first, last, s.Index)
		}
		r.fsm.mu.Lock()
		r.fsm.refuses = errors.New("the state machine refuses")
		r.fsm.mu.Unlock()
		if a, err := send(s.Index+4, term, term); err == nil {
			t.Errorf("a snapshot that it needs, and which is none: %+v", a)
		}
		until(t, time.Minute, "it ends, since Raft would go on without the snapshot", func() bool { return r.failure() != nil })
	})
}

// What is invented for a follower's sake no leader sends.
func TestALeaderDoesNotReadBehindItsLog(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := map[peer.ID]*replica{}
		for id, r := range released(t, m) {
			group[id] = m.again(r)
		}
		at := leaderOf(t, group)
		for id, r := range group {
			s, _ := r.logs.snapshot()
			var e raft.Log
			err := r.logs.GetLog(s.Index, &e)
			switch {
			case id == at && !errors.Is(err, raft.ErrLogNotFound):
				t.Errorf("the leader reads %+v, %v", e, err)
			case id != at && (err != nil || e.Term != s.Term):
				t.Errorf("a follower reads %+v, %v", e, err)
			}
		}
		to := slices.DeleteFunc(m.nodes(), func(id peer.ID) bool { return id == at })
		term := group[at].raft.CurrentTerm()
		for _, c := range []struct {
			what string
			from peer.ID
			term uint64
		}{{"a leader of a term that is over", at, term - 1}, {"who has led in this term", to[1], term}} {
			a := &raft.AppendEntriesRequest{Term: c.term, PrevLogEntry: 1, PrevLogTerm: 1}
			err := transport{group[c.from].Group}.AppendEntries("", group[to[0]].self.addr(), a, &raft.AppendEntriesResponse{})
			if !errors.Is(err, ErrNotLeader) {
				t.Errorf("an append of %s: %v", c.what, err)
			}
		}
	})
}
