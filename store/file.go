// Package store keeps bytes on disk so that a crash leaves what was promised.
// It knows no events, peers or raft.
package store

import (
	"errors"
	"fmt"
	"path/filepath"
)

// ReplaceFile is Replace on the operating system's disk.
func ReplaceFile(path string, data []byte) error { return Replace(OS{}, path, data) }

// Replace writes data to a file in place of what it held: after a crash the file is
// the old one or the new one, whole. When it returns nil, the new one is on the
// disk, its name included. The directory must exist; nobody else may replace the
// file at the same time. Files are readable by their owner alone.
func Replace(fs FS, path string, data []byte) error {
	if err := replace(fs, path, data); err != nil {
		return fmt.Errorf("store: replace %s: %w", path, err)
	}
	return nil
}

func replace(fs FS, path string, data []byte) error {
	fresh := path + ".new"
	f, err := fs.Open(fresh, true)
	if err != nil {
		return err
	}
	err = f.Truncate(0) // an attempt before this one may have left something
	if err == nil {
		_, err = f.WriteAt(data, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fs.Remove(fresh))
	}
	if err := fs.Rename(fresh, path); err != nil {
		return errors.Join(err, fs.Remove(fresh))
	}
	return fs.SyncDir(filepath.Dir(path))
}
