// Package store keeps bytes on disk so that a crash leaves what was promised.
// It knows no events, peers or raft.
package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ReplaceFile writes data to a file in place of what it held: after a crash the
// file is the old one or the new one, whole. When it returns nil, the new one
// is on the disk, its name included. The directory must exist. Files are
// readable by their owner alone.
func ReplaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("store: replace %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // gone already after a successful rename
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("store: replace %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("store: replace %s: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("store: replace %s: %w", path, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("store: replace %s: %w", path, err)
	}
	return nil
}
