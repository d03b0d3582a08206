package segment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/skeinmesh/skein/store"
)

// Open opens a log as a manifest says: files that were fetched are put in place,
// and all that the manifest does not have is removed. It reads no data. If
// files are missing or damaged, the error is a MissingError and nothing was
// changed: they can be fetched (see Stage). A log never seen before has the zero
// manifest.
//
// Without a manifest the log is opened as it lies, which is for those who have
// nothing else to go by: the last file is read through, and cut at the first
// record that is damaged, since it cannot be known what had been synced of it; Tail
// tells. The log then starts with its first file. If whole records lie behind the
// damaged one, it is no end that a crash has torn, and nothing is changed: the error is
// store.ErrCorrupt, as for other damage. See Salvage.
func Open(c Config, m *Manifest) (*Log, error) {
	if c.FileBytes == 0 {
		c.FileBytes = DefaultFileBytes
	}
	if c.FileBytes < headerSize || c.FileBytes > MaxFileBytes {
		return nil, fmt.Errorf("segment: open %s: files of %d bytes: at most %d are possible", c.Dir, c.FileBytes, int64(MaxFileBytes))
	}
	if m != nil {
		if err := m.check(); err != nil {
			return nil, err
		}
	}
	d, err := look(c.Files.fs, c.Dir, c.ID)
	if errors.Is(err, os.ErrNotExist) {
		d, err = &directory{fs: c.Files.fs, path: c.Dir, id: c.ID}, c.Files.fs.MkdirAll(c.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("segment: open %s: %w", c.Dir, err)
	}
	l := &Log{config: c}
	if m == nil {
		return l, l.adopt(d)
	}
	if err := d.restore(*m); err != nil {
		return nil, fmt.Errorf("segment: open %s: %w", c.Dir, err)
	}
	l.start, l.lastTime = m.Start, m.Time
	l.next.Store(m.Next)
	for i, info := range m.Files {
		h := d.files[info.First].header
		f := &file{first: info.First, limit: h.limit, floor: h.floor, info: info, synced: info}
		if i == len(m.Files)-1 {
			f.reopen()
		}
		l.files = append(l.files, f)
	}
	return l, nil
}

// reopen lets a file be appended to. Its index begins with what is appended now,
// until somebody needs the rest.
func (f *file) reopen() {
	f.index = &sparse{mark: (f.info.Bytes/indexEvery + 1) * indexEvery}
	f.whole = f.info.Bytes <= indexEvery
}

// adopt takes a directory as it lies.
func (l *Log) adopt(d *directory) error {
	firsts := d.firsts()
	if n := len(firsts); n > 0 && d.files[firsts[n-1]].size < headerSize {
		// A file that was being begun.
		if err := removeAny(d.fs, d.file(firsts[n-1], fileSuffix)); err != nil {
			return fmt.Errorf("segment: open %s: %w", d.path, err)
		}
		firsts = firsts[:n-1]
	}
	for i, first := range firsts {
		if i > 0 && first != l.next.Load() {
			return fmt.Errorf("segment: open %s: %w", d.path,
				damage(d.file(l.files[i-1].first, fileSuffix), l.files[i-1].info.Bytes, l.next.Load(), "the file ends before the next begins"))
		}
		f, tail, err := d.read(first, i == len(firsts)-1)
		if err != nil {
			return fmt.Errorf("segment: open %s: %w", d.path, err)
		}
		l.tail = tail
		if i == 0 {
			l.start = first
		}
		l.next.Store(f.info.Next)
		if f.info.Next > first {
			l.files = append(l.files, f)
			l.lastTime = f.info.LastTime
		} else if err := removeAny(d.fs, d.file(first, fileSuffix)); err != nil {
			return fmt.Errorf("segment: open %s: %w", d.path, err)
		}
	}
	if n := len(l.files); n > 0 && l.files[n-1].index == nil {
		l.files[n-1].reopen()
	}
	return nil
}

// read learns what a file has, from its index or by going through it. The last
// is cut where it is damaged, if nothing lies behind that, and tail says why.
func (d *directory) read(first int64, last bool) (f *file, tail, err error) {
	lies, path := d.files[first], d.file(first, fileSuffix)
	if lies.damage != nil {
		return nil, nil, lies.damage
	}
	f = &file{first: first, limit: lies.header.limit, floor: lies.header.floor}
	if info, _, err := readIndex(d.fs, d.file(first, indexSuffix), d.id); err == nil && !last && info.First == first && info.Bytes == lies.size {
		f.info, f.synced = info, info
		return f, nil, nil
	}
	err = withFile(d.fs, path, false, func(file store.File) error {
		s := scanner{file: file, name: path, end: lies.size, data: true, hash: true, index: &sparse{}, state: lies.header.begin()}
		err := s.run()
		f.info, f.index, f.whole = s.state, s.index.clone(), true
		if !last || !errors.Is(err, store.ErrCorrupt) {
			return err
		}
		if more, failed := goesOn(file, s.state.Bytes, lies.size, s.state.Next); more || failed != nil {
			return errors.Join(err, failed)
		}
		tail = err
		return file.Truncate(s.state.Bytes)
	})
	return f, tail, err
}

// Remove removes a log that is not open, and its directory. A log of another
// identity, or of a newer format, is refused.
func Remove(c Config) error {
	d, err := look(c.Files.fs, c.Dir, c.ID)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = ClearStaging(c)
	}
	if err == nil {
		err = removeAny(c.Files.fs, filepath.Join(c.Dir, stagingDir))
	}
	if err == nil {
		err = d.restore(Manifest{})
	}
	if err == nil {
		err = removeAny(c.Files.fs, c.Dir)
	}
	if err != nil {
		return fmt.Errorf("segment: remove %s: %w", c.Dir, err)
	}
	return c.Files.fs.SyncDir(filepath.Dir(c.Dir))
}
