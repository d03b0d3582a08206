package store

import (
	"errors"
	"os"
	"path/filepath"
)

// RemoveAll removes a file, or a directory and all that is in it. That it is not
// there is no error.
func RemoveAll(fs FS, name string) error {
	inside, err := fs.List(name)
	if err == nil {
		for _, n := range inside {
			if err := RemoveAll(fs, filepath.Join(name, n)); err != nil {
				return err
			}
		}
	}
	if err := fs.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
