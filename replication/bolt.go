package replication

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/journal"
)

// boltLogs keeps a file of raft-boltdb for each replica, named by its ID, and
// beside them whose they are. Files are opened when they are first used.
type boltLogs struct {
	dir string

	mu     sync.Mutex // guards the fields below
	files  map[journal.ID]*boltLog
	closed bool
}

// boltOwner says whose a directory of such files is: owner.json.
type boltOwner struct {
	Format int    `json:"format"`
	Mesh   string `json:"mesh"`
	Node   string `json:"node"`
}

const (
	boltFormat    = 1
	boltOwnerFile = "owner.json"
	boltSuffix    = ".bolt"
)

// openBoltLogs opens a directory, or makes it. The error is store.ErrForeign or
// store.ErrNewer if it is not this node's, or of a later version.
func openBoltLogs(dir, mesh, node string) (*boltLogs, error) {
	if err := (store.OS{}).MkdirAll(dir); err != nil {
		return nil, err
	}
	whose, err := readBoltOwner(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		b, err := json.Marshal(boltOwner{boltFormat, mesh, node})
		if err == nil {
			err = store.ReplaceFile(filepath.Join(dir, boltOwnerFile), b)
		}
		if err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case whose.Mesh != mesh || whose.Node != node:
		return nil, fmt.Errorf("%s is of node %q in mesh %q, this is node %q in mesh %q: %w", dir, whose.Node, whose.Mesh, node, mesh, store.ErrForeign)
	}
	return &boltLogs{dir: dir, files: map[journal.ID]*boltLog{}}, nil
}

func readBoltOwner(dir string) (whose boltOwner, err error) {
	path := filepath.Join(dir, boltOwnerFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return whose, err
	}
	if err := json.Unmarshal(b, &whose); err != nil {
		return whose, &store.CorruptError{File: path, What: err.Error()}
	}
	if whose.Format > boltFormat {
		return whose, fmt.Errorf("%s: format %d, this one knows up to %d: %w", path, whose.Format, boltFormat, store.ErrNewer)
	}
	return whose, nil
}

// Replica implements logs.
func (l *boltLogs) Replica(id journal.ID) replicaLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[id]
	if f == nil {
		f = &boltLog{path: filepath.Join(l.dir, hex.EncodeToString(id[:])+boltSuffix), closed: l.closed}
		l.files[id] = f
	}
	return f
}

func (l *boltLogs) all() (list []*boltLog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		list = append(list, f)
	}
	return list
}

// Err implements logs: a write that has failed.
func (l *boltLogs) Err() error {
	for _, f := range l.all() {
		if db := f.now(); db != nil {
			if err := db.Err(); errors.Is(err, store.ErrFailed) {
				return err
			}
		}
	}
	return nil
}

// Pending implements logs.
func (l *boltLogs) Pending() (longest time.Duration) {
	for _, f := range l.all() {
		if db := f.now(); db != nil {
			longest = max(longest, db.Pending())
		}
	}
	return longest
}

// Close implements logs.
func (l *boltLogs) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	var errs []error
	for _, f := range l.all() {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

// boltLog is one replica's file.
type boltLog struct {
	path string

	mu     sync.Mutex // guards the fields below
	db     *multiraft.Bolt
	err    error // it is damaged
	closed bool
}

var _ replicaLog = (*boltLog)(nil)

// now is the file if it is open.
func (f *boltLog) now() *multiraft.Bolt {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.db
}

// open opens the file if need be.
func (f *boltLog) open() (*multiraft.Bolt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return nil, f.err
	case f.closed:
		return nil, store.ErrClosed
	case f.db != nil:
		return f.db, nil
	}
	db, err := multiraft.OpenBolt(f.path)
	if errors.Is(err, store.ErrCorrupt) {
		f.err = err
	}
	f.db = db
	return db, err
}

// note remembers that something was found damaged.
func (f *boltLog) note(err error) error {
	if errors.Is(err, store.ErrCorrupt) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err == nil {
			f.err = err
		}
	}
	return err
}

func (f *boltLog) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	db := f.db
	f.db = nil
	if db == nil {
		return nil
	}
	return db.Close()
}

// Err implements replicaLog. It opens the file, to see.
func (f *boltLog) Err() error {
	_, err := f.open()
	if !errors.Is(err, store.ErrCorrupt) {
		return nil // its first use says what it is
	}
	return err
}

// Forget implements replicaLog.
func (f *boltLog) Forget() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return store.ErrClosed
	}
	var err error
	if f.db != nil {
		err = f.db.Close()
	}
	f.db, f.err = nil, nil
	if removeErr := os.Remove(f.path); removeErr != nil && !errors.Is(removeErr, os.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return errors.Join(err, store.OS{}.SyncDir(filepath.Dir(f.path)))
}

// FirstIndex implements store.Log.
func (f *boltLog) FirstIndex() (uint64, error) {
	db, err := f.open()
	if err != nil {
		return 0, err
	}
	n, err := db.FirstIndex()
	return n, f.note(err)
}

// LastIndex implements store.Log.
func (f *boltLog) LastIndex() (uint64, error) {
	db, err := f.open()
	if err != nil {
		return 0, err
	}
	n, err := db.LastIndex()
	return n, f.note(err)
}

// Get implements store.Log.
func (f *boltLog) Get(index uint64, e *store.Entry) error {
	db, err := f.open()
	if err != nil {
		return err
	}
	return f.note(db.Get(index, e))
}

// Append implements store.Log.
func (f *boltLog) Append(entries []store.Entry) error {
	db, err := f.open()
	if err != nil {
		return err
	}
	return f.note(db.Append(entries))
}

// DeleteRange implements store.Log.
func (f *boltLog) DeleteRange(low, high uint64) error {
	db, err := f.open()
	if err != nil {
		return err
	}
	return f.note(db.DeleteRange(low, high))
}

// IsMonotonic implements store.Log.
func (f *boltLog) IsMonotonic() bool { return true }

// Value implements store.Stable.
func (f *boltLog) Value(key string) ([]byte, error) {
	db, err := f.open()
	if err != nil {
		return nil, err
	}
	v, err := db.Value(key)
	return v, f.note(err)
}

// SetValues implements store.Stable.
func (f *boltLog) SetValues(values ...store.Value) error {
	db, err := f.open()
	if err != nil {
		return err
	}
	return f.note(db.SetValues(values...))
}

// verifyBolt adds to a report what is wrong with the files in a directory that no
// process has open, and writes a line for each entry to w.
func verifyBolt(r *Report, dir string, w io.Writer) error {
	whose, err := readBoltOwner(dir)
	if err != nil {
		r.damaged(err)
	}
	r.Mesh, r.Node, r.Closed = whose.Mesh, whose.Node, true
	names, err := store.OS{}.List(dir)
	if err != nil {
		return fmt.Errorf("replication: %w", err)
	}
	var writeErr error
	for _, name := range names {
		id, is := strings.CutSuffix(name, boltSuffix)
		if !is {
			continue
		}
		n, err := multiraft.CheckBolt(filepath.Join(dir, name), func(e store.Entry) {
			if writeErr == nil {
				_, writeErr = fmt.Fprintf(w, "%s entry  index %d term %d kind %d, %d+%d bytes\n", id, e.Index, e.Term, e.Kind, len(e.Data), len(e.Extensions))
			}
		})
		r.damaged(err)
		r.Segments++
		r.Groups++
		r.Entries += n
	}
	return writeErr
}
