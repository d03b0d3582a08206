package segment

import (
	"container/list"
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/skeinmesh/skein/store"
)

// Config says where a log is.
type Config struct {
	// Files is shared by all logs of a node.
	Files *Files
	// Dir is the log's own directory; Open makes it.
	Dir string
	// ID is the same on all replicas.
	ID ID
	// FileBytes is when a file is full: a record that would make it longer
	// begins the next. All replicas must have the same. A file keeps the one it
	// was begun with. Default DefaultFileBytes, at most MaxFileBytes.
	FileBytes int64
}

// Log is one log. Any number of goroutines may read; changes are made one after
// the other. An error of the disk that leaves it unknown what is on it fails the
// log for good (store.ErrFailed): it can be read, but changed only once it is
// opened again.
type Log struct {
	config Config
	tail   error // see Tail

	next atomic.Int64

	appending sync.Mutex // held by Append and TruncateTo
	ragged    bool       // guarded by appending: the last file may be longer than it should

	syncing sync.Mutex // held while files are synced, removed or replaced; taken after appending

	mu       sync.RWMutex // guards the fields below, and those of files; taken last
	files    []*file      // by offset, without holes
	start    int64
	lastTime int64
	newNames bool   // files were made whose names are not synced
	epoch    uint64 // counts what makes a position found earlier invalid
	failed   error

	waiting *list.Element // in Files.waiting; guarded by Files.mu
}

// file is one file of a log. All files but the last are full and will not
// change.
type file struct {
	first  int64 // as in info; never changes
	limit  int64 // as in its header, and so is floor; they never change
	floor  int64
	info   FileInfo
	synced FileInfo // what of it is certainly on the disk
	// index is in memory for the last file, and for others until it is written
	// to the disk. It covers what was appended since the log was opened, and all
	// of the file if whole is set.
	index *sparse
	whole bool

	behind behind // empty of all but the last file

	handle *handle // guarded by Files.mu
}

// Tail is why the end of the last file was cut when the log was opened without a
// manifest, and where: a crash leaves such ends of what was not synced, damage does of
// anything. It is nil if nothing was cut.
func (l *Log) Tail() error { return l.tail }

// Start is the first offset that can be read.
func (l *Log) Start() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.start
}

// Next is the offset that the next record gets. It is cheap: whoever waits for
// more may ask it often.
func (l *Log) Next() int64 { return l.next.Load() }

// ID is the log's.
func (l *Log) ID() ID { return l.config.ID }

// Files is what retention goes by: the log's files in order. Trimming to a
// file's Next gives its Bytes back once it is released. The last is still
// written.
func (l *Log) Files() []FileInfo { return l.Manifest().Files }

// Manifest is the log as it is now. See Manifest about when it may be persisted.
func (l *Log) Manifest() Manifest {
	l.mu.RLock()
	defer l.mu.RUnlock()
	m := Manifest{Start: l.start, Next: l.next.Load(), Time: l.lastTime}
	for _, f := range l.files {
		if f.info.Next > l.start {
			m.Files = append(m.Files, f.info)
		}
	}
	return m
}

// Trim moves the start up to an offset, or to Next if that is less. It removes
// nothing: see Release, and reports whether that would remove a file. A log trimmed
// to its end begins a new file with the next record, so that the old one can go.
func (l *Log) Trim(offset int64) (frees bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = max(l.start, min(offset, l.next.Load()))
	return len(l.files) > 0 && l.files[0].info.Next <= l.start
}

// Release removes the files that no manifest with the given Start, or a later
// one, has. The log must not be opened with an earlier manifest after that: so
// first persist the manifest, then release by its Start.
func (l *Log) Release(start int64) error {
	l.appending.Lock()
	defer l.appending.Unlock()
	l.syncing.Lock()
	defer l.syncing.Unlock()

	l.mu.Lock()
	if l.failed != nil {
		defer l.mu.Unlock()
		return l.failed
	}
	start = min(start, l.start)
	n := sort.Search(len(l.files), func(i int) bool { return l.files[i].info.Next > start })
	gone := l.files[:n]
	l.files = append([]*file(nil), l.files[n:]...)
	l.mu.Unlock()

	for _, f := range gone {
		l.forget(f)
	}
	fs := l.config.Files.fs
	for _, f := range gone {
		err := errors.Join(removeAny(fs, l.path(f.first, fileSuffix)), removeAny(fs, l.path(f.first, indexSuffix)))
		if err != nil { // what is left is removed by the next Open
			return fmt.Errorf("segment: release %s to offset %d: %w", l.config.Dir, start, err)
		}
	}
	return nil
}

// Close lets go of the log's open files, and of what is not written yet. It does not
// sync.
func (l *Log) Close() error {
	l.appending.Lock()
	defer l.appending.Unlock()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		l.forget(f)
	}
	l.config.Files.leave(l)
	l.files = nil
	l.epoch++
	l.failed = fmt.Errorf("segment: %s: %w", l.config.Dir, store.ErrClosed)
	return nil
}

// forget lets go of a file, and of what of it is not written.
func (l *Log) forget(f *file) {
	l.config.Files.drop(f, nil)
	l.config.Files.less(f.behind.cut(0))
}

// fail makes an error the answer to all changes from now on.
func (l *Log) fail(doing string, err error) error {
	err = fmt.Errorf("segment: %s %s: %w: %w", doing, l.config.Dir, store.ErrFailed, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
	return err
}

func (l *Log) path(first int64, suffix string) string {
	return filepath.Join(l.config.Dir, fileName(first, suffix))
}

func (l *Log) acquire(f *file, create bool) (*handle, error) {
	return l.config.Files.acquire(f, l.config.Dir, create)
}

// find is the file that has an offset, and its place; mu must be held, and the
// log have the offset.
func (l *Log) find(offset int64) (*file, int) {
	i := sort.Search(len(l.files), func(i int) bool { return l.files[i].info.Next > offset })
	return l.files[i], i
}

// closed reports whether Close was called; mu must be held.
func (l *Log) closed() bool { return errors.Is(l.failed, store.ErrClosed) }
