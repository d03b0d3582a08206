package partition

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
)

// Report is what Verify found in a replica's directory.
type Report struct {
	Logs    int
	Records int64
	Bytes   int64
	// Notes is what a crash explains, and opening the replica mends.
	Notes []error
	// Damage is what a crash does not explain.
	Damage []error
}

// Verify reads all that a replica keeps in a directory that no process has open,
// and changes nothing. The error says why it could not be read.
func Verify(fs store.FS, dir string) (r Report, err error) {
	names, manifests, damage, err := lookAt(fs, dir)
	if err != nil {
		return r, fmt.Errorf("partition: verify %s: %w", dir, err)
	}
	r.Damage = damage
	for _, name := range names {
		path := filepath.Join(dir, "logs", name)
		var m *segment.Manifest
		if has, needed := manifests[name]; needed {
			m = &has
		}
		found, err := segment.Verify(fs, path, m)
		if errors.Is(err, os.ErrNotExist) && m != nil && len(m.Files) == 0 {
			continue // nothing was appended to it
		}
		if err != nil {
			r.Damage = append(r.Damage, err)
			continue
		}
		r.Logs++
		r.Records += found.Records
		r.Bytes += found.Bytes
		r.Damage = append(r.Damage, found.Damage...)
		if found.Tail != nil {
			r.Notes = append(r.Notes, found.Tail)
		}
	}
	return r, nil
}

// lookAt lists the logs that lie in a directory or should, and the manifests of
// those that a snapshot has.
func lookAt(fs store.FS, dir string) (names []string, manifests map[string]segment.Manifest, damage []error, err error) {
	names, err = fs.List(filepath.Join(dir, "logs"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil, err
	}
	manifests = map[string]segment.Manifest{}
	snaps, err := multiraft.OpenSnapshots(fs, dir)
	if err != nil {
		return names, manifests, []error{err}, nil
	}
	if _, data := snaps.Latest(); data != nil {
		s, err := parseSnapshot(data)
		if err != nil {
			return names, manifests, []error{err}, nil
		}
		for _, k := range s.logs {
			manifests[dirName(k.id, k.birth)] = k.manifest
			names = append(names, dirName(k.id, k.birth))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), manifests, nil, nil
}

// Dump calls fn with all records of a replica whose directory no process has open,
// log by log. What cannot be read is in the error; the other logs are dumped all
// the same.
func Dump(fs store.FS, dir string, fn func(log string, offset int64, r segment.Record) error) error {
	names, _, damage, err := lookAt(fs, dir)
	if err != nil {
		return fmt.Errorf("partition: dump %s: %w", dir, err)
	}
	for _, name := range names {
		var stop error
		err := segment.Dump(fs, filepath.Join(dir, "logs", name), func(offset int64, r segment.Record) error {
			stop = fn(name, offset, r)
			return stop
		})
		if stop != nil {
			return stop
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			damage = append(damage, err)
		}
	}
	return errors.Join(damage...)
}
