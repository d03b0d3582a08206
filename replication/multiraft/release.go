package multiraft

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/store"
)

// Release is Snapshot that leaves nothing in the log of what the snapshot contains:
// not even what Raft would leave there for followers that are a little behind, and
// for good if the group is idle. They get the snapshot instead.
//
// What Raft itself wrote after the state machine's last entry, as each new leader
// does, is in no snapshot before another entry follows: if this replica leads, one
// does. Other replicas let go of it the next time they are asked to. Entries of the
// last seconds stay until then, too: others may still send them, or speak of them.
func (g *Group) Release(ctx context.Context) error {
	err := g.release(ctx)
	first, _ := g.logs.FirstIndex()
	if last, _ := g.logs.LastIndex(); first == 0 || last > g.logs.age.settled(time.Now()) || !g.IsLeader() {
		return err
	}
	if err := g.Barrier(ctx); err != nil {
		return fmt.Errorf("multiraft: group %s: let go of the log: %w", g.id, err)
	}
	return g.release(ctx)
}

func (g *Group) release(ctx context.Context) error {
	// When no new snapshot can be taken, the one that is there has to do.
	err := g.Snapshot(ctx)
	list, listed := g.cfg.Snapshots.List()
	if err = errors.Join(err, listed); len(list) == 0 {
		return err
	}
	return errors.Join(err, g.logs.release(min(list[0].Index, g.raft.AppliedIndex())))
}

// sinceSnapshot has an append begin behind this replica's snapshot, if it would begin
// before all that is left of the log: a leader that has lost acknowledgements sends
// again what a snapshot took the place of (see Group.Release), and Raft, which does not
// find the entry before it, would refuse that for ever. What the snapshot has was
// committed, so the leader of any later term has the same.
func (g *Group) sinceSnapshot(m *message) {
	first, err := g.logs.FirstIndex()
	if err != nil || first != 0 && first <= max(m.last, 1) {
		return
	}
	s, ok := g.logs.snapshot()
	if !ok || m.last >= s.Index {
		return
	}
	m.last, m.lastTerm = s.Index, s.Term
	for len(m.entries) > 0 && m.entries[0].Index <= m.last {
		m.entries = m.entries[1:]
	}
}

// has reports whether this replica has all that is in a snapshot of a leader that is one
// still: it has applied it, or has the snapshot's last entry, and so what is before it.
// Then the leader is told that it has the snapshot (rule 6 of InstallSnapshot in the
// Raft paper, figure 13). Raft would put it in the place of all that follows, and would
// not know that this is gone.
func (g *Group) has(m *message) bool {
	return m.term >= g.raft.CurrentTerm() &&
		(m.last <= g.raft.AppliedIndex() || m.lastTerm != 0 && g.logs.termOf(m.last) == m.lastTerm)
}

// bootstrapTerm is the term of a group's first configuration, and nobody's who leads.
const bootstrapTerm = 1

// IsFresh reports whether a replica's store holds nothing yet: neither entries, which a
// snapshot may have taken the place of, nor a term in which anybody has led.
func IsFresh(s store.Replica) (bool, error) {
	last, err := s.LastIndex()
	if err != nil || last > 0 {
		return false, err
	}
	term, err := store.Uint64(s, currentTerm)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return term <= bootstrapTerm, err
}

// clearOvertaken deletes what is left of a log that a snapshot has taken the place of,
// or that contradicts it: Raft clears it when it has taken over a leader's snapshot, but
// the process may have ended between the two.
func (l *logStore) clearOvertaken(s *raft.SnapshotMeta) error {
	first, err := l.store.FirstIndex()
	if err != nil || first == 0 {
		return err
	}
	last, err := l.store.LastIndex()
	if err != nil {
		return err
	}
	if last >= s.Index {
		var e raft.Log
		if first > s.Index {
			return nil
		}
		if err := l.GetLog(s.Index, &e); err != nil || e.Term == s.Term {
			return err
		}
	}
	return l.DeleteRange(first, last)
}

// release deletes the entries up to an index, which a snapshot contains, but for those
// that are so young that others may still send them, or speak of them.
func (l *logStore) release(upTo uint64) error {
	if err := l.group.failure(); err != nil {
		return err
	}
	upTo = min(upTo, l.age.settled(time.Now()))
	first, err := l.store.FirstIndex()
	if err != nil || first == 0 || first > upTo {
		return err
	}
	l.busy.begin()
	err = l.store.DeleteRange(first, upTo) // entries at the end may be gone: the snapshot tells Raft of them
	l.busy.end()
	if err != nil {
		err = fmt.Errorf("delete entries %d to %d: %w", first, upTo, err)
		l.group.fail(err)
	}
	return err
}

// boundary is GetLog for the last entry of the snapshot when that has taken its place:
// a follower checks by its term what comes after it. A leader does without: Raft knows
// the term of its snapshot, and what it found here it would send.
func (l *logStore) boundary(index uint64, out *raft.Log) error {
	if !l.running.Load() || l.group.IsLeader() || l.group.failure() != nil {
		return raft.ErrLogNotFound
	}
	if s, ok := l.snapshot(); ok && s.Index == index {
		*out = raft.Log{Index: index, Term: s.Term, Type: raft.LogNoop}
		return nil
	}
	return raft.ErrLogNotFound
}

// snapshot is the latest there is.
func (l *logStore) snapshot() (s raft.SnapshotMeta, ok bool) {
	list, err := l.group.cfg.Snapshots.List()
	if err != nil || len(list) == 0 {
		return s, false
	}
	return *list[0], true
}
