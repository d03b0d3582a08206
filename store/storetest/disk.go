// Package storetest has what the tests of stores need: a disk that fails as
// disks do, and the suite that every store of a group's log must pass.
//
// A Disk is a store.FS in memory that knows what was synced from what was only
// written. Its faults are those that were seen to lose data in other systems:
//
//	Crash         the power is gone: of what was not synced any part is lost,
//	              whole writes, single sectors of them, directory entries
//	CrashAfter    the same, in the midst of the n-th operation from now
//	Kill          the process is gone: what was written stays
//	Flip, Cut     bits and ends of files change on the disk, unasked
//	FailSync      a sync fails, and what it was for is lost without a word: the
//	              next sync succeeds and changes nothing, as Linux has it
//	FailWrite     a write fails half-way
//	Limit         the disk is full beyond so many bytes
//	Hang          nothing answers until it is released
//	Clone         an image of the disk, to be restored later
//
// After Crash and Kill the disk answers ErrGone to everything, until Start; files
// that were open before answer so for ever. So what used the disk can still be
// closed, and does no harm.
package storetest

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/skeinmesh/skein/store"
)

// SectorSize is what a disk writes wholly or not at all, in bytes.
const SectorSize = 512

// ErrGone is what a disk answers after a crash, until Start.
var ErrGone = errors.New("storetest: the disk has crashed")

// Disk is made by NewDisk. All methods may be called concurrently.
type Disk struct {
	mu    sync.Mutex // guards the fields below
	names map[string]*inode
	dirs  map[string]bool
	// changes are those to names that no SyncDir has put on the disk.
	changes []change
	age     int           // counts crashes
	off     bool          // since the last of them
	limit   int64         // bytes in all files, 0 is any number
	hang    chan struct{} // closed on release; nil if the disk answers
	syncs   countdown
	writes  countdown
	power   countdown  // to the crash
	rng     *rand.Rand // of that crash
	count   Count
}

// Count is what was asked of a disk.
type Count struct{ Syncs, Writes int }

// countdown fails the operation at which left comes down to 0.
type countdown struct {
	left int
	err  error
}

// due reports the error of an operation, which is nil for all but one.
func (c *countdown) due() error {
	if c.left == 0 {
		return nil
	}
	if c.left--; c.left > 0 {
		return nil
	}
	return c.err
}

// inode is what a file has, whatever it is called.
type inode struct {
	data    []byte // as it is read
	durable []byte // as it is on the disk for certain
	pending []write
}

// write is a change to a file that was not synced. One without data sets the
// file's size.
type write struct {
	at   int64
	data []byte
}

// change is one of a name: what it stood for before and after, nil if nothing.
type change struct {
	name    string
	old, to *inode
	with    string // the name that to had before, if this was a rename
}

// NewDisk makes an empty disk, with the root directory and ".".
func NewDisk() *Disk {
	return &Disk{names: make(map[string]*inode), dirs: map[string]bool{"/": true, ".": true}}
}

var _ store.FS = (*Disk)(nil)

// enter returns with the lock held once the disk answers, or fails after a
// crash.
func (d *Disk) enter(op, name string) error {
	d.mu.Lock()
	for d.hang != nil {
		hang := d.hang
		d.mu.Unlock()
		<-hang
		d.mu.Lock()
	}
	if d.off {
		d.mu.Unlock()
		return &os.PathError{Op: op, Path: name, Err: ErrGone}
	}
	return nil
}

// powerFails reports whether the power fails at this operation, in which case
// it did. The lock is held.
func (d *Disk) powerFails() error {
	err := d.power.due()
	if err != nil {
		d.crash(d.rng)
	}
	return err
}

// Open opens a file as store.FS says.
func (d *Disk) Open(name string, create bool) (store.File, error) {
	if err := d.enter("open", name); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	name = path.Clean(name)
	node := d.names[name]
	switch {
	case d.dirs[name]:
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	case node == nil && (!create || !d.dirs[path.Dir(name)]):
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	case node == nil:
		node = &inode{}
		d.names[name] = node
		d.changes = append(d.changes, change{name: name, to: node})
	}
	return &file{disk: d, name: name, node: node, age: d.age}, nil
}

// List lists a directory as store.FS says.
func (d *Disk) List(dir string) ([]string, error) {
	if err := d.enter("list", dir); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	dir = path.Clean(dir)
	if !d.dirs[dir] {
		return nil, &os.PathError{Op: "list", Path: dir, Err: os.ErrNotExist}
	}
	var list []string
	for name := range d.names {
		if path.Dir(name) == dir {
			list = append(list, path.Base(name))
		}
	}
	for name := range d.dirs {
		if name != dir && path.Dir(name) == dir {
			list = append(list, path.Base(name))
		}
	}
	slices.Sort(list)
	return list, nil
}

// MkdirAll makes directories as store.FS says.
func (d *Disk) MkdirAll(dir string) error {
	if err := d.enter("mkdir", dir); err != nil {
		return err
	}
	defer d.mu.Unlock()
	for dir = path.Clean(dir); !d.dirs[dir]; dir = path.Dir(dir) {
		if d.names[dir] != nil {
			return &os.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
		d.dirs[dir] = true
	}
	return nil
}

// Rename renames a file as store.FS says, or a directory, which need not be empty; when
// the power fails, some of its names may have changed and others not.
func (d *Disk) Rename(from, to string) error {
	if err := d.enter("rename", from); err != nil {
		return err
	}
	defer d.mu.Unlock()
	from, to = path.Clean(from), path.Clean(to)
	if d.dirs[from] {
		return d.renameDir(from, to)
	}
	node := d.names[from]
	if node == nil || !d.dirs[path.Dir(to)] {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: os.ErrNotExist}
	}
	d.changes = append(d.changes, change{name: to, old: d.names[to], to: node, with: from})
	delete(d.names, from)
	d.names[to] = node
	return d.powerFails()
}

// renameDir is Rename for a directory. The lock is held.
func (d *Disk) renameDir(from, to string) error {
	if d.dirs[to] || d.names[to] != nil || !d.dirs[path.Dir(to)] {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.ENOTEMPTY}
	}
	for dir := range maps.Clone(d.dirs) {
		if rest, in := strings.CutPrefix(dir+"/", from+"/"); in {
			delete(d.dirs, dir)
			d.dirs[path.Join(to, rest)] = true
		}
	}
	for _, name := range sorted(d.names) {
		if rest, in := strings.CutPrefix(name, from+"/"); in {
			fresh := path.Join(to, rest)
			d.changes = append(d.changes, change{name: fresh, to: d.names[name], with: name})
			d.names[fresh] = d.names[name]
			delete(d.names, name)
		}
	}
	return d.powerFails()
}

// Remove removes a file or an empty directory as store.FS says.
func (d *Disk) Remove(name string) error {
	if err := d.enter("remove", name); err != nil {
		return err
	}
	defer d.mu.Unlock()
	name = path.Clean(name)
	switch {
	case d.names[name] != nil:
		d.changes = append(d.changes, change{name: name, old: d.names[name]})
		delete(d.names, name)
		return d.powerFails()
	case !d.dirs[name]:
		return &os.PathError{Op: "remove", Path: name, Err: os.ErrNotExist}
	}
	for other := range d.names {
		if strings.HasPrefix(other, name+"/") {
			return &os.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
		}
	}
	for other := range d.dirs {
		if strings.HasPrefix(other, name+"/") {
			return &os.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
		}
	}
	delete(d.dirs, name)
	return nil
}

// SyncDir puts a directory's names on the disk.
func (d *Disk) SyncDir(dir string) error {
	if err := d.enter("sync", dir); err != nil {
		return err
	}
	defer d.mu.Unlock()
	dir = path.Clean(dir)
	if !d.dirs[dir] {
		return &os.PathError{Op: "sync", Path: dir, Err: os.ErrNotExist}
	}
	d.count.Syncs++
	if err := errors.Join(d.powerFails(), d.syncs.due()); err != nil {
		return &os.PathError{Op: "sync", Path: dir, Err: err}
	}
	d.changes = slices.DeleteFunc(d.changes, func(c change) bool {
		return path.Dir(c.name) == dir
	})
	return nil
}

// Space is that of the limit, if there is one.
func (d *Disk) Space(dir string) (size, free int64, err error) {
	if err := d.enter("statfs", dir); err != nil {
		return 0, 0, err
	}
	defer d.mu.Unlock()
	return d.limit, max(0, d.limit-d.used()), nil
}

// used is the number of bytes in files that have names. The lock is held.
func (d *Disk) used() int64 {
	var sum int64
	for _, node := range d.names {
		sum += int64(len(node.data))
	}
	return sum
}
