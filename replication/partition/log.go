package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/skeinmesh/skein/store/segment"
)

// Log is what the partition keeps of one stream. Any number of goroutines may
// read it.
type Log struct {
	id LogID

	// Apply's alone.
	settings Window
	window   *window // nil until it is needed
	records  []segment.Record
	start    int64 // of seg while there are records
	next     int64 // of seg, before them

	unwritten bool // it is among the partition's

	mu    sync.Mutex // guards the fields below
	seg   *segment.Log
	birth uint64
	gone  bool
	moved chan struct{} // closed when there is more; nil while nobody waits
}

// ErrGone: the log was dropped, or is not here.
var ErrGone = errors.New("partition: there is no such log")

func (l *Log) segment() *segment.Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seg
}

// born tells the log from others of the same name.
func (l *Log) born() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.birth
}

// ID is the log's.
func (l *Log) ID() LogID { return l.id }

// Start is the first offset that can be read.
func (l *Log) Start() int64 { return l.segment().Start() }

// Next is the offset that the next record gets.
func (l *Log) Next() int64 { return l.segment().Next() }

// OffsetAt is the first offset with that time, in nanoseconds since 1970, or a
// later one; Next if there is none.
func (l *Log) OffsetAt(time int64) (int64, error) { return l.segment().OffsetAt(time) }

// OffsetWithin is the first offset from which on the log has no more than so many
// bytes.
func (l *Log) OffsetWithin(bytes int64) (int64, error) { return l.segment().OffsetWithin(bytes) }

// Reader reads from an offset on; see segment.Reader. When reading ends with
// store.ErrClosed the replica has taken over another's log: a new Reader goes on.
func (l *Log) Reader(offset int64) *segment.Reader { return l.segment().Reader(offset) }

// Files is what the log consists of; see segment.Log.
func (l *Log) Files() []segment.FileInfo { return l.segment().Files() }

// Wait waits until the log has a record at an offset. The error is ctx's, or
// ErrGone once the log was dropped.
func (l *Log) Wait(ctx context.Context, offset int64) error {
	for {
		l.mu.Lock()
		if l.gone {
			l.mu.Unlock()
			return ErrGone
		}
		if l.seg.Next() > offset {
			l.mu.Unlock()
			return nil
		}
		if l.moved == nil {
			l.moved = make(chan struct{})
		}
		moved := l.moved
		l.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stir wakes whoever waits.
func (l *Log) stir() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moved != nil {
		close(l.moved)
		l.moved = nil
	}
}

// end closes the log for good.
func (l *Log) end() error {
	l.mu.Lock()
	l.gone = true
	seg := l.seg
	l.mu.Unlock()
	l.stir()
	return seg.Close()
}

// replace puts other contents in the place of those that were closed.
func (l *Log) replace(seg *segment.Log, birth uint64) {
	l.mu.Lock()
	l.seg, l.birth = seg, birth
	l.mu.Unlock()
	l.window = nil
	l.stir()
}

// take adds a record to those that flush appends, unless it is a duplicate.
func (l *Log) take(now int64, s *setting, a *appended) (Appended, error) {
	if l.window == nil || l.settings != s.window {
		if err := l.flush(); err != nil {
			return Appended{}, err
		}
		w, err := openWindow(l.seg, s.window)
		if err != nil {
			return Appended{}, fmt.Errorf("partition: remember the records of log %s: %w", l.id, err)
		}
		l.window, l.settings = w, s.window
	}
	if len(l.records) == 0 {
		l.start, l.next = l.seg.Start(), l.seg.Next() // which only Apply changes
	}
	l.window.limit(l.start, now, s.window)
	if offset, known := l.window.find(a.key); known {
		return Appended{Offset: offset, Duplicate: true}, nil
	}
	offset := l.next + int64(len(l.records))
	l.records = append(l.records, segment.Record{Time: now, Key: a.key, Data: a.data})
	l.window.add(offset, now, a.key)
	return Appended{Offset: offset}, nil
}

// flush appends what was taken.
func (l *Log) flush() error {
	if len(l.records) == 0 {
		return nil
	}
	if _, err := l.seg.Append(l.records); err != nil {
		return err
	}
	clear(l.records)
	l.records = l.records[:0]
	l.stir()
	return nil
}
