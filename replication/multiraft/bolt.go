package multiraft

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/skeinmesh/skein/store"
)

// Bolt is raft-boltdb as a store.Replica: one file for each replica, slower than
// the journal and older than it. Values of one SetValues are stored one after
// the other.
type Bolt struct{ db *raftboltdb.BoltStore }

var _ store.Replica = (*Bolt)(nil)

// OpenBolt opens a replica's file, or makes it. A file that is open elsewhere is
// waited for.
func OpenBolt(path string) (*Bolt, error) {
	db, err := raftboltdb.New(raftboltdb.Options{
		Path:        path,
		BoltOptions: &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoFreelistSync: true},
	})
	if err != nil {
		return nil, fmt.Errorf("multiraft: open %s: %w", path, err)
	}
	return &Bolt{db}, nil
}

// Close closes the file.
func (b *Bolt) Close() error { return b.db.Close() }

// FirstIndex is 0 for a log without entries.
func (b *Bolt) FirstIndex() (uint64, error) { return b.db.FirstIndex() }

// LastIndex is 0 for a log without entries.
func (b *Bolt) LastIndex() (uint64, error) { return b.db.LastIndex() }

// IsMonotonic reports that gaps are refused, as the journal does.
func (b *Bolt) IsMonotonic() bool { return true }

// Get reads an entry.
func (b *Bolt) Get(index uint64, e *store.Entry) error {
	var l raft.Log
	if err := b.db.GetLog(index, &l); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) {
			return store.ErrNotFound
		}
		return err
	}
	*e = entryOf(&l)
	return nil
}

func entryOf(l *raft.Log) store.Entry {
	return store.Entry{Index: l.Index, Term: l.Term, Kind: uint8(l.Type), Data: l.Data, Extensions: l.Extensions, AppendedAt: l.AppendedAt}
}

// Append adds entries in one transaction, which is synced.
func (b *Bolt) Append(entries []store.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	last, err := b.db.LastIndex()
	if err != nil {
		return err
	}
	logs := make([]*raft.Log, len(entries))
	for i := range entries {
		e := &entries[i]
		if want := last + 1; last != 0 && e.Index != want {
			return fmt.Errorf("multiraft: append entry %d after %d: %w", e.Index, last, store.ErrGap)
		}
		last = e.Index
		logs[i] = &raft.Log{Index: e.Index, Term: e.Term, Type: raft.LogType(e.Kind), Data: e.Data, Extensions: e.Extensions, AppendedAt: e.AppendedAt}
	}
	return full(b.db.StoreLogs(logs))
}

// DeleteRange deletes the oldest entries, the newest or all.
func (b *Bolt) DeleteRange(low, high uint64) error {
	first, err1 := b.db.FirstIndex()
	last, err2 := b.db.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	low, high = max(low, first), min(high, last)
	if first == 0 || low > high {
		return nil
	}
	if low > first && high < last {
		return fmt.Errorf("multiraft: delete entries %d to %d of %d to %d: %w", low, high, first, last, store.ErrGap)
	}
	return full(b.db.DeleteRange(low, high))
}

// Value reads a value.
func (b *Bolt) Value(key string) ([]byte, error) {
	v, err := b.db.Get([]byte(key))
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil, store.ErrNotFound
	}
	return v, err
}

// SetValues stores values, each with a sync of its own.
func (b *Bolt) SetValues(values ...store.Value) error {
	for _, v := range values {
		if err := b.db.Set([]byte(v.Key), v.Data); err != nil {
			return full(err)
		}
	}
	return nil
}

// full makes the lack of space known as such: bbolt rolls back.
func full(err error) error {
	if err != nil && store.IsFull(err) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}
