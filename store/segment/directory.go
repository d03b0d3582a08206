package segment

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/skeinmesh/skein/store"
)

// directory is what lies in a log's directory, without having been read further
// than the files' headers.
type directory struct {
	fs   store.FS
	path string
	id   ID

	files   map[int64]found // by first offset
	staged  map[int64]found // fetched, whole and checked
	indexes []int64
	temps   []string // names that mean nothing after a crash
}

// found is a file that lies there.
type found struct {
	header header
	size   int64
	damage error // its header cannot be believed
}

// look lists a directory. The error is os.ErrNotExist if there is none,
// store.ErrForeign or store.ErrNewer if it is not for this program or log.
func look(fs store.FS, path string, id ID) (*directory, error) {
	d := &directory{fs: fs, path: path, id: id}
	names, err := fs.List(path)
	if err != nil {
		return nil, err
	}
	if d.files, err = d.headers(path, names); err != nil {
		return nil, err
	}
	for _, name := range names {
		if first, suffix, ok := parseName(name); ok && suffix == indexSuffix {
			d.indexes = append(d.indexes, first)
		} else if filepath.Ext(name) == tempSuffix {
			d.temps = append(d.temps, name)
		}
	}
	if !slices.Contains(names, stagingDir) {
		return d, nil
	}
	staging := filepath.Join(path, stagingDir)
	if names, err = fs.List(staging); err != nil {
		return nil, err
	}
	d.staged, err = d.headers(staging, names)
	return d, err
}

// headers reads the headers of the segment files among names.
func (d *directory) headers(dir string, names []string) (map[int64]found, error) {
	files := map[int64]found{}
	for _, name := range names {
		first, suffix, ok := parseName(name)
		if !ok || suffix != fileSuffix {
			continue
		}
		f, err := inspect(d.fs, filepath.Join(dir, name), first)
		if err != nil {
			return nil, err
		}
		if f.damage == nil && f.header.id != d.id {
			return nil, fmt.Errorf("segment: %s: %w: it is of log %s, not %s", filepath.Join(dir, name), store.ErrForeign, f.header.id, d.id)
		}
		files[first] = f
	}
	return files, nil
}

// inspect reads the header of a file whose name says its first offset.
func inspect(fs store.FS, path string, first int64) (f found, err error) {
	err = withFile(fs, path, false, func(file store.File) error {
		if f.size, err = file.Size(); err != nil {
			return err
		}
		var b [headerSize]byte
		n, err := file.ReadAt(b[:], 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		f.header, err = parseHeader(path, b[:n])
		if errors.Is(err, store.ErrCorrupt) {
			f.damage = err
			return nil
		}
		if err == nil && f.header.first != first {
			f.damage = damage(path, 0, f.header.first, "its name says another offset")
		}
		return err
	})
	if err != nil {
		return f, fmt.Errorf("segment: open %s: %w", path, err)
	}
	return f, nil
}

func (d *directory) file(first int64, suffix string) string {
	return filepath.Join(d.path, fileName(first, suffix))
}

func (d *directory) stagedFile(first int64, suffix string) string {
	return filepath.Join(d.path, stagingDir, fileName(first, suffix))
}

// firsts are the first offsets of the files, in order.
func (d *directory) firsts() []int64 { return slices.Sorted(maps.Keys(d.files)) }

// wrong says why a file of a manifest is not there, or nil if it is. Its data is
// not read: what a synced file has lost is found by those who read it.
func (d *directory) wrong(want FileInfo, last bool) error {
	f, ok := d.files[want.First]
	path := d.file(want.First, fileSuffix)
	switch {
	case !ok:
		return fmt.Errorf("segment: %s: %w", path, os.ErrNotExist)
	case f.damage != nil:
		return f.damage
	case f.size < want.Bytes:
		return damage(path, f.size, -1, fmt.Sprintf("the file is cut short: it should have %d bytes", want.Bytes))
	case last:
		return nil
	case f.size > want.Bytes:
		return damage(path, want.Bytes, -1, "the file is longer than it should be")
	}
	if info, _, err := readIndex(d.fs, d.file(want.First, indexSuffix), d.id); err == nil && info != want {
		return damage(path, 0, -1, fmt.Sprintf("the file has other records: its hash is %s, it should be %s", info.Hash, want.Hash))
	}
	return nil
}

// fetched reports whether a file of a manifest lies ready in the staging place.
func (d *directory) fetched(want FileInfo) bool {
	f, ok := d.staged[want.First]
	if !ok || f.damage != nil || f.size != want.Bytes {
		return false
	}
	info, _, err := readIndex(d.fs, d.stagedFile(want.First, indexSuffix), d.id)
	return err == nil && info == want
}

// MissingError says which files of a manifest are not there, and why: an
// os.ErrNotExist, or a store.CorruptError if there is one but not the right one.
type MissingError struct {
	Dir     string
	Files   []FileInfo
	Reasons []error // one for each of Files
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("segment: %s: %d files are missing or damaged, the first: %v", e.Dir, len(e.Files), e.Reasons[0])
}

// Unwrap is the reasons.
func (e *MissingError) Unwrap() []error { return e.Reasons }

// missing is nil if all files of a manifest lie there or in the staging place.
func (d *directory) missing(m Manifest) *MissingError {
	e := &MissingError{Dir: d.path}
	for i, f := range m.Files {
		if err := d.wrong(f, i == len(m.Files)-1); err != nil && !d.fetched(f) {
			e.Files = append(e.Files, f)
			e.Reasons = append(e.Reasons, err)
		}
	}
	if e.Files == nil {
		return nil
	}
	return e
}

// Missing is what must be fetched before Open can bring a directory to a
// manifest: files that are neither in it nor, whole, in its staging place. It
// changes nothing, and the log may be open.
func Missing(c Config, m Manifest) ([]FileInfo, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	d, err := look(c.Files.fs, c.Dir, c.ID)
	if errors.Is(err, os.ErrNotExist) {
		return m.Files, nil
	}
	if err != nil {
		return nil, err
	}
	if e := d.missing(m); e != nil {
		return e.Files, nil
	}
	return nil, nil
}

// SyncFiles puts on the disk what lies in place of a manifest, by whomever it was
// written: Missing looks only whether it is there. The log may be open. An error
// of a sync leaves unknown what is on the disk, for the log that is open, too.
func SyncFiles(c Config, m Manifest) error {
	if len(m.Files) == 0 {
		return nil
	}
	d, err := look(c.Files.fs, c.Dir, c.ID)
	if err != nil {
		return fmt.Errorf("segment: sync %s: %w", c.Dir, err)
	}
	for i, f := range m.Files {
		if d.wrong(f, i == len(m.Files)-1) != nil {
			continue // it was fetched, and is synced where it lies
		}
		if err := withFile(d.fs, d.file(f.First, fileSuffix), false, store.File.Sync); err != nil {
			return fmt.Errorf("segment: sync %s: %w", d.file(f.First, fileSuffix), err)
		}
	}
	for _, dir := range []string{c.Dir, filepath.Dir(c.Dir)} {
		if err := d.fs.SyncDir(dir); err != nil {
			return fmt.Errorf("segment: sync %s: %w", dir, err)
		}
	}
	return nil
}

// restore makes the directory what a manifest says. Whenever it is interrupted,
// it can be done again.
func (d *directory) restore(m Manifest) error {
	if e := d.missing(m); e != nil {
		return e
	}
	install := map[int64]bool{}
	keep := map[int64]bool{}    // files
	indexed := map[int64]bool{} // of these, the ones that are full
	for i, f := range m.Files {
		last := i == len(m.Files)-1
		install[f.First] = d.fetched(f) || d.wrong(f, last) != nil // what was fetched is synced, too
		keep[f.First], indexed[f.First] = true, !last
	}
	var moved []int64 // out of the staging place
	changed := false
	do := func(err error) error {
		changed = true
		return err
	}
	for _, first := range d.removal(m) {
		if !keep[first] {
			if err := do(removeAny(d.fs, d.file(first, fileSuffix))); err != nil {
				return err
			}
			delete(d.files, first)
		}
	}
	for _, first := range d.indexes {
		if !indexed[first] || install[first] {
			if err := do(removeAny(d.fs, d.file(first, indexSuffix))); err != nil {
				return err
			}
		}
	}
	for _, name := range d.temps {
		if err := do(removeAny(d.fs, filepath.Join(d.path, name))); err != nil {
			return err
		}
	}
	for _, f := range m.Files {
		if install[f.First] {
			if err := do(d.install(f.First, indexed[f.First])); err != nil {
				return err
			}
			moved = append(moved, f.First)
		}
	}
	if n := len(m.Files); n > 0 && d.files[m.Files[n-1].First].size > m.Files[n-1].Bytes {
		last := m.Files[n-1]
		err := withFile(d.fs, d.file(last.First, fileSuffix), false, func(f store.File) error { return f.Truncate(last.Bytes) })
		if err != nil {
			return err
		}
	}
	if !changed {
		return nil
	}
	return d.settle(moved...)
}

// removal is the files in an order in which they can be removed, as far as a
// manifest does not have them: at no time is there a hole.
func (d *directory) removal(m Manifest) []int64 {
	firsts := d.firsts()
	n, _ := slices.BinarySearch(firsts, m.Next)
	slices.Reverse(firsts[n:])
	return append(firsts[n:], firsts[:n]...)
}

// install moves a fetched file from the staging place to where it belongs. The
// index that makes it count as fetched stays there until the move is certain.
func (d *directory) install(first int64, indexed bool) error {
	if indexed {
		info, x, err := readIndex(d.fs, d.stagedFile(first, indexSuffix), d.id)
		if err == nil {
			err = writeIndex(d.fs, d.file(first, indexSuffix), d.id, info, x)
		}
		if err != nil {
			return err
		}
	}
	if err := d.fs.Rename(d.stagedFile(first, fileSuffix), d.file(first, fileSuffix)); err != nil {
		return err
	}
	d.files[first] = d.staged[first]
	return nil
}

// settle makes it certain that files were moved out of the staging place.
func (d *directory) settle(firsts ...int64) error {
	if err := d.fs.SyncDir(d.path); err != nil {
		return err
	}
	for _, first := range firsts {
		if err := removeAny(d.fs, d.stagedFile(first, indexSuffix)); err != nil {
			return err
		}
	}
	return nil
}
