package multiraft

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/store"
)

// warm has a leader of three replicas append until all have all.
func warm(t *testing.T, m *mesh) (leader *replica, followers []*replica) {
	t.Helper()
	group := m.startGroup(0, m.nodes()...)
	at := leaderOf(t, group)
	if _, _, err := group[at].Apply(t.Context(), []byte("first")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // simulated
	for id, r := range group {
		if id != at {
			followers = append(followers, r)
		}
	}
	return group[at], followers
}

// The followers have an entry on their disks while the leader's is still writing, and
// it is not committed before that has.
func TestFollowersWriteWhileTheLeaderDoes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		leader, followers := warm(t, m)
		for i := range 3 {
			before, _ := leader.store.LastIndex()
			hang := make(chan struct{})
			leader.store.set(func(s *memoryStore) { s.hang = hang })
			release := sync.OnceFunc(func() {
				leader.store.set(func(s *memoryStore) { s.hang = nil })
				close(hang)
			})
			defer release() // else the group cannot be closed
			data := fmt.Append(nil, "entry ", i)
			p, err := leader.Propose(t.Context(), data)
			if err != nil {
				t.Fatal(err)
			}
			until(t, 100*time.Millisecond, "both followers have the entry", func() bool {
				for _, f := range followers {
					if last, _ := f.store.LastIndex(); last != before+1 {
						return false
					}
				}
				return true
			})
			select {
			case <-p.Done():
				t.Fatal("the entry was committed before the leader had it")
			default:
			}
			release()
			<-p.Done()
			if _, _, err := p.Outcome(); err != nil || !leader.fsm.has(data) {
				t.Fatalf("once the leader has it: %v", err)
			}
		}
		if got := leader.host.Stats().Ahead; got < 6 {
			t.Errorf("%d entries were sent ahead, want 6", got)
		}
	})
}

// Of what the leader's disk refuses when others may have it, it is not said that it
// is not kept.
func TestWhatTheLeaderCouldNotWriteIsUnknown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		leader, _ := warm(t, m)
		leader.store.set(func(s *memoryStore) { s.err = store.ErrFull })
		if _, _, err := leader.Apply(t.Context(), []byte("x")); !errors.Is(err, ErrUnknown) || !errors.Is(err, store.ErrFull) {
			t.Errorf("the outcome is told as %v", err)
		}
		leader.store.set(func(s *memoryStore) { s.err = nil })
	})
}

// An entry that shall be of another term than the leader's is not kept, and the group
// goes on.
func TestAnEntryIsOfItsTermOrRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		leader, followers := warm(t, m)
		term, leads := leader.Leads()
		if !leads {
			t.Fatal("the leader does not lead")
		}
		if _, leads := followers[0].Leads(); leads {
			t.Error("a follower says that it leads")
		}
		good, err := leader.ProposeIn(t.Context(), term, []byte("good"))
		if err != nil {
			t.Fatal(err)
		}
		<-good.Done()
		if _, _, err := good.Outcome(); err != nil {
			t.Errorf("in the leader's term: %v", err)
		}
		bad, err := leader.ProposeIn(t.Context(), term-1, []byte("bad"))
		if err != nil {
			t.Fatal(err)
		}
		<-bad.Done()
		if _, _, err := bad.Outcome(); !errors.Is(err, ErrNotLeader) || errors.Is(err, ErrUnknown) {
			t.Errorf("in another term: %v", err)
		}
		group := map[string]*replica{"leader": leader, "one": followers[0], "other": followers[1]}
		until(t, time.Minute, "the group goes on", func() bool {
			for _, r := range group {
				if _, _, err := r.Apply(t.Context(), []byte("later")); err == nil {
					return true
				}
			}
			return false
		})
		for name, r := range group {
			until(t, time.Minute, "all is applied", func() bool { return r.fsm.has([]byte("later")) })
			if r.fsm.has([]byte("bad")) {
				t.Errorf("%s has the entry of another term", name)
			}
		}
	})
}

// What Raft takes for stored although the disk was full ends the replica: a
// configuration, by which it works at once.
func TestAConfigurationThatIsNotStoredEndsTheReplica(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		leader, followers := warm(t, m)
		leader.store.set(func(s *memoryStore) { s.err = store.ErrFull })
		if err := leader.RemoveServer(t.Context(), followers[0].self); err == nil {
			t.Error("the leader says that a member is removed, and stores nothing")
		}
		leader.store.set(func(s *memoryStore) { s.err = nil })
		until(t, time.Minute, "the replica ends", func() bool { return leader.failure() != nil })
	})
}

// Entries that others were to take the place of are gone when those could not be
// stored: Raft would go on as if they were there.
func TestEntriesThatNoneCouldReplaceEndTheReplica(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		_, followers := warm(t, m)
		r := followers[0]
		m.isolate(r.self.Node)
		last, err := r.logs.LastIndex()
		if err != nil {
			t.Fatal(err)
		}
		entry := []*raft.Log{{Index: last, Term: 9, Data: []byte("other")}}
		full := func(err error) { r.store.set(func(s *memoryStore) { s.err = err }) }
		full(store.ErrFull)
		if err := r.logs.StoreLogs([]*raft.Log{{Index: last + 1, Term: 9}}); err == nil || r.failure() != nil {
			t.Errorf("a full disk alone ends the replica: %v, %v", err, r.failure())
		}
		full(nil)
		if err := r.logs.DeleteRange(last, last); err != nil {
			t.Fatal(err)
		}
		full(store.ErrFull)
		if err := r.logs.StoreLogs(entry); err == nil || r.failure() == nil {
			t.Errorf("the replica goes on: %v", err)
		}
		full(nil)
	})
}
