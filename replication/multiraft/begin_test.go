package multiraft

import (
	"errors"
	"io"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/transport/peer"
)

// The process can end when a leader's snapshot is kept and the log that it takes the
// place of is not cleared.
func TestALogThatASnapshotHasOvertakenIsCleared(t *testing.T) {
	for name, log := range map[string][]store.Entry{
		"Shorter":       {{Index: 1, Term: 1}, {Index: 2, Term: 1}},
		"Contradicting": {{Index: 6, Term: 1}, {Index: 7, Term: 1}, {Index: 8, Term: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				m := newMesh(t, 1, nil)
				defer m.close()
				r := m.startReplica(0, Replica{nodeName(0), 1}, func(c *GroupConfig) {
					if err := errors.Join(c.Store.Append(log), c.Store.SetValues(store.Uint64Value(currentTerm, 2))); err != nil {
						t.Fatal(err)
					}
					members := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: Replica{nodeName(0), 1}.id(), Address: Replica{nodeName(0), 1}.addr()}}}
					k, err := c.Snapshots.Create(raft.SnapshotVersionMax, 7, 2, members, 1, nil)
					if err != nil {
						t.Fatal(err)
					}
					saved, err := new(history).Snapshot()
					if err != nil {
						t.Fatal(err)
					}
					if _, err := saved.WriteTo(k.(io.Writer)); err != nil {
						t.Fatal(err)
					}
					if err := k.Close(); err != nil {
						t.Fatal(err)
					}
				})
				leaderOf(t, map[peer.ID]*replica{nodeName(0): r})
				index, _, err := r.Apply(t.Context(), []byte("x"))
				if err != nil || index < 8 {
					t.Errorf("it goes on with entry %d: %v", index, err)
				}
				var e store.Entry
				if first, _ := r.store.FirstIndex(); first != 8 || r.store.Get(first, &e) != nil || e.Term == 1 {
					t.Errorf("its log begins with entry %d of term %d", first, e.Term)
				}
			})
		})
	}
}

// A crash between the two writes of a bootstrap leaves a term without an entry.
func TestABootstrapThatEndedHalfwayGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMesh(t, 1, nil)
		defer m.close()
		self := Replica{nodeName(0), 1}
		r := m.startReplica(0, self, func(c *GroupConfig) {
			if err := c.Store.SetValues(store.Uint64Value(currentTerm, bootstrapTerm)); err != nil {
				t.Fatal(err)
			}
			c.Bootstrap = []Replica{self}
		})
		leaderOf(t, map[peer.ID]*replica{self.Node: r})
		if _, _, err := r.Apply(t.Context(), []byte("x")); err != nil {
			t.Error(err)
		}
	})
}

func TestAReplicaIsFreshUntilSomebodyHasLedIt(t *testing.T) {
	s := newMemoryStore()
	is := func(want bool) {
		t.Helper()
		if got, err := IsFresh(s); got != want || err != nil {
			t.Errorf("fresh: %v, %v", got, err)
		}
	}
	is(true)
	if err := s.Append([]store.Entry{{Index: 1, Term: 1}}); err != nil {
		t.Fatal(err)
	}
	is(false)
	if err := errors.Join(s.DeleteRange(1, 1), s.SetValues(store.Uint64Value(currentTerm, bootstrapTerm))); err != nil {
		t.Fatal(err)
	}
	is(true)
	if err := s.SetValues(store.Uint64Value(currentTerm, bootstrapTerm+1)); err != nil {
		t.Fatal(err)
	}
	is(false)
}
