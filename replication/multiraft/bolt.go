package multiraft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/skeinmesh/skein/store"
)

// Bolt is raft-boltdb as a store.Replica: one file for each replica, slower than
// the journal and older than it. Values of one SetValues are stored one after
// the other.
//
// bbolt has checksums of its two meta pages and of nothing else. So each entry and
// each value carries a CRC32C behind it, of all that it says and of the name it is
// kept under, and OpenBolt reads the whole file (CheckBolt); what is damaged is
// store.ErrCorrupt, as it is when it is read later. A failed write ends the use of
// the file: nobody knows what is on the disk then.
//
// Its methods may be called concurrently.
type Bolt struct {
	path string
	db   *raftboltdb.BoltStore
	busy atomic.Pointer[time.Time] // since when a write goes on; nil for none

	mu     sync.Mutex // guards the field below
	failed error
}

var _ store.Replica = (*Bolt)(nil)

func boltOptions() *bbolt.Options {
	return &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoFreelistSync: true}
}

// OpenBolt opens a replica's file, or makes it. A file that is open elsewhere is
// waited for. The error is store.ErrCorrupt if the file is damaged.
func OpenBolt(path string) (*Bolt, error) {
	_, err := CheckBolt(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		err = makeBolt(path)
	}
	if err != nil {
		return nil, fmt.Errorf("multiraft: open %s: %w", path, err)
	}
	db, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: boltOptions()})
	if err != nil {
		return nil, fmt.Errorf("multiraft: open %s: %w", path, err)
	}
	return &Bolt{path: path, db: db}, nil
}

// makeBolt makes an empty file, which is there as a whole after a crash, or not.
func makeBolt(path string) error {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := raftboltdb.New(raftboltdb.Options{Path: fresh, BoltOptions: boltOptions()})
	if err == nil {
		err = db.Close()
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return err
	}
	return store.OS{}.SyncDir(filepath.Dir(path))
}

// Close closes the file.
func (b *Bolt) Close() error { return b.db.Close() }

// Err is why the file is not used any more, or nil.
func (b *Bolt) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// Pending is how long a write has been waiting for the disk.
func (b *Bolt) Pending() time.Duration {
	if since := b.busy.Load(); since != nil {
		return time.Since(*since)
	}
	return 0
}

// FirstIndex is 0 for a log without entries.
func (b *Bolt) FirstIndex() (index uint64, err error) {
	defer b.guard(&err)()
	return b.db.FirstIndex()
}

// LastIndex is 0 for a log without entries.
func (b *Bolt) LastIndex() (index uint64, err error) {
	defer b.guard(&err)()
	return b.db.LastIndex()
}

// IsMonotonic reports that gaps are refused, as the journal does.
func (b *Bolt) IsMonotonic() bool { return true }

// Get reads an entry.
func (b *Bolt) Get(index uint64, e *store.Entry) (err error) {
	defer b.guard(&err)()
	var l raft.Log
	if err := b.db.GetLog(index, &l); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) {
			return store.ErrNotFound
		}
		return b.corrupt(fmt.Sprintf("entry %d cannot be read: %v", index, err))
	}
	*e = entryOf(&l)
	if !unseal(&e.Data, entrySum(index, e)) {
		return b.corrupt(fmt.Sprintf("the checksum of entry %d is wrong", index))
	}
	return nil
}

func entryOf(l *raft.Log) store.Entry {
	return store.Entry{Index: l.Index, Term: l.Term, Kind: uint8(l.Type), Data: l.Data, Extensions: l.Extensions, AppendedAt: l.AppendedAt}
}

// Append adds entries in one transaction, which is synced.
func (b *Bolt) Append(entries []store.Entry) (err error) {
	if len(entries) == 0 {
		return nil
	}
	last, err := b.LastIndex()
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
		logs[i] = &raft.Log{
			Index: e.Index, Term: e.Term, Type: raft.LogType(e.Kind), Data: seal(e.Data, entrySum(e.Index, e)),
			Extensions: e.Extensions, AppendedAt: e.AppendedAt,
		}
	}
	return b.write(func() error { return b.db.StoreLogs(logs) })
}

// DeleteRange deletes the oldest entries, the newest or all.
func (b *Bolt) DeleteRange(low, high uint64) error {
	first, err1 := b.FirstIndex()
	last, err2 := b.LastIndex()
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
	return b.write(func() error { return b.db.DeleteRange(low, high) })
}

// Value reads a value.
func (b *Bolt) Value(key string) (v []byte, err error) {
	defer b.guard(&err)()
	v, err = b.db.Get([]byte(key))
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil, store.ErrNotFound
	}
	if err == nil && !unseal(&v, valueSum(key)) {
		return nil, b.corrupt(fmt.Sprintf("the checksum of value %q is wrong", key))
	}
	return v, err
}

// SetValues stores values, each with a sync of its own.
func (b *Bolt) SetValues(values ...store.Value) error {
	for _, v := range values {
		if err := b.write(func() error { return b.db.Set([]byte(v.Key), seal(v.Data, valueSum(v.Key))) }); err != nil {
			return err
		}
	}
	return nil
}

// write does something that changes the file.
func (b *Bolt) write(do func() error) (err error) {
	if err := b.Err(); err != nil {
		return err
	}
	now := time.Now()
	b.busy.Store(&now)
	defer b.busy.Store(nil)
	func() {
		defer b.guard(&err)()
		err = do()
	}()
	switch {
	case err == nil:
		return nil
	case store.IsFull(err): // bbolt rolls back
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case !errors.Is(err, store.ErrCorrupt):
		err = fmt.Errorf("multiraft: write %s: %w: %w", b.path, store.ErrFailed, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed == nil {
		b.failed = err
	}
	return err
}

// guard makes an error of what bbolt does when a page makes no sense: it panics, or
// reads where no memory is. It is called at once, and what it returns is deferred.
func (b *Bolt) guard(err *error) func() {
	was := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(was)
		if p := recover(); p != nil {
			*err = b.corrupt(fmt.Sprint("a page makes no sense: ", p))
		}
	}
}

func (b *Bolt) corrupt(what string) error { return &store.CorruptError{File: b.path, What: what} }

// seal appends a checksum of some bytes that goes on from one of what they are.
func seal(data []byte, sum uint32) []byte {
	sealed := append(make([]byte, 0, len(data)+4), data...)
	return binary.LittleEndian.AppendUint32(sealed, crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), data))
}

// unseal takes the checksum off, and reports whether it was right.
func unseal(sealed *[]byte, sum uint32) bool {
	n := len(*sealed) - 4
	if n < 0 {
		return false
	}
	data := (*sealed)[:n]
	ok := crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), data) == binary.LittleEndian.Uint32((*sealed)[n:])
	if *sealed = data; n == 0 {
		*sealed = nil
	}
	return ok
}

// entrySum is the checksum of all of an entry but its data, kept at an index.
func entrySum(index uint64, e *store.Entry) uint32 {
	b := binary.LittleEndian.AppendUint64(nil, index)
	b = binary.LittleEndian.AppendUint64(b, e.Index)
	b = binary.LittleEndian.AppendUint64(b, e.Term)
	b = append(b, e.Kind)
	if !e.AppendedAt.IsZero() {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.AppendedAt.UnixNano()))
	}
	b = append(b, e.Extensions...)
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}

func valueSum(key string) uint32 {
	return crc32.Checksum([]byte(key), crc32.MakeTable(crc32.Castagnoli))
}
