package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"time"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/store"
)

// A node that starts knows its region's metadata only once somebody leads it, and
// the streams of other regions once it hears of them. What is published at it before
// must be kept all the same, so it remembers what it knew when it stopped. Absence
// deletes nothing: a remembered stream is forgotten when those who own it have
// spoken and do not have it.

// remembered is a stream as this node knew it.
type remembered struct {
	Stream     meta.Stream `json:"stream"`
	Partitions []uint32    `json:"partitions,omitempty"` // of this region, if it keeps the stream
}

// memoryBody is the file of them. Before there was a format, it was the list alone.
type memoryBody struct {
	Format  int             `json:"format"`
	Sum     uint32          `json:"crc32c"` // of streams, as they lie there
	Streams json.RawMessage `json:"streams"`
}

const (
	memoryFile   = "streams.json"
	memoryFormat = 1
	// writeEvery is how often what has changed is written, so that making many
	// streams does not write all of them for each.
	writeEvery = time.Second
)

// recall reads what the node knew.
func (s *streams) recall() error {
	b, err := os.ReadFile(s.n.state.path(memoryFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var list []remembered
	if err == nil {
		list, err = parseMemory(b)
	}
	if errors.Is(err, store.ErrNewer) {
		return fmt.Errorf("node: %s: %w", s.n.state.path(memoryFile), err)
	}
	if err != nil {
		return fmt.Errorf("node: %s is damaged (restore it, or remove it: then what is published here before the streams are known again is not kept): %w", s.n.state.path(memoryFile), err)
	}
	for _, r := range list {
		s.memory[r.Stream.UUID] = r
	}
	return nil
}

func parseMemory(b []byte) (list []remembered, err error) {
	if bytes.HasPrefix(b, []byte("[")) {
		err = json.Unmarshal(b, &list)
		return list, err
	}
	var m memoryBody
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	if m.Format > memoryFormat {
		return nil, fmt.Errorf("format %d, this one knows up to %d: %w", m.Format, memoryFormat, store.ErrNewer)
	}
	if m.Sum != crc32.Checksum(m.Streams, crc32.MakeTable(crc32.Castagnoli)) {
		return nil, fmt.Errorf("its checksum is wrong: %w", store.ErrCorrupt)
	}
	err = json.Unmarshal(m.Streams, &list)
	return list, err
}

func formatMemory(list []remembered) ([]byte, error) {
	b, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	return json.Marshal(memoryBody{memoryFormat, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)), b})
}

// recalled adds to the streams that are known those that are remembered, and whose
// owners have not spoken yet. s.mu is held.
func (s *streams) recalled(m *replication.Member, known map[meta.ID]meta.Stream) {
	heard := map[string]bool{s.n.self.Region: m.Current()}
	for id := range s.told {
		if p, there := s.n.graph.Peer(id); there {
			heard[p.Region] = true
		}
	}
	for id, r := range s.memory {
		if _, there := known[id]; !there && !heard[r.Stream.Owner] {
			known[id] = r.Stream
		}
	}
}

// assigned are the partitions of this region that keep a stream, if it does.
func (s *streams) assigned(m *replication.Member, id meta.ID) ([]uint32, bool) {
	if a, known := m.Meta().Assignment(id); known {
		return a.Partitions, true
	}
	r := s.memory[id]
	return r.Partitions, len(r.Partitions) > 0 && !m.Current()
}

// remember notes what is known now, to be written by record. s.mu is held.
func (s *streams) remember(now map[meta.ID]remembered) {
	same := len(now) == len(s.memory)
	for id, r := range now {
		was, there := s.memory[id]
		same = same && there && was.Stream.Version == r.Stream.Version && slices.Equal(was.Partitions, r.Partitions)
	}
	s.memory = now
	s.unwritten = s.unwritten || !same
}

// record writes what is to be remembered, if that has changed.
func (s *streams) record() {
	s.mu.Lock()
	list := []remembered{}
	for _, r := range s.memory {
		list = append(list, r)
	}
	due := s.unwritten
	s.unwritten = false
	s.mu.Unlock()
	if !due {
		return
	}
	slices.SortFunc(list, func(a, b remembered) int { return slices.Compare(a.Stream.UUID[:], b.Stream.UUID[:]) })
	b, err := formatMemory(list)
	if err == nil {
		err = store.ReplaceFile(s.n.state.path(memoryFile), b)
	}
	if err != nil {
		s.n.log.Error("what streams there are could not be written down: after a restart they are known late", "err", err)
	}
}
