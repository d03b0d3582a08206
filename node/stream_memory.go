package node

import (
	"encoding/json"
	"errors"
	"fmt"
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

const (
	memoryFile = "streams.json"
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
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return fmt.Errorf("node: the streams that were known: %w", err)
	}
	for _, r := range list {
		s.memory[r.Stream.UUID] = r
	}
	return nil
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
	b, err := json.Marshal(list)
	if err == nil {
		err = store.ReplaceFile(s.n.state.path(memoryFile), b)
	}
	if err != nil {
		s.n.log.Error("what streams there are could not be written down: after a restart they are known late", "err", err)
	}
}
