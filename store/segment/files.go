package segment

import (
	"container/list"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/skeinmesh/skein/store"
)

// Files is what the logs of a node share: the disk, a bounded number of open
// files, buffers, and room for what is not written yet. Any number of goroutines
// may use it.
type Files struct {
	fs     store.FS
	max    int
	behind int

	buffers sync.Pool // of *[]byte

	mu     sync.Mutex // guards the fields below, and file.handle and Log.waiting of all logs
	recent list.List  // of *handle that are open, the one used last in front

	unwritten int       // bytes that are in memory only
	waiting   list.List // of *Log that have such, the one that has had them longest in front
}

// NewFiles shares a disk among logs, with at most the given number of files open
// at a time; more only while more than that are being read or written at once. Of
// what was appended, about so many bytes stay in memory until they are worth a
// write; with 0 all is written at once.
func NewFiles(fs store.FS, open, behind int) *Files {
	f := &Files{fs: fs, max: open, behind: behind}
	f.buffers.New = func() any { b := make([]byte, 0, bufferSize); return &b }
	return f
}

// bufferSize is what buffers begin with, and scan windows; one record may make
// them larger.
const bufferSize = scanWindow

// Open is how many files are open.
func (f *Files) Open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.recent.Len()
}

// handle is an open file.
type handle struct {
	store.File
	behind *behind
	index  atomic.Pointer[sparse] // of a file that is no longer written, once it was needed

	once  sync.Once
	err   error         // of opening it
	owner *file         // guarded by Files.mu, as are those below; nil once it is dropped
	place *list.Element // in Files.recent
	users int
}

// acquire opens a file of a directory, or finds it open. The caller must release
// it. Opening happens outside the lock: a disk that hangs holds up nobody else.
func (f *Files) acquire(of *file, dir string, create bool) (*handle, error) {
	f.mu.Lock()
	h := of.handle
	if h == nil {
		h = &handle{owner: of, behind: &of.behind}
		h.place = f.recent.PushFront(h)
		of.handle = h
	} else {
		f.recent.MoveToFront(h.place)
	}
	h.users++
	idle := f.evict()
	f.mu.Unlock()
	closeAll(idle)

	h.once.Do(func() { h.File, h.err = f.fs.Open(filepath.Join(dir, fileName(of.first, fileSuffix)), create) })
	if h.err != nil {
		f.drop(of, h)
		f.release(h)
		return nil, h.err
	}
	return h, nil
}

// ReadAt reads what is not written yet, too.
func (h *handle) ReadAt(b []byte, at int64) (int, error) { return h.behind.readAt(h.File, b, at) }

func (f *Files) release(h *handle) {
	f.mu.Lock()
	h.users--
	var idle []*handle
	if h.users == 0 && h.owner == nil {
		idle = append(idle, h)
	}
	idle = append(idle, f.evict()...)
	f.mu.Unlock()
	closeAll(idle)
}

// evict takes out what is open beyond the bound and in nobody's use, the
// longest unused first. It returns what to close.
func (f *Files) evict() (idle []*handle) {
	for e := f.recent.Back(); e != nil && f.recent.Len() > f.max; {
		h, before := e.Value.(*handle), e.Prev()
		if h.users == 0 {
			f.forget(h)
			idle = append(idle, h)
		}
		e = before
	}
	return idle
}

// forget lets the next acquire open the file anew.
func (f *Files) forget(h *handle) {
	f.recent.Remove(h.place)
	h.owner.handle = nil
	h.owner = nil
}

// drop forgets a file's handle, and closes it when nobody uses it any more: what
// the name stands for has changed. With only set, it does so if that is the one.
func (f *Files) drop(of *file, only *handle) {
	f.mu.Lock()
	h := of.handle
	if h == nil || only != nil && h != only {
		f.mu.Unlock()
		return
	}
	f.forget(h)
	unused := h.users == 0
	f.mu.Unlock()
	if unused {
		closeAll([]*handle{h})
	}
}

// closeAll closes files. What a file had to say about what was written, it says
// at Sync, whichever handle that is asked of; closing adds nothing to it.
func closeAll(handles []*handle) {
	for _, h := range handles {
		if h.File != nil {
			h.File.Close()
		}
	}
}

// buffer is an empty buffer, to be given back by putBuffer.
func (f *Files) buffer() *[]byte { return f.buffers.Get().(*[]byte) }

func (f *Files) putBuffer(b *[]byte) {
	*b = (*b)[:0]
	f.buffers.Put(b)
}

// withFile opens a file that no log has open, for as long as use runs.
func withFile(fs store.FS, path string, create bool, use func(store.File) error) error {
	f, err := fs.Open(path, create)
	if err != nil {
		return err
	}
	return errors.Join(use(f), f.Close())
}

// removeAny removes a file if it is there.
func removeAny(fs store.FS, path string) error {
	if err := fs.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
