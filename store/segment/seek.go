package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/skeinmesh/skein/store"
)

// OffsetAt is the first offset with that time, in nanoseconds since 1970, or a
// later one; Next if there is none.
func (l *Log) OffsetAt(time int64) (int64, error) {
	offset, err := l.offsetOf(func(files []*file) (int, sought) {
		i := sort.Search(len(files), func(i int) bool { return files[i].info.LastTime >= time })
		return i, sought{
			before: func(e entry) bool { return e.time < time },
			right:  func(_, _ int64, head []byte) bool { return headTime(head) >= time },
		}
	})
	if err != nil {
		return 0, fmt.Errorf("segment: find time %d in %s: %w", time, l.config.Dir, err)
	}
	return offset, nil
}

// OffsetWithin is the first offset from which on the log has no more than so many
// bytes in its files; Next if its last record alone has more.
func (l *Log) OffsetWithin(bytes int64) (int64, error) {
	offset, err := l.offsetOf(func(files []*file) (int, sought) {
		from := -bytes // where in a file what stays may begin
		for i := len(files) - 1; i >= 0; i-- {
			if from += files[i].info.Bytes; from > 0 {
				return i, sought{
					before: func(e entry) bool { return int64(e.position) < from },
					right:  func(_, position int64, _ []byte) bool { return position >= from },
					orEnd:  true,
				}
			}
		}
		return -1, sought{}
	})
	if err != nil {
		return 0, fmt.Errorf("segment: find the last %d bytes of %s: %w", bytes, l.config.Dir, err)
	}
	return offset, nil
}

// sought is the first record of a file that is right, or what follows the file if none
// is and orEnd is set. before holds for the entries of the index that are not behind it.
type sought struct {
	before func(entry) bool
	right  func(offset, position int64, head []byte) bool
	orEnd  bool
}

// offsetOf is the offset of what is sought in one of the files; Start if that has been
// trimmed. in says in which file, with mu held: before all of them is Start, behind them
// Next.
func (l *Log) offsetOf(in func(files []*file) (int, sought)) (int64, error) {
	for {
		l.mu.RLock()
		epoch, start, next, closed := l.epoch, l.start, l.next.Load(), l.closed()
		i, what := in(l.files)
		var f *file
		var info FileInfo
		if i >= 0 && i < len(l.files) {
			f, info = l.files[i], l.files[i].info
		}
		l.mu.RUnlock()
		switch {
		case closed:
			return 0, store.ErrClosed
		case i < 0 || f != nil && info.Next <= start:
			return start, nil
		case f == nil:
			return next, nil
		}
		offset, _, err := l.seek(f, info.Bytes, what)
		if err == nil {
			return max(offset, start), nil
		}
		if !l.changed(epoch, max(start, f.first)) {
			return 0, err
		}
	}
}

// locate is where in a file, of which so many bytes are written, the record of
// an offset begins.
func (l *Log) locate(f *file, end, offset int64) (position int64, err error) {
	if offset == f.first {
		return headerSize, nil
	}
	_, position, err = l.seek(f, end, sought{
		before: func(e entry) bool { return f.first+int64(e.relative) <= offset },
		right:  func(at, _ int64, _ []byte) bool { return at == offset },
	})
	if err != nil {
		return 0, fmt.Errorf("segment: find offset %d in %s: %w", offset, l.config.Dir, err)
	}
	return position, nil
}

// seekStep is how much is read at a time to find a record, in bytes.
const seekStep = 32 << 10

// seek finds what is sought in a file, beginning at the last entry of the index that
// is before it.
func (l *Log) seek(f *file, end int64, what sought) (offset, position int64, err error) {
	h, err := l.acquire(f, false)
	if err != nil {
		return 0, 0, err
	}
	defer l.config.Files.release(h)
	from, err := l.entryBefore(f, h, end, what.before)
	if err != nil {
		return 0, 0, err
	}
	buf := l.config.Files.buffer()
	defer l.config.Files.putBuffer(buf)
	s := scanner{file: h, name: l.path(f.first, fileSuffix), end: end, window: *buf, step: seekStep}
	s.state = FileInfo{First: f.first + int64(from.relative), Next: f.first + int64(from.relative), Bytes: int64(from.position)}
	defer func() { *buf = s.window }()
	for {
		offset, position = s.state.Next, s.state.Bytes
		head, _, err := s.next()
		if err == io.EOF && what.orEnd {
			return offset, position, nil
		}
		if err == io.EOF {
			return 0, 0, damage(s.name, position, offset, "the file ends before the record that should be in it")
		}
		if err != nil {
			return 0, 0, err
		}
		if what.right(offset, position, head) {
			return offset, position, nil
		}
	}
}

// Keys calls fn with the offset, time and key of the records from an offset on,
// in order, until it returns false. Data is not read where that saves anything.
func (l *Log) Keys(from int64, fn func(offset, time int64, key Key) bool) error {
	for {
		l.mu.RLock()
		f, end, err := l.readable(from)
		l.mu.RUnlock()
		if err != nil || f == nil {
			return err
		}
		next, err := l.keysOf(f, end, from, fn)
		if err != nil || next < 0 {
			return err
		}
		from = next
	}
}

// keysOf is Keys for one file. It returns the offset to go on with, or -1.
func (l *Log) keysOf(f *file, end, from int64, fn func(offset, time int64, key Key) bool) (int64, error) {
	position, err := l.locate(f, end, from)
	if err != nil {
		return 0, err
	}
	h, err := l.acquire(f, false)
	if errors.Is(err, os.ErrNotExist) && l.Start() > from {
		err = ErrTrimmed
	}
	if err != nil {
		return 0, fmt.Errorf("segment: read keys of %s at offset %d: %w", l.config.Dir, from, err)
	}
	defer l.config.Files.release(h)
	buf := l.config.Files.buffer()
	defer l.config.Files.putBuffer(buf)
	s := scanner{file: h, name: l.path(f.first, fileSuffix), end: end, window: *buf}
	s.state = FileInfo{First: from, Next: from, Bytes: position}
	defer func() { *buf = s.window }()
	for {
		offset := s.state.Next
		head, _, err := s.next()
		if err == io.EOF {
			return offset, nil
		}
		if err != nil {
			return 0, fmt.Errorf("segment: read keys of %s: %w", l.config.Dir, err)
		}
		if !fn(offset, headTime(head), Key(head[20:headSize])) {
			return -1, nil
		}
	}
}

// entryBefore is the last entry of a file's index that is before what is sought;
// end is the file's length. An index that is not in memory is read, and if that
// fails, made.
func (l *Log) entryBefore(f *file, h *handle, end int64, before func(entry) bool) (entry, error) {
	l.mu.RLock()
	if f.index != nil && f.whole {
		defer l.mu.RUnlock()
		return f.index.before(before), nil
	}
	written, info, epoch := f.index == nil, f.info, l.epoch
	l.mu.RUnlock()
	if !written {
		x, err := l.makeIndex(f, h, end)
		if err != nil {
			return entry{}, err
		}
		l.complete(f, x, end, epoch)
		return x.before(before), nil
	}
	x := h.index.Load()
	if x == nil {
		var err error
		if x, err = l.loadIndex(f, h, info); err != nil {
			return entry{}, err
		}
		h.index.Store(x)
	}
	return x.before(before), nil
}

// loadIndex reads the index of a file that is no longer written. If it is
// damaged it is made anew and written; should that fail, the next to need it
// tries again.
func (l *Log) loadIndex(f *file, h *handle, info FileInfo) (*sparse, error) {
	fs, path := l.config.Files.fs, l.path(f.first, indexSuffix)
	if of, x, err := readIndex(fs, path, l.config.ID); err == nil && of == info {
		return x, nil
	}
	x, err := l.makeIndex(f, h, info.Bytes)
	if err != nil {
		return nil, err
	}
	_ = writeIndex(fs, path, l.config.ID, info, x)
	return x, nil
}

// makeIndex makes the index of the first so many bytes of a file.
func (l *Log) makeIndex(f *file, h *handle, end int64) (*sparse, error) {
	buf := l.config.Files.buffer()
	defer l.config.Files.putBuffer(buf)
	s := scanner{file: h, name: l.path(f.first, fileSuffix), end: end, index: &sparse{}, window: *buf}
	s.state = FileInfo{First: f.first, Next: f.first, Bytes: headerSize}
	defer func() { *buf = s.window }()
	if err := s.run(); err != nil {
		return nil, err
	}
	return s.index.clone(), nil
}

// complete puts what an index lacked of a file's first so many bytes before what
// was appended since the log was opened.
func (l *Log) complete(f *file, x *sparse, end int64, epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch != epoch || f.index == nil || f.whole {
		return
	}
	whole := x.clone()
	for _, e := range f.index.entries {
		if int64(e.position) >= end {
			whole.entries = append(whole.entries, e)
		}
	}
	whole.mark = max(whole.mark, f.index.mark)
	f.index, f.whole = whole, true
}
