package node

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/skeinmesh/skein/gossip/fact"
	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/transport/peer"
)

// A region tells the mesh of each stream that it owns by a fact of its own. There may
// be thousands, so what is told, and what is done about what others tell, is what has
// changed.

// streamFact is a stream as others are told of it.
type streamFact struct {
	version uint64
	text    string
}

// own makes a fact of a stream that the region owns, which this node has heard from
// its region, or takes it back. s.mu is held.
func (s *streams) own(m *replication.Member, id meta.ID) {
	was, told := s.facts[id]
	d, there := m.Meta().Stream(id)
	if told && there && was.version == d.Version {
		return
	}
	if told {
		s.sayAs(was.text, false)
		delete(s.facts, id)
	}
	if !there {
		return
	}
	text, err := factText(&d)
	if err == nil && len(text) > fact.MaxEntry { // made before that was refused
		err = fact.ErrTooLarge
	}
	if err != nil {
		s.n.log.Error("a stream cannot be told to other regions", "stream", d.Name, "err", err)
		return
	}
	s.facts[id] = streamFact{d.Version, text}
	s.sayAs(text, true)
}

// factText is a stream as its fact has it.
func factText(d *meta.Stream) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // which would make six bytes of some
	err := e.Encode(d)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// checkTellable reports a definition that is too large for other regions to be told.
func checkTellable(d *meta.Definition, owner string) error {
	now := time.Now()
	longest := meta.Stream{
		Definition: *d, Owner: owner, OwnerEpoch: math.MaxUint64, Version: math.MaxUint64, Created: now,
		Tombstone: &meta.Tombstone{At: now, By: strings.Repeat("x", 64)},
	}
	text, err := factText(&longest)
	if over := len(text) - fact.MaxEntry; err == nil && over > 0 {
		err = fmt.Errorf("%w: stream %s: other regions can be told of %d bytes, and its definition has %d: make its filter shorter",
			meta.ErrInvalid, d.Name, fact.MaxEntry, len(text))
	}
	return err
}

// sayAs notes that a fact is to be said, or is over. s.mu is held.
func (s *streams) sayAs(text string, is bool) {
	if s.saying == nil {
		s.saying = map[string]bool{}
	}
	if was, waits := s.saying[text]; waits && was != is {
		delete(s.saying, text) // others have not heard of it meanwhile
	} else {
		s.saying[text] = is
	}
	s.sayNow = true
}

// spoken reports whether the region has told which streams it owns.
func (s *streams) spoken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saying != nil
}

// news are the facts about the region's streams that are new, and those that are over,
// since the last call: the spreader says them. spoken is what it was then.
func (s *streams) news() (adds, removes []string, spoken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.sayNow {
		return nil, nil, s.saying != nil
	}
	for text, is := range s.saying {
		if is {
			adds = append(adds, text)
		} else {
			removes = append(removes, text)
		}
	}
	clear(s.saying)
	s.sayNow = false
	return adds, removes, true
}

// unsaid takes back news that could not be said: they are said with what is new next.
func (s *streams) unsaid(adds, removes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.sayNow
	for _, text := range adds {
		s.sayAs(text, true)
	}
	for _, text := range removes {
		s.sayAs(text, false)
	}
	s.sayNow = now
}

// tale is what a node of another region tells of a stream: an entry of its facts.
type tale struct {
	by    peer.ID
	entry string
}

// hear takes what a node of another region tells of that region's streams.
func (s *streams) hear(owner peer.ID, adds, removes []string, all bool) {
	s.mu.Lock()
	have := s.told[owner]
	if have == nil {
		have = map[string]meta.Stream{}
		s.told[owner] = have
	}
	if all {
		stays := make(map[string]bool, len(adds))
		for _, e := range adds {
			stays[e] = true
		}
		for e := range have {
			if !stays[e] {
				s.unhear(owner, e)
			}
		}
	}
	for _, e := range removes {
		s.unhear(owner, e)
	}
	for _, e := range adds {
		if _, there := have[e]; there {
			continue
		}
		var d meta.Stream
		if err := json.Unmarshal([]byte(e), &d); err != nil {
			s.n.log.Error("a stream of another region cannot be read", "peer", owner, "err", err)
			continue
		}
		have[e] = d
		s.tales[d.UUID] = append(s.tales[d.UUID], tale{owner, e})
		s.stale[d.UUID] = true
	}
	s.mu.Unlock()
	s.changed()
}

// unhear forgets what somebody told. s.mu is held.
func (s *streams) unhear(owner peer.ID, entry string) {
	d, there := s.told[owner][entry]
	if !there {
		return
	}
	delete(s.told[owner], entry)
	rest := slices.DeleteFunc(s.tales[d.UUID], func(t tale) bool { return t.by == owner && t.entry == entry })
	if s.tales[d.UUID] = rest; len(rest) == 0 {
		delete(s.tales, d.UUID)
	}
	s.stale[d.UUID] = true
}

// foreign is a stream of another region as it was defined last, as its region told, or
// as this one remembers it. s.mu is held.
func (s *streams) foreign(m *replication.Member, id meta.ID) (latest meta.Stream, known bool) {
	if a, assigned := m.Meta().Assignment(id); assigned && a.Foreign != nil {
		latest, known = *a.Foreign, true
	}
	for _, t := range s.tales[id] {
		if d := s.told[t.by][t.entry]; !known || d.Newer(latest) {
			latest, known = d, true
		}
	}
	return latest, known
}
