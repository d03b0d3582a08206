package multiraft

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestAHungNodeLeadsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, nil)
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		old := leaderOf(t, group)
		time.Sleep(10 * time.Second)
		m.hosts[old].unwell.Store(true)
		began := time.Now()
		next := leaderOf(t, group, old)
		took := time.Since(began)
		t.Logf("another leads after %v", took)
		if next == old || took > 3*time.Second {
			t.Errorf("%s leads after %v", next, took)
		}
		if s := m.hosts[old].Stats(); s.Withheld == 0 {
			t.Error("nothing was withheld")
		}
		time.Sleep(30 * time.Second)
		if group[old].IsLeader() {
			t.Error("an unwell node leads again")
		}
		m.hosts[old].unwell.Store(false)
		if _, _, err := group[next].Apply(t.Context(), []byte("x")); err != nil {
			t.Fatal(err)
		}
		until(t, time.Minute, "applied where it was unwell", func() bool { return group[old].fsm.has([]byte("x")) })
	})
}

// A disk that hangs under one group, or a state machine that does not return,
// needs nobody to say so.
func TestAGroupThatHangsLosesItsLead(t *testing.T) {
	for _, what := range []string{"log", "state machine"} {
		inBubble(t, func(t *testing.T) {
			m := newMesh(t, 3, nil)
			defer m.close()
			group := m.startGroup(0, m.nodes()...)
			old := leaderOf(t, group)
			time.Sleep(10 * time.Second)
			hang := make(chan struct{})
			if what == "log" {
				group[old].store.set(func(s *memoryStore) { s.hang = hang })
			} else {
				group[old].fsm.mu.Lock()
				group[old].fsm.hang = hang
				group[old].fsm.mu.Unlock()
			}
			release := sync.OnceFunc(func() { close(hang) })
			defer release()
			began := time.Now()
			if _, err := group[old].Propose(t.Context(), []byte("x")); err != nil {
				t.Fatal(err)
			}
			next := leaderOf(t, group, old)
			took := time.Since(began)
			t.Logf("%s: another leads after %v", what, took)
			if took > 12*time.Second {
				t.Errorf("%s: another leads after %v", what, took)
			}
			if _, _, err := group[next].Apply(t.Context(), []byte("y")); err != nil {
				t.Fatal(err)
			}
			if what == "log" {
				group[old].store.set(func(s *memoryStore) { s.hang = nil })
			} else {
				group[old].fsm.mu.Lock()
				group[old].fsm.hang = nil
				group[old].fsm.mu.Unlock()
			}
			release()
			until(t, time.Minute, "caught up", func() bool { return group[old].fsm.has([]byte("y")) })
		})
	}
}

// Raft would take the process with it.
func TestAFailedStoreEndsTheReplicaAndNothingElse(t *testing.T) {
	for _, what := range []string{"append", "term", "read"} {
		inBubble(t, func(t *testing.T) {
			m := newMesh(t, 3, nil)
			defer m.close()
			failed := make(chan error, 1)
			var all []Replica
			for _, id := range m.nodes() {
				all = append(all, Replica{id, 1})
			}
			group := map[peer.ID]*replica{}
			for _, r := range all {
				group[r.Node] = m.startReplica(0, r, func(c *GroupConfig) {
					c.Bootstrap = all
					c.OnFailure = func(err error) { failed <- err }
				})
			}
			victim := leaderOf(t, group)
			switch what {
			case "append":
				group[victim].store.set(func(s *memoryStore) { s.err = errors.New("input/output error") })
				group[victim].Apply(t.Context(), []byte("x"))
			case "term": // of a follower that hears of a new one
				for id := range group {
					if id != victim {
						group[id].store.set(func(s *memoryStore) { s.err = errors.New("input/output error") })
						to := slices.DeleteFunc(m.nodes(), func(n peer.ID) bool { return n == victim || n == id })[0]
						if err := group[victim].TransferLeadership(t.Context(), Replica{to, 1}); err != nil {
							t.Fatal(err)
						}
						victim = id
						break
					}
				}
			case "read": // of a committed entry, by a follower that applies it
				for id := range group {
					if id != victim {
						last := group[id].raft.LastIndex()
						group[id].store.set(func(s *memoryStore) { s.rotten = last })
						group[id].logs.mu.Lock()
						group[id].logs.cache = nil
						group[id].logs.mu.Unlock()
						victim = id
						break
					}
				}
				// It reads its last entry to compare it with what the next leader has.
				group[victim].logs.GetLogApart(group[victim].raft.LastIndex())
			}
			select {
			case err := <-failed:
				if !errors.Is(err, ErrFailed) {
					t.Errorf("%s: failed with %v", what, err)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%s: no failure was told", what)
			}
			next := leaderOf(t, group, victim)
			if _, _, err := group[next].Apply(t.Context(), []byte("y")); err != nil {
				t.Fatal(err)
			}
			if err := group[victim].Close(); err != nil {
				t.Errorf("%s: close the failed replica: %v", what, err)
			}
		})
	}
}

// GetLogApart reads an entry on a goroutine of its own, as Raft's do.
func (l *logStore) GetLogApart(index uint64) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var e raft.Log
		l.GetLog(index, &e)
	}()
	<-done
}
