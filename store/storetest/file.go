package storetest

import (
	"os"
	"slices"
	"syscall"
)

// file is a file that was opened.
type file struct {
	disk *Disk
	name string
	node *inode
	age  int
}

// enter returns with the disk's lock held, once the disk answers, or fails.
func (f *file) enter(op string) error {
	if err := f.disk.enter(op, f.name); err != nil {
		return err
	}
	if f.age != f.disk.age {
		f.disk.mu.Unlock()
		return &os.PathError{Op: op, Path: f.name, Err: ErrGone}
	}
	return nil
}

func (f *file) fail(op string, err error) error {
	return &os.PathError{Op: op, Path: f.name, Err: err}
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.enter("read"); err != nil {
		return 0, err
	}
	defer f.disk.mu.Unlock()
	return readAt(f.node.data, p, off)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if err := f.enter("write"); err != nil {
		return 0, err
	}
	defer f.disk.mu.Unlock()
	d := f.disk
	d.count.Writes++
	done, err := p, d.writes.due()
	if err != nil {
		done = p[:len(p)/2]
	}
	if grown := off + int64(len(done)) - int64(len(f.node.data)); d.limit > 0 && grown > 0 {
		if room := d.limit - d.used(); room < grown {
			done = done[:max(0, int64(len(done))-(grown-max(0, room)))]
			err = syscall.ENOSPC
		}
	}
	if len(done) > 0 {
		w := write{off, slices.Clone(done)}
		f.node.pending = append(f.node.pending, w)
		f.node.data = w.apply(f.node.data)
	}
	if err == nil {
		err = d.powerFails()
	}
	if err != nil {
		return len(done), f.fail("write", err)
	}
	return len(done), nil
}

func (f *file) Sync() error {
	if err := f.enter("sync"); err != nil {
		return err
	}
	defer f.disk.mu.Unlock()
	f.disk.count.Syncs++
	if err := f.disk.powerFails(); err != nil {
		return f.fail("sync", err)
	}
	err := f.disk.syncs.due()
	if err == nil {
		for _, w := range f.node.pending {
			f.node.durable = w.apply(f.node.durable)
		}
	}
	// After a sync that failed the pages count as clean, and are never written.
	f.node.pending = nil
	if err != nil {
		return f.fail("sync", err)
	}
	return nil
}

func (f *file) Truncate(size int64) error { return f.resize("truncate", size, false) }

func (f *file) Allocate(size int64) error { return f.resize("allocate", size, true) }

func (f *file) resize(op string, size int64, growOnly bool) error {
	if err := f.enter(op); err != nil {
		return err
	}
	defer f.disk.mu.Unlock()
	grown := size - int64(len(f.node.data))
	if growOnly && grown <= 0 {
		return nil
	}
	if f.disk.limit > 0 && grown > 0 && f.disk.used()+grown > f.disk.limit {
		return f.fail(op, syscall.ENOSPC)
	}
	w := write{at: size}
	f.node.pending = append(f.node.pending, w)
	f.node.data = w.apply(f.node.data)
	if err := f.disk.powerFails(); err != nil {
		return f.fail(op, err)
	}
	return nil
}

func (f *file) Size() (int64, error) {
	if err := f.enter("stat"); err != nil {
		return 0, err
	}
	defer f.disk.mu.Unlock()
	return int64(len(f.node.data)), nil
}

func (f *file) Close() error { return nil }

// apply makes a write's change to a file's bytes and returns them.
func (w write) apply(to []byte) []byte {
	if w.data == nil {
		if w.at <= int64(len(to)) {
			return to[:w.at:w.at] // a later write must not find what was cut off
		}
		return append(to, make([]byte, w.at-int64(len(to)))...)
	}
	if end := w.at + int64(len(w.data)); end > int64(len(to)) {
		to = append(to, make([]byte, end-int64(len(to)))...)
	}
	copy(to[w.at:], w.data)
	return to
}
