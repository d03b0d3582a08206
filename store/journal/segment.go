package journal

import (
	"slices"
	"sync"

	"github.com/skeinmesh/skein/store"
)

// segment is one file of the journal.
type segment struct {
	sequence uint64
	name     string
	file     store.File

	// The set's lock guards the fields below; the writer alone changes end.
	end     int64 // bytes up to which it is synced
	live    int   // entries in it that a group keeps
	readers int   // how many read it now
	dropped bool  // no longer in the set; the last reader closes it
}

// segments are the files there are. All methods may be called concurrently.
type segments struct {
	mu   sync.Mutex // guards the list and what the segments say of it
	list []*segment // oldest first
}

// add puts a segment behind the others.
func (s *segments) add(seg *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, seg)
}

// find is the segment of this sequence, nil if there is none. The lock is held.
func (s *segments) find(sequence uint64) *segment {
	i, found := slices.BinarySearchFunc(s.list, sequence, func(seg *segment, want uint64) int {
		switch {
		case seg.sequence < want:
			return -1
		case seg.sequence > want:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return s.list[i]
}

// keep counts n more entries that live in a segment, or fewer.
func (s *segments) keep(sequence uint32, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seg := s.find(uint64(sequence)); seg != nil {
		seg.live += n
	}
}

// acquire is a segment to read from until release; nil if it is gone.
func (s *segments) acquire(sequence uint32) *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := s.find(uint64(sequence))
	if seg != nil {
		seg.readers++
	}
	return seg
}

func (s *segments) release(seg *segment) {
	s.mu.Lock()
	seg.readers--
	last := seg.dropped && seg.readers == 0
	s.mu.Unlock()
	if last {
		seg.file.Close()
	}
}

// dead is the oldest segment if nothing in it is needed, else nil. Only the
// oldest may go: what a segment says of deletions must outlive the segments with
// what was deleted. The newest stays in any case.
func (s *segments) dead() *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) < 2 || s.list[0].live > 0 {
		return nil
	}
	return s.list[0]
}

// grow counts n more bytes of a segment as synced.
func (s *segments) grow(seg *segment, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg.end += n
}

// drop takes the oldest segment out of the set and closes its file as soon as
// nobody reads it.
func (s *segments) drop() {
	s.mu.Lock()
	seg := s.list[0]
	s.list = slices.Delete(s.list, 0, 1)
	seg.dropped = true
	unread := seg.readers == 0
	s.mu.Unlock()
	if unread {
		seg.file.Close()
	}
}

// oldest is the sequence of the oldest segment and how many there are.
func (s *segments) oldest() (sequence uint64, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return 0, 0
	}
	return s.list[0].sequence, len(s.list)
}

// close closes all files. Nobody may read any more.
func (s *segments) close() {
	for {
		s.mu.Lock()
		none := len(s.list) == 0
		s.mu.Unlock()
		if none {
			return
		}
		s.drop()
	}
}
