package segment

import (
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/skeinmesh/skein/store"
)

// Batch is a run of records, each checked. They share one piece of memory.
type Batch struct {
	first int64
	count int
	raw   []byte
}

// First is the offset of the first record.
func (b Batch) First() int64 { return b.first }

// Next is the offset after the last record.
func (b Batch) Next() int64 { return b.first + int64(b.count) }

// Len is the number of records.
func (b Batch) Len() int { return b.count }

// Records are the records and their offsets. Their data lies in the batch's memory.
func (b Batch) Records() iter.Seq2[int64, Record] {
	return func(yield func(int64, Record) bool) {
		raw := b.raw
		for i := range b.count {
			end := headSize + dataSize(raw)
			if !yield(b.first+int64(i), record(raw[:headSize], raw[headSize:end:end])) {
				return
			}
			raw = raw[end:]
		}
	}
}

func record(head, data []byte) Record {
	return Record{Time: headTime(head), Key: Key(head[20:headSize]), Data: data}
}

// Reader reads a log from an offset on. It remembers where it is, so that
// reading on costs no search. It is small, needs no closing, and is for one
// goroutine at a time.
type Reader struct {
	log    *Log
	offset int64

	file     *file // where position is; nil if it is not known
	position int64
	epoch    uint64
}

// Reader returns a reader from an offset on.
func (l *Log) Reader(offset int64) *Reader { return &Reader{log: l, offset: offset} }

// Offset is that of the record that is read next.
func (r *Reader) Offset() int64 { return r.offset }

// Read reads the records that fit into buf, in one go from one file, and checks
// them. The batch lies in buf, or in memory of its own if the first record is
// larger than buf. It is empty at the end of the log. The error is ErrTrimmed,
// ErrAhead, store.ErrCorrupt, store.ErrClosed or the disk's; the reader then
// stays where it was.
func (r *Reader) Read(buf []byte) (Batch, error) {
	for {
		b, epoch, err := r.read(buf)
		if err == nil {
			return b, nil
		}
		// What was cut off or removed meanwhile looks damaged or missing.
		if !r.log.changed(epoch, r.offset) || errors.Is(err, ErrTrimmed) || errors.Is(err, ErrAhead) || errors.Is(err, store.ErrClosed) {
			return Batch{}, err
		}
		r.file = nil
	}
}

// changed reports whether the files that hold an offset may have been changed
// since an epoch.
func (l *Log) changed(epoch uint64, offset int64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.epoch != epoch || offset < l.start
}

func (r *Reader) read(buf []byte) (b Batch, epoch uint64, err error) {
	l := r.log
	l.mu.RLock()
	epoch = l.epoch
	f, end, err := l.readable(r.offset)
	if err == nil && f != nil && (r.file == nil || r.epoch != epoch || r.file != f && r.offset != f.first) {
		l.mu.RUnlock()
		position, err := l.locate(f, end, r.offset)
		if err != nil {
			return b, epoch, err
		}
		r.file, r.position, r.epoch = f, position, epoch
	} else {
		l.mu.RUnlock()
	}
	if err != nil || f == nil {
		return Batch{first: r.offset}, epoch, err
	}
	if r.file != f {
		r.file, r.position = f, headerSize
	}

	h, err := l.acquire(f, false)
	if err != nil {
		return b, epoch, fmt.Errorf("segment: read %s at offset %d: %w", l.config.Dir, r.offset, err)
	}
	defer l.config.Files.release(h)
	b, err = l.readBatch(h, f.first, r.offset, r.position, end, buf)
	if err != nil {
		return b, epoch, err
	}
	r.offset += int64(b.count)
	r.position += int64(len(b.raw))
	return b, epoch, nil
}

// readable is the file that has an offset, and its length, or nil if the offset
// is the next; mu must be held.
func (l *Log) readable(offset int64) (f *file, end int64, err error) {
	switch next := l.next.Load(); {
	case l.closed():
		return nil, 0, l.failed
	case offset < l.start:
		return nil, 0, fmt.Errorf("segment: read %s at offset %d: %w: it starts at %d", l.config.Dir, offset, ErrTrimmed, l.start)
	case offset > next:
		return nil, 0, fmt.Errorf("segment: read %s at offset %d: %w: it ends at %d", l.config.Dir, offset, ErrAhead, next)
	case offset == next:
		return nil, 0, nil
	}
	f, _ = l.find(offset)
	return f, f.info.Bytes, nil
}

// readBatch reads and checks records from a position of a file on.
func (l *Log) readBatch(file io.ReaderAt, first, offset, position, end int64, buf []byte) (Batch, error) {
	failed := func(err error) (Batch, error) {
		return Batch{}, fmt.Errorf("segment: read %s at offset %d: %w", l.config.Dir, offset, err)
	}
	damaged := func(position, offset int64, what string) (Batch, error) {
		return failed(damage(l.path(first, fileSuffix), position, offset, what))
	}
	for {
		want := min(int64(len(buf)), end-position)
		n, err := file.ReadAt(buf[:want], position)
		switch {
		case int64(n) < want && err != nil && !errors.Is(err, io.EOF):
			return failed(err)
		case int64(n) < want:
			return damaged(position+int64(n), -1, "the file is cut short")
		}
		count, size, need, reason := checkRun(buf[:n], offset)
		switch {
		case reason != "" && count == 0:
			return damaged(position, offset, reason)
		case count > 0:
			return Batch{first: offset, count: count, raw: buf[:size]}, nil
		case position+int64(need) > end:
			return damaged(position, offset, "it ends beyond the file's end")
		}
		buf = make([]byte, need)
	}
}

// checkRun checks the whole records at the beginning of b, which is that of an
// offset: how many there are and their size, up to the first that is wrong, and
// why it is. If there is none, need is the size of the first, as far as it can
// be seen.
func checkRun(b []byte, offset int64) (count, size, need int, reason string) {
	for {
		rest := b[size:]
		if len(rest) < headSize {
			return count, size, headSize, ""
		}
		if reason := checkHead(offset+int64(count), rest); reason != "" {
			return count, size, 0, reason
		}
		n := headSize + dataSize(rest)
		if len(rest) < n {
			return count, size, n, ""
		}
		if reason := checkData(rest, rest[headSize:n]); reason != "" {
			return count, size, 0, reason
		}
		count++
		size += n
	}
}
