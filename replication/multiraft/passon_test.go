package multiraft

import (
	"testing"
	"time"
)

// Followers learn at once that the last of some entries is committed, also one of Raft's
// own and though Raft would not tell them for a minute. While entries follow each other
// that takes no messages of its own.
func TestFollowersLearnAtOnceWhatIsCommitted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 3, func(c *Config) { c.CommitTimeout = time.Minute })
		defer m.close()
		group := m.startGroup(0, m.nodes()...)
		leader := group[leaderOf(t, group)]
		know := func() bool {
			for _, r := range group {
				if r.raft.CommitIndex() != leader.raft.LastIndex() {
					return false
				}
			}
			return true
		}
		until(t, 100*time.Millisecond, "all know that the leader's first entry is committed", know)
		for range 3 {
			if _, _, err := leader.Apply(t.Context(), []byte("x")); err != nil {
				t.Fatal(err)
			}
			until(t, 2*passOnAfter, "all know that it is committed", know)
			time.Sleep(time.Second) // simulated
		}
		for id, r := range group { // is the last to write one of Raft's own entries
			before := leader.host.Stats().Appends
			hang := make(chan struct{})
			r.store.set(func(s *memoryStore) { s.hang = hang })
			done := make(chan error)
			go func() { done <- leader.Barrier(t.Context()) }()
			time.Sleep(100 * time.Millisecond) // simulated
			r.store.set(func(s *memoryStore) { s.hang = nil })
			close(hang)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			until(t, 2*passOnAfter, "all know what is committed once "+string(id)+" has it", know)
			if n := leader.host.Stats().Appends - before; n != 2*2 {
				t.Errorf("%d appends for an entry that %s had late", n, id)
			}
		}

		time.Sleep(time.Second) // simulated
		before := leader.host.Stats().Appends
		const entries = 100
		for range entries {
			if _, _, err := leader.Apply(t.Context(), []byte("x")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(passOnAfter / 2) // simulated
		}
		time.Sleep(time.Second)                           // simulated
		notes := entries*(passOnAfter/2)/passOnWithin + 1 // of what is committed
		if n := leader.host.Stats().Appends - before; n < 2*(entries+1) || n > 2*(entries+uint64(notes)) {
			t.Errorf("%d appends for %d entries to two followers, one after another", n, entries)
		}
		if !know() {
			t.Error("not all know what is committed")
		}

		for range 10 { // signs without end
			leader.passOnSoon()
			time.Sleep(passOnAfter - 1) // simulated
		}
		for _, p := range leader.pipelines(nil) {
			p.follower.mu.Lock()
			p.follower.known = state{}
			p.follower.mu.Unlock()
		}
		before = leader.host.Stats().Appends
		for range 12 {
			leader.passOnSoon()
			time.Sleep(passOnAfter - 1) // simulated
		}
		if n := leader.host.Stats().Appends - before; n != 2 {
			t.Errorf("while there is one sign after another, two followers are told %d times", n)
		}

		var slow, next *replica
		for id, r := range group {
			switch {
			case id == leader.Self().Node:
			case slow == nil:
				slow = r
			default:
				next = r
			}
		}
		hang := make(chan struct{})
		slow.store.set(func(s *memoryStore) { s.hang = hang })
		if err := leader.TransferLeadership(t.Context(), next.Self()); err != nil {
			t.Fatal(err)
		}
		leader = next
		until(t, time.Second, "another leads", leader.IsLeader)
		time.Sleep(100 * time.Millisecond) // simulated
		slow.store.set(func(s *memoryStore) { s.hang = nil })
		close(hang)
		until(t, 100*time.Millisecond, "the slow one knows that the leader's first entry is committed", know)

		leader.passing.Stop()
		leader.passOn()
		leader.passing.Stop()
		leader.Group.fsm.ApplyBatch(nil)
		if !leader.passing.Stop() {
			t.Error("what is committed late is not passed on")
		}

		before = leader.host.Stats().Appends
		m.hosts[leader.Self().Node].unwell.Store(true)
		for _, p := range leader.pipelines(nil) {
			p.follower.mu.Lock()
			p.follower.known = state{}
			p.follower.mu.Unlock()
		}
		leader.passOn()
		if n := leader.host.Stats().Appends - before; n > 0 {
			t.Errorf("a leader that is unwell passes on %d times what is committed", n)
		}
	})
}
