package store

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Entry is one entry of a group's log. The stores read nothing into its fields
// but Index.
type Entry struct {
	Index      uint64 // from 1, contiguous
	Term       uint64
	Kind       uint8
	Data       []byte
	Extensions []byte
	AppendedAt time.Time // kept to the nanosecond; the zero time is kept as such
}

// Log is the log of one group of replicas: entries with contiguous indexes.
// What a method changed is on the disk when it returns nil. Any number of
// goroutines may read; changes are made one after the other, in the order in
// which they return.
type Log interface {
	// FirstIndex and LastIndex are 0 for a log without entries.
	FirstIndex() (uint64, error)
	LastIndex() (uint64, error)
	// Get fills in the entry of an index. The caller owns its bytes. The error
	// is ErrNotFound if the log does not have it.
	Get(index uint64, e *Entry) error
	// Append adds entries, all of them or, if it returns an error, none; after
	// an error other than ErrFull they may be found after a crash all the same.
	// The first index must follow the last of the log; a log without entries
	// takes any.
	Append(entries []Entry) error
	// DeleteRange deletes the entries from min to max, both included: the
	// oldest, the newest or all. Indexes that the log does not have are ignored.
	DeleteRange(min, max uint64) error
	// IsMonotonic reports whether an append that leaves a gap after the last
	// entry is refused, so that all must be deleted first.
	IsMonotonic() bool
}

// Value is a small named value.
type Value struct {
	Key  string
	Data []byte
}

// Stable keeps the few small values that a replica must not forget: its term,
// its vote, who it is. What was set is on the disk when SetValues returns nil.
type Stable interface {
	// Value is what was set last; ErrNotFound if nothing was. The caller must
	// not change it.
	Value(key string) ([]byte, error)
	// SetValues sets values, by one sync. The journal sets all or none of them
	// whatever happens; others may leave some of them set after a crash.
	SetValues(values ...Value) error
}

// Replica is all that one replica of a group keeps.
type Replica interface {
	Log
	Stable
}

// Uint64 reads a value set by Uint64Value; ErrNotFound if none was.
func Uint64(s Stable, key string) (uint64, error) {
	data, err := s.Value(key)
	if err != nil {
		return 0, err
	}
	if len(data) != 8 {
		return 0, fmt.Errorf("store: value %q has %d bytes, a number has 8", key, len(data))
	}
	return binary.LittleEndian.Uint64(data), nil
}

// Uint64Value is a number as a value.
func Uint64Value(key string, n uint64) Value {
	return Value{Key: key, Data: binary.LittleEndian.AppendUint64(nil, n)}
}
