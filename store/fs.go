package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// FS is the disk as the stores see it: the operating system's, or one of
// package storetest that fails as disks do. Names are paths. All methods may be
// called concurrently.
type FS interface {
	// Open opens a file for reading and writing. A file that does not exist is
	// made if create says so; else the error is os.ErrNotExist.
	Open(name string, create bool) (File, error)
	// List names what lies in a directory, sorted, without the directory's name.
	// A directory that does not exist is os.ErrNotExist.
	List(dir string) ([]string, error)
	// MkdirAll makes a directory and its parents, readable by their owner alone,
	// and syncs the parents' entries.
	MkdirAll(dir string) error
	Rename(from, to string) error
	// Remove removes a file, or a directory that is empty.
	Remove(name string) error
	// SyncDir puts a directory's entries on the disk: that a file was made,
	// renamed or removed is certain only after it.
	SyncDir(dir string) error
	// Space is how large the disk is that a directory lies on, and how much of it
	// this user may still fill, in bytes. A size of 0 says that it is not known.
	Space(dir string) (size, free int64, err error)
}

// File is an open file. What was written is certain only after a Sync that
// returned nil. After a Sync that failed nothing is known of what was written
// since the one before: a file that failed to sync is never synced again.
// ReadAt, WriteAt and Sync may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
	// Allocate makes a file at least size bytes long, what is new reading as
	// zeros, and reserves the room for it where the system can: then writes up
	// to size do not find the disk full.
	Allocate(size int64) error
	Size() (int64, error)
}

// OS is the operating system's disk. Its files are readable by their owner
// alone.
type OS struct{}

func (OS) Open(name string, create bool) (File, error) {
	flag := os.O_RDWR
	if create {
		flag |= os.O_CREATE
	}
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (fs OS) MkdirAll(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("store: %s is a file, not a directory", dir)
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := fs.MkdirAll(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return fs.SyncDir(parent)
}

func (OS) Rename(from, to string) error { return os.Rename(from, to) }

func (OS) Remove(name string) error { return os.Remove(name) }

func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// grow makes a file at least size bytes long and reserves nothing.
func (f osFile) grow(size int64) error {
	if now, err := f.Size(); err != nil || now >= size {
		return err
	}
	return f.Truncate(size)
}
