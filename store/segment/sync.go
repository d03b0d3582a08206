package segment

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/skeinmesh/skein/store"
)

// Sync puts on the disk what was appended before it began. Appends and reads go
// on meanwhile. If nothing was appended since the last, it does nothing. An
// error fails the log for good, but for store.ErrFull: what was to be written is
// in memory then, and a later Sync may do better.
func (l *Log) Sync() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()

	type target struct {
		file *file
		info FileInfo // what is to be on the disk
		full bool     // no more is written to it
	}
	var targets []target
	l.mu.RLock()
	failed, names, epoch := l.failed, l.newNames, l.epoch
files:
	for i, f := range slices.Backward(l.files) {
		full := i < len(l.files)-1
		switch clean := f.synced.Bytes == f.info.Bytes; {
		case clean && !full:
			continue
		case clean && f.index == nil: // and so are those before
			break files
		}
		targets = append(targets, target{f, f.info, full})
	}
	l.mu.RUnlock()
	if failed != nil {
		return failed
	}
	if len(targets) == 0 && !names {
		return nil
	}

	for _, t := range slices.Backward(targets) {
		if err := l.writeFile(t.file, t.info.Bytes); store.IsFull(err) {
			return fmt.Errorf("segment: sync %s: %w", l.config.Dir, full(err))
		} else if err != nil {
			return l.fail("sync", err)
		}
		if err := l.syncFile(t.file, t.info); err != nil {
			return l.fail("sync", err)
		}
		if !t.full {
			continue
		}
		switch err := l.saveIndex(t.file, t.info, epoch); {
		case store.IsFull(err): // it stays in memory, and the next Sync tries again
		case err != nil:
			return l.fail("sync", err)
		}
	}
	l.mu.Lock()
	names, l.newNames = l.newNames, false
	l.mu.Unlock()
	if !names {
		return nil
	}
	if err := l.config.Files.fs.SyncDir(l.config.Dir); err != nil {
		return l.fail("sync", err)
	}
	return nil
}

// syncFile syncs a file, and notes that what it is said to have is on the disk.
// The kernel tells an error of writing back to whoever syncs the file next, so
// that it may have been closed and opened since it was written.
func (l *Log) syncFile(f *file, info FileInfo) error {
	h, err := l.acquire(f, false)
	if err != nil {
		return err
	}
	defer l.config.Files.release(h)
	if err := h.Sync(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f.synced = info
	return nil
}

// saveIndex writes the index of a file that is synced and full, and lets go of
// it in memory.
func (l *Log) saveIndex(f *file, info FileInfo, epoch uint64) error {
	l.mu.RLock()
	x, whole := f.index, f.whole
	l.mu.RUnlock()
	if x == nil {
		return nil
	}
	if !whole {
		h, err := l.acquire(f, false)
		if err != nil {
			return err
		}
		x, err = l.makeIndex(f, h, info.Bytes)
		l.config.Files.release(h)
		if errors.Is(err, store.ErrCorrupt) {
			return nil // the data is damaged: its readers and the scrubber say so
		}
		if err != nil {
			return err
		}
	}
	if err := writeIndex(l.config.Files.fs, l.path(f.first, indexSuffix), l.config.ID, info, x); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f.index, f.whole = nil, false
	l.newNames = true
	return nil
}

// SyncAll syncs logs, at most so many at a time: disks sync many files at once
// nearly as fast as one. Those to which nothing was appended cost nothing. It
// returns all errors; a log that fails does not keep the others from being
// synced.
func SyncAll(logs []*Log, parallel int) error {
	var (
		wg   sync.WaitGroup
		next atomic.Int64
		errs = make([]error, max(1, min(parallel, len(logs))))
	)
	for i := range errs {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < int64(len(logs)); n = next.Add(1) - 1 {
				errs[i] = errors.Join(errs[i], logs[n].Sync())
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
