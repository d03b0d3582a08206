package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/skeinmesh/skein/store"
)

// ReadChunk reads a part of a file that another replica's manifest has, from a
// position on, for that replica's Staged. It reads up to the end that the
// manifest knows, whether this log's file is longer by now or not, and returns 0
// there. The error is ErrNoFile if the log does not have the file, or no longer.
// What is read is checked by the receiver, not here.
func (l *Log) ReadChunk(want FileInfo, position int64, buf []byte) (int, error) {
	l.mu.RLock()
	epoch := l.epoch
	var f *file
	for _, g := range l.files {
		if g.first == want.First {
			f = g
		}
	}
	if f != nil && (f.info.Bytes < want.Bytes || f.info.Bytes == want.Bytes && f.info != want) {
		f = nil
	}
	l.mu.RUnlock()
	if f == nil {
		return 0, fmt.Errorf("segment: fetch file of offset %d from %s: %w with %d bytes and hash %s", want.First, l.config.Dir, ErrNoFile, want.Bytes, want.Hash)
	}
	n := min(int64(len(buf)), want.Bytes-position)
	if n <= 0 || position < 0 {
		return 0, nil
	}
	h, err := l.acquire(f, false)
	if err == nil {
		_, err = h.ReadAt(buf[:n], position)
		l.config.Files.release(h)
	}
	switch {
	case (errors.Is(err, os.ErrNotExist) || errors.Is(err, io.EOF)) && l.changed(epoch, want.Next-1):
		err = ErrNoFile
	case errors.Is(err, io.EOF):
		err = damage(l.path(f.first, fileSuffix), position, -1, "the file is cut short")
	}
	if err != nil {
		return 0, fmt.Errorf("segment: fetch file of offset %d from %s: %w", want.First, l.config.Dir, err)
	}
	return int(n), nil
}

// stagedBytes is how much of a file that is fetched is on its way to the disk at
// most. All that is written goes through one disk: were a whole file synced at once,
// whoever syncs a few bytes of something else would wait for it.
const stagedBytes = 2 << 20

// Staged is a file on its way from another replica. It is filled from its
// beginning, through as many processes as it takes. One goroutine at a time may
// use it. The log may be open meanwhile.
type Staged struct {
	config   Config
	want     FileInfo
	file     store.File // nil once it is closed or finished
	have     int64
	unsynced int // bytes that were written since the last sync
}

// Stage begins to fetch a file into the staging place of a log, or goes on. A file
// that was whole there, and has grown since where it is fetched from, is gone on
// with, too.
func Stage(c Config, want FileInfo) (*Staged, error) {
	s := &Staged{config: c, want: want}
	err := c.Files.fs.MkdirAll(filepath.Join(c.Dir, stagingDir))
	if err == nil {
		s.file, err = c.Files.fs.Open(s.path(partSuffix), false)
	}
	if errors.Is(err, os.ErrNotExist) {
		err = c.Files.fs.Rename(s.path(fileSuffix), s.path(partSuffix))
		if err == nil || errors.Is(err, os.ErrNotExist) {
			s.file, err = c.Files.fs.Open(s.path(partSuffix), true)
		}
	}
	if err == nil {
		s.have, err = s.file.Size()
	}
	if err == nil && s.have > want.Bytes { // it was to become a longer one
		s.have, err = want.Bytes, s.file.Truncate(want.Bytes)
	}
	if err != nil {
		return nil, errors.Join(s.failed(err), s.Close())
	}
	return s, nil
}

// Have is how many bytes of the file are there: the position to fetch from. All
// are there when it is want.Bytes.
func (s *Staged) Have() int64 { return s.have }

// Write adds bytes at Have. After an error of it the Staged is of no use any more but
// to be closed.
func (s *Staged) Write(chunk []byte) (int, error) {
	if s.have+int64(len(chunk)) > s.want.Bytes {
		return 0, s.failed(fmt.Errorf("%d bytes at %d are more than the file has", len(chunk), s.have))
	}
	n, err := s.file.WriteAt(chunk, s.have)
	if err != nil {
		return 0, s.failed(err)
	}
	s.have += int64(n)
	if s.unsynced += n; s.unsynced >= stagedBytes {
		if err := s.sync(); err != nil {
			return n, s.failed(err)
		}
	}
	return n, nil
}

// sync puts what was written on the disk. If that fails nobody knows what is there,
// and nothing of it is used.
func (s *Staged) sync() error {
	s.unsynced = 0
	err := s.file.Sync()
	if err != nil {
		err = errors.Join(err, s.Close(), removeAny(s.config.Files.fs, s.path(partSuffix)))
	}
	return err
}

// Seed takes what the log's own file already has, record by record as far as
// they are well, instead of fetching it. Do not use it again after a Finish that
// found the file wrong.
func (s *Staged) Seed() error {
	if s.have > 0 {
		return nil
	}
	path := filepath.Join(s.config.Dir, fileName(s.want.First, fileSuffix))
	lies, err := inspect(s.config.Files.fs, path, s.want.First)
	if errors.Is(err, os.ErrNotExist) || err == nil && (lies.damage != nil || lies.header.id != s.config.ID) {
		return nil
	}
	if err != nil {
		return s.failed(err)
	}
	return withFile(s.config.Files.fs, path, false, func(own store.File) error {
		if _, err := s.Write(lies.header.encode()); err != nil {
			return err
		}
		buf, position, offset := make([]byte, scanWindow), int64(headerSize), s.want.First
		for {
			n, err := own.ReadAt(buf[:min(int64(len(buf)), s.want.Bytes-position)], position)
			if err != nil && !errors.Is(err, io.EOF) {
				return s.failed(err)
			}
			count, size, need, _ := checkRun(buf[:n], offset)
			switch {
			case count == 0 && need > len(buf):
				buf = make([]byte, need)
				continue
			case count == 0:
				return nil
			}
			if _, err := s.Write(buf[:size]); err != nil {
				return err
			}
			position += int64(size)
			offset += int64(count)
		}
	})
}

// Finish checks the whole file against what it should be, and syncs it. Then it
// is ready: for Open with a manifest that has it, or for Log.Install. If it is
// not as it should be, it is thrown away, and the error is store.ErrCorrupt.
func (s *Staged) Finish() error {
	fs := s.config.Files.fs
	index, err := s.check()
	if errors.Is(err, store.ErrCorrupt) {
		err = errors.Join(err, s.Close(), removeAny(fs, s.path(partSuffix)))
	}
	if err == nil {
		err = s.sync()
	}
	if err == nil {
		err = s.Close()
	}
	if err == nil {
		err = fs.Rename(s.path(partSuffix), s.path(fileSuffix))
	}
	if err == nil {
		err = writeIndex(fs, s.path(indexSuffix), s.config.ID, s.want, index)
	}
	if err == nil {
		err = fs.SyncDir(filepath.Join(s.config.Dir, stagingDir))
	}
	if err != nil {
		return s.failed(err)
	}
	return nil
}

// check goes through the file.
func (s *Staged) check() (*sparse, error) {
	path := s.path(partSuffix)
	if s.have != s.want.Bytes {
		return nil, fmt.Errorf("it has %d bytes of %d", s.have, s.want.Bytes)
	}
	lies, err := inspect(s.config.Files.fs, path, s.want.First)
	switch {
	case err != nil:
		return nil, err
	case lies.damage != nil:
		return nil, lies.damage
	case lies.header.id != s.config.ID:
		return nil, damage(path, 0, -1, fmt.Sprintf("it is of log %s, not %s", lies.header.id, s.config.ID))
	}
	scan := scanner{file: s.file, name: path, end: s.want.Bytes, data: true, hash: true, index: &sparse{}, state: lies.header.begin()}
	if err := scan.run(); err != nil {
		return nil, err
	}
	if scan.state != s.want {
		return nil, damage(path, 0, -1, fmt.Sprintf("it has other records: its hash is %s, it should be %s", scan.state.Hash, s.want.Hash))
	}
	return scan.index, nil
}

// Close lets go of the file. What was written stays, and Stage goes on with it.
func (s *Staged) Close() error {
	f := s.file
	if f == nil {
		return nil
	}
	s.file = nil
	return f.Close()
}

func (s *Staged) path(suffix string) string {
	return filepath.Join(s.config.Dir, stagingDir, fileName(s.want.First, suffix))
}

func (s *Staged) failed(err error) error {
	return fmt.Errorf("segment: fetch file of offset %d for %s: %w", s.want.First, s.config.Dir, err)
}

// ClearStaging removes all that was fetched for a log and not put in place.
func ClearStaging(c Config) error {
	staging := filepath.Join(c.Dir, stagingDir)
	names, err := c.Files.fs.List(staging)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("segment: clear %s: %w", staging, err)
	}
	for _, name := range names {
		if err := removeAny(c.Files.fs, filepath.Join(staging, name)); err != nil {
			return fmt.Errorf("segment: clear %s: %w", staging, err)
		}
	}
	return nil
}

// Install puts a file that was fetched in the place of the log's own, which is
// damaged. It must be full, and the one fetched the same by its hash; else the
// error is ErrNoFile. Reads under way see the old one.
func (l *Log) Install(want FileInfo) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()

	l.mu.RLock()
	failed := l.failed
	var f *file
	for _, g := range l.files[:max(0, len(l.files)-1)] {
		if g.info == want {
			f = g
		}
	}
	l.mu.RUnlock()
	if failed != nil {
		return failed
	}
	if f == nil {
		return fmt.Errorf("segment: install file of offset %d in %s: %w, full and with hash %s", want.First, l.config.Dir, ErrNoFile, want.Hash)
	}
	d, err := look(l.config.Files.fs, l.config.Dir, l.config.ID)
	if err == nil && !d.fetched(want) {
		err = fmt.Errorf("%w in the staging place", ErrNoFile)
	}
	if err == nil {
		err = d.install(want.First, true)
	}
	if err == nil {
		err = d.settle(want.First)
	}
	if err != nil {
		return fmt.Errorf("segment: install file of offset %d in %s: %w", want.First, l.config.Dir, err)
	}
	l.config.Files.drop(f, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch++ // a read that found damage tries again
	f.synced, f.index, f.whole = want, nil, false
	return nil
}
