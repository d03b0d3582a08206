package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/skeinmesh/skein/store"
)

// Report is what Verify found in a log's directory.
type Report struct {
	ID      ID
	Files   []FileInfo // as far as they are well
	Records int64
	Bytes   int64
	// Tail is the end of the last file, if that is not whole records: what a
	// crash leaves of an append, or damage. Which of the two, only a manifest
	// can tell.
	Tail error
	// Damage is what a crash cannot explain.
	Damage []error
}

// Verify goes through the log in a directory that no process has open, and
// changes nothing. The manifest may be nil; with it, what should be there is
// compared with what is. The error is store.ErrNewer, store.ErrForeign, or the
// disk's.
func Verify(fs store.FS, dir string, m *Manifest) (Report, error) {
	d, err := lookAny(fs, dir)
	if err != nil {
		return Report{}, fmt.Errorf("segment: verify %s: %w", dir, err)
	}
	r := Report{ID: d.id}
	firsts := d.firsts()
	for i, first := range firsts {
		if n := len(r.Files); n > 0 && r.Files[n-1].Next != first && r.Tail == nil && len(r.Damage) == 0 {
			r.Damage = append(r.Damage, damage(d.file(r.Files[n-1].First, fileSuffix), r.Files[n-1].Bytes, r.Files[n-1].Next, "the file ends before the next begins"))
		}
		if err := d.verify(&r, first, i == len(firsts)-1); err != nil {
			return r, fmt.Errorf("segment: verify %s: %w", dir, err)
		}
	}
	if m != nil {
		d.compare(&r, *m)
	}
	return r, nil
}

// lookAny is look for whatever log the first sound file belongs to.
func lookAny(fs store.FS, dir string) (*directory, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	var id ID
	for _, name := range names {
		first, suffix, ok := parseName(name)
		if !ok || suffix != fileSuffix {
			continue
		}
		f, err := inspect(fs, filepath.Join(dir, name), first)
		if err != nil {
			return nil, err
		}
		if f.damage == nil {
			id = f.header.id
			break
		}
	}
	return look(fs, dir, id)
}

// verify goes through one file.
func (d *directory) verify(r *Report, first int64, last bool) error {
	lies, path := d.files[first], d.file(first, fileSuffix)
	if lies.damage != nil {
		if last && lies.size < headerSize {
			r.Tail = lies.damage
		} else {
			r.Damage = append(r.Damage, lies.damage)
		}
		return nil
	}
	return withFile(d.fs, path, false, func(f store.File) error {
		s := scanner{file: f, name: path, end: lies.size, data: true, hash: true, state: lies.header.begin()}
		switch err := s.run(); {
		case errors.Is(err, store.ErrCorrupt) && last:
			r.Tail = err
		case errors.Is(err, store.ErrCorrupt):
			r.Damage = append(r.Damage, err)
		case err != nil:
			return err
		}
		r.Files = append(r.Files, s.state)
		r.Records += s.state.Next - first
		r.Bytes += s.state.Bytes
		if last || s.state.Bytes < lies.size {
			return nil
		}
		info, _, err := readIndex(d.fs, d.file(first, indexSuffix), d.id)
		_, lacks := d.index(first)
		if !lacks && (err != nil || info != s.state) {
			r.Damage = append(r.Damage, damage(d.file(first, indexSuffix), 0, -1, errNoIndex.Error()))
		}
		return nil
	})
}

// index reports whether a file's index is there; a crash may come before it is
// written.
func (d *directory) index(first int64) (path string, lacks bool) {
	for _, i := range d.indexes {
		if i == first {
			return d.file(first, indexSuffix), false
		}
	}
	return "", true
}

// compare adds to a report what a manifest has and the directory has not.
func (d *directory) compare(r *Report, m Manifest) {
	lie := map[int64]FileInfo{}
	for _, f := range r.Files {
		lie[f.First] = f
	}
	for i, want := range m.Files {
		got, ok := lie[want.First]
		last := i == len(m.Files)-1
		path := d.file(want.First, fileSuffix)
		switch {
		case !ok:
			r.Damage = append(r.Damage, fmt.Errorf("segment: %s: %w, or it has no sound header", path, os.ErrNotExist))
		case got == want:
		case !last || got.Bytes < want.Bytes:
			r.Damage = append(r.Damage, damage(path, got.Bytes, got.Next,
				fmt.Sprintf("the file should have %d bytes and hash %s; sound are %d bytes with hash %s", want.Bytes, want.Hash, got.Bytes, got.Hash)))
		default:
			if err := d.comparePrefix(want); err != nil {
				r.Damage = append(r.Damage, err)
			}
		}
	}
}

// comparePrefix compares the beginning of a file that has grown.
func (d *directory) comparePrefix(want FileInfo) error {
	path := d.file(want.First, fileSuffix)
	return withFile(d.fs, path, false, func(f store.File) error {
		s := scanner{file: f, name: path, end: want.Bytes, hash: true, state: d.files[want.First].header.begin()}
		if err := s.run(); err != nil {
			return err
		}
		if s.state != want {
			return damage(path, 0, -1, fmt.Sprintf("its first %d bytes have hash %s, they should have %s", want.Bytes, s.state.Hash, want.Hash))
		}
		return nil
	})
}

// Dump calls fn with all records in a directory that no process has open, in
// order, until it returns an error. It ends with a store.CorruptError where the
// files do; see Verify about the last. Data is good until fn returns.
func Dump(fs store.FS, dir string, fn func(offset int64, r Record) error) error {
	d, err := lookAny(fs, dir)
	if err != nil {
		return fmt.Errorf("segment: dump %s: %w", dir, err)
	}
	for _, first := range d.firsts() {
		lies, path := d.files[first], d.file(first, fileSuffix)
		if lies.damage != nil {
			return fmt.Errorf("segment: dump %s: %w", dir, lies.damage)
		}
		err := withFile(fs, path, false, func(f store.File) error {
			s := scanner{file: f, name: path, end: lies.size, data: true, state: lies.header.begin()}
			for {
				offset := s.state.Next
				head, data, err := s.next()
				if err == io.EOF {
					return nil
				}
				if err == nil {
					err = fn(offset, record(head, data))
				}
				if err != nil {
					return err
				}
			}
		})
		if err != nil {
			return fmt.Errorf("segment: dump %s: %w", dir, err)
		}
	}
	return nil
}
