package segment

import (
	"errors"
	"fmt"
)

// TruncateTo drops the records from an offset on, so that it is the next. It
// goes no lower than Start. A manifest that has more cannot be opened after
// that. If it fails on the disk, the log has failed.
func (l *Log) TruncateTo(next int64) error {
	l.appending.Lock()
	defer l.appending.Unlock()
	l.syncing.Lock()
	defer l.syncing.Unlock()

	l.mu.RLock()
	failed, start, end := l.failed, l.start, l.next.Load()
	keep := len(l.files)
	for keep > 0 && l.files[keep-1].first >= next {
		keep--
	}
	files := l.files
	l.mu.RUnlock()
	switch {
	case failed != nil:
		return failed
	case next < start:
		return fmt.Errorf("segment: truncate %s to offset %d: %w: it starts at %d", l.config.Dir, next, ErrTrimmed, start)
	case next > end:
		return fmt.Errorf("segment: truncate %s to offset %d: %w: it ends at %d", l.config.Dir, next, ErrAhead, end)
	case next == end:
		return nil
	}

	var last *file
	var info FileInfo
	index := &sparse{}
	if keep > 0 {
		last = files[keep-1]
		var err error
		if info, err = l.prefix(last, next, index); err != nil {
			return fmt.Errorf("segment: truncate %s to offset %d: %w", l.config.Dir, next, err)
		}
	}
	gone := files[keep:]
	time := info.LastTime
	if last == nil {
		time = gone[0].floor
	}

	l.mu.Lock()
	l.epoch++
	l.files = append([]*file(nil), files[:keep]...)
	l.lastTime = time
	l.next.Store(next)
	if last != nil {
		last.info, last.index, last.whole = info, index, true
		if last.synced.Bytes > info.Bytes {
			last.synced = info
		}
	}
	l.mu.Unlock()

	// The last goes first: a crash in between leaves no hole.
	fs := l.config.Files.fs
	for i := len(gone) - 1; i >= 0; i-- {
		l.forget(gone[i])
		err := errors.Join(removeAny(fs, l.path(gone[i].first, indexSuffix)), removeAny(fs, l.path(gone[i].first, fileSuffix)))
		if err != nil {
			return l.fail("truncate", err)
		}
	}
	if len(gone) > 0 {
		if err := fs.SyncDir(l.config.Dir); err != nil {
			return l.fail("truncate", err)
		}
	}
	l.ragged = false
	if last == nil {
		return nil
	}
	if err := removeAny(fs, l.path(last.first, indexSuffix)); err != nil {
		return l.fail("truncate", err)
	}
	l.config.Files.drop(last, nil) // its handle may have the index that was removed
	if err := l.cut(last, info.Bytes); err != nil {
		return l.fail("truncate", err)
	}
	return nil
}

// prefix is what a file has below an offset, which is in it.
func (l *Log) prefix(f *file, next int64, index *sparse) (FileInfo, error) {
	h, err := l.acquire(f, false)
	if err != nil {
		return FileInfo{}, err
	}
	defer l.config.Files.release(h)
	l.mu.RLock()
	end := f.info.Bytes
	l.mu.RUnlock()
	s := scanner{file: h, name: l.path(f.first, fileSuffix), end: end, hash: true, index: index}
	s.state = header{id: l.config.ID, first: f.first, limit: f.limit, floor: f.floor}.begin()
	for s.state.Next < next {
		if _, _, err := s.next(); err != nil {
			return FileInfo{}, err
		}
	}
	return s.state, nil
}
