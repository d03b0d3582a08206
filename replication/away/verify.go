package away

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
)

// Report is what Verify found in an outbox's directory.
type Report struct {
	Boxes   int
	Waiting int64   // records that are to be sent
	Notes   []error // what a crash explains
	Damage  []error // what it does not
}

// Verify reads all that an outbox keeps in a directory that no process has open, and
// changes nothing. The error says why it could not be read, which may be that a later
// version wrote it (store.ErrNewer).
func Verify(fs store.FS, dir string) (r Report, err error) {
	names, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("away: verify: %w", err)
	}
	for _, name := range names {
		if _, ok := parseID(name); !ok {
			continue
		}
		if err := r.box(fs, filepath.Join(dir, name)); err != nil {
			return r, fmt.Errorf("away: verify: %w", err)
		}
	}
	return r, nil
}

// box reads what waits for one destination.
func (r *Report) box(fs store.FS, dir string) error {
	sent, err := readSent(fs, dir)
	if errors.Is(err, store.ErrCorrupt) {
		r.Damage = append(r.Damage, err)
	} else if err != nil {
		return err
	}
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, damagedDir) {
			r.Damage = append(r.Damage, fmt.Errorf("%s: damaged files of what waited were set aside", filepath.Join(dir, name)))
		}
	}
	log := filepath.Join(dir, logDir)
	found, err := segment.Verify(fs, log, nil)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	r.Boxes++
	r.Damage = append(r.Damage, found.Damage...)
	if found.Tail != nil {
		r.Notes = append(r.Notes, found.Tail)
	}
	if found.Tail != nil || len(found.Damage) > 0 {
		_, err := segment.Salvage(fs, log, sent, func(int64, segment.Record) error {
			r.Waiting++
			return nil
		})
		return err
	}
	for _, f := range found.Files {
		r.Waiting += max(0, f.Next-max(f.First, sent))
	}
	return nil
}
