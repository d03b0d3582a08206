package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/notes"
)

// A node that starts knows its region's metadata only once somebody leads it, and
// the streams of other regions once it hears of them. What is published at it before
// must be kept all the same, so it has on its disk what it knows, and says that it
// knows a stream only then. Absence deletes nothing: a remembered stream is
// forgotten when those who own it have spoken and do not have it.

// remembered is a stream as this node knew it.
type remembered struct {
	Stream     meta.Stream `json:"stream"`
	Partitions []uint32    `json:"partitions,omitempty"` // of this region, if it keeps the stream
}

// memoryBody is what they were in before there were notes, and before there was a
// format the list alone.
type memoryBody struct {
	Format  int             `json:"format"`
	Sum     uint32          `json:"crc32c"` // of streams, as they lie there
	Streams json.RawMessage `json:"streams"`
}

const (
	memoryFile = "streams.notes"
	// memoryBefore is where streams were remembered before that, as one list.
	memoryBefore       = "streams.json"
	memoryBeforeFormat = 1
)

// recall reads what the node knew. s.mu is held.
func (s *streams) recall(fs store.FS) (err error) {
	if s.book, err = notes.Open(fs, s.n.state.path(memoryFile)); err != nil {
		return fmt.Errorf("node: the streams that were known: %w", err)
	}
	if err := s.book.Damaged(); err != nil {
		s.n.log.Error("some of the streams that were known cannot be read: they are known once the regions tell of them", "err", err)
	}
	for key, value := range s.book.All() {
		var r remembered
		if err := json.Unmarshal(value, &r); err != nil {
			return fmt.Errorf("node: the stream that was known as %s: %w", key, err)
		}
		s.memory[r.Stream.UUID] = r
	}
	return s.recallBefore()
}

// recallBefore takes over what an earlier version has written.
func (s *streams) recallBefore() error {
	old := s.n.state.path(memoryBefore)
	b, err := os.ReadFile(old)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var list []remembered
	if err == nil {
		list, err = parseMemory(b)
	}
	if errors.Is(err, store.ErrNewer) {
		return fmt.Errorf("node: %s: %w", old, err)
	}
	for _, r := range list {
		if _, there := s.memory[r.Stream.UUID]; !there {
			s.memory[r.Stream.UUID], s.unwritten[r.Stream.UUID] = r, true
		}
	}
	if err == nil {
		err = s.book.Write(s.changes())
	}
	if err == nil {
		clear(s.unwritten)
		err = os.Remove(old)
	}
	if err != nil {
		return fmt.Errorf("node: %s is damaged (restore it, or remove it: then what is published here before the streams are known again is not kept): %w", old, err)
	}
	return nil
}

// parseMemory reads what an earlier version has written.
func parseMemory(b []byte) (list []remembered, err error) {
	if bytes.HasPrefix(b, []byte("[")) {
		err = json.Unmarshal(b, &list)
		return list, err
	}
	var m memoryBody
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	if m.Format > memoryBeforeFormat {
		return nil, fmt.Errorf("format %d, this one knows up to %d: %w", m.Format, memoryBeforeFormat, store.ErrNewer)
	}
	if m.Sum != crc32.Checksum(m.Streams, crc32.MakeTable(crc32.Castagnoli)) {
		return nil, fmt.Errorf("its checksum is wrong: %w", store.ErrCorrupt)
	}
	err = json.Unmarshal(m.Streams, &list)
	return list, err
}

// assigned are the partitions of this region that keep a stream, and whether they are
// still to be chosen. s.mu is held.
func (s *streams) assigned(m *replication.Member, id meta.ID) (partitions []uint32, missing bool) {
	if a, known := m.Meta().Assignment(id); known {
		return a.Partitions, false
	}
	r := s.memory[id]
	return r.Partitions, len(r.Partitions) == 0 || m.Current()
}

// remember notes what is known of a stream now, to be written by record. s.mu is held.
func (s *streams) remember(id meta.ID, r remembered) {
	was, there := s.memory[id]
	if !there || was.Stream.Version != r.Stream.Version || was.Stream.OwnerEpoch != r.Stream.OwnerEpoch || !slices.Equal(was.Partitions, r.Partitions) {
		s.unwritten[id] = true
	}
	s.memory[id] = r
}

// forget is remember for a stream that is there no more. s.mu is held.
func (s *streams) forget(id meta.ID) {
	if _, there := s.memory[id]; there {
		s.unwritten[id] = true
		delete(s.memory, id)
	}
}

// changes is what has to be written. s.mu is held.
func (s *streams) changes() (list []notes.Note) {
	for id := range s.unwritten {
		n := notes.Note{Key: id.String()}
		if r, there := s.memory[id]; there {
			var err error
			if n.Value, err = json.Marshal(r); err != nil {
				s.n.log.Error("a stream cannot be written down", "stream", r.Stream.Name, "err", err)
				continue
			}
		}
		list = append(list, n)
	}
	return list
}

// record writes what is to be remembered and is not written yet: one sync for all
// that has changed since the last. It reports whether all is. Only follow calls it.
func (s *streams) record() bool {
	s.mu.Lock()
	due := s.changes()
	s.mu.Unlock()
	if len(due) == 0 {
		return true
	}
	if err := s.book.Write(due); err != nil {
		s.n.log.Error("what streams there are could not be written down: this node does not say that it knows them", "err", err)
		return errors.Is(err, store.ErrFailed) // then there is no use in trying again
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.unwritten) // only follow adds to it
	return true
}

func (s *streams) closeBook() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.book == nil {
		return
	}
	if err := s.book.Close(); err != nil {
		s.n.log.Warn("the file of known streams was closed with an error", "err", err)
	}
}
