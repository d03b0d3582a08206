// Package memory keeps a replica's log and values in memory, for tests and for
// programs that need nothing of it after their end.
package memory

import (
	"fmt"
	"slices"
	"sync"

	"github.com/skeinmesh/skein/store"
)

// Replica is a store.Replica made by New. All methods may be called
// concurrently.
type Replica struct {
	mu      sync.RWMutex // guards the fields below
	entries []store.Entry
	values  map[string][]byte
}

var _ store.Replica = (*Replica)(nil)

// New makes an empty replica.
func New() *Replica { return &Replica{values: make(map[string][]byte)} }

// FirstIndex is the index of the oldest entry, 0 if there is none.
func (r *Replica) FirstIndex() (uint64, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.entries) == 0 {
		return 0, nil
	}
	return r.entries[0].Index, nil
}

// LastIndex is the index of the newest entry, 0 if there is none.
func (r *Replica) LastIndex() (uint64, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.entries) == 0 {
		return 0, nil
	}
	return r.entries[len(r.entries)-1].Index, nil
}

// IsMonotonic is true.
func (r *Replica) IsMonotonic() bool { return true }

// Get is a copy of an entry.
func (r *Replica) Get(index uint64, e *store.Entry) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.entries) == 0 || index < r.entries[0].Index || index > r.entries[len(r.entries)-1].Index {
		return fmt.Errorf("memory: entry %d: %w", index, store.ErrNotFound)
	}
	*e = clone(r.entries[index-r.entries[0].Index])
	return nil
}

// Append adds entries, as store.Log says.
func (r *Replica) Append(entries []store.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	grown := r.entries
	for _, e := range entries {
		if e.Index == 0 || len(grown) > 0 && e.Index != grown[len(grown)-1].Index+1 {
			return fmt.Errorf("memory: append entry %d: %w", e.Index, store.ErrGap)
		}
		grown = append(grown, clone(e))
	}
	r.entries = grown
	return nil
}

// DeleteRange deletes entries, as store.Log says.
func (r *Replica) DeleteRange(min, max uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) == 0 {
		return nil
	}
	first, last := r.entries[0].Index, r.entries[len(r.entries)-1].Index
	switch {
	case min > max || min > last || max < first:
	case min > first && max < last:
		return fmt.Errorf("memory: delete entries %d to %d: %w", min, max, store.ErrGap)
	case min <= first && max >= last:
		r.entries = nil
	case min <= first:
		r.entries = slices.Clone(r.entries[max-first+1:]) // lets go of the others' memory
	default:
		r.entries = slices.Clone(r.entries[:min-first])
	}
	return nil
}

// Value is a value that was set, as store.Stable says.
func (r *Replica) Value(key string) ([]byte, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	data, ok := r.values[key]
	if !ok {
		return nil, fmt.Errorf("memory: value %q: %w", key, store.ErrNotFound)
	}
	return data, nil
}

// SetValues sets values, all of them.
func (r *Replica) SetValues(values ...store.Value) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range values {
		r.values[v.Key] = slices.Clone(v.Data)
	}
	return nil
}

func clone(e store.Entry) store.Entry {
	e.Data, e.Extensions = slices.Clone(e.Data), slices.Clone(e.Extensions)
	return e
}
