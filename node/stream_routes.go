package node

import (
	"bytes"
	"maps"
	"slices"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/routing/filter"
)

// Keeps reports whether there are streams, which publishing may have to wait for.
func (n *Node) Keeps() bool { return n.table.Keeps() }

// keeper is how a stream's events are kept. It is not changed once it is made.
type keeper struct {
	stream     meta.Stream
	partitions []uint32 // of this region, if it keeps the stream
	regions    []string // that keep it instead, if not
	// unassigned says that this region is to keep the stream and has not given it
	// its partitions yet: what is published for it cannot be kept until then.
	unassigned bool
	unreadable bool // its filter cannot be read here: it is not routed
}

func (k *keeper) same(as *keeper) bool {
	return k.stream.Version == as.stream.Version && k.stream.OwnerEpoch == as.stream.OwnerEpoch &&
		k.unassigned == as.unassigned && slices.Equal(k.partitions, as.partitions)
}

// update routes events to the streams that keep them, and tells of those that changed:
// those that the region owns to the mesh, and foreign ones to the region. It looks at
// the streams that have changed since the last update, or at all if other regions have
// told which they own than had then.
func (s *streams) update(m *replication.Member, heard map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setRoutes(m, heard)
}

// setRoutes is update; s.mu is held.
func (s *streams) setRoutes(m *replication.Member, heard map[string]bool) {
	var learn []meta.Stream
	for _, id := range s.due(m, heard) {
		s.rounds.looked++
		s.route(m, id, heard)
		if len(s.tales[id]) > 0 {
			d, _ := s.foreign(m, id)
			learn = append(learn, d)
		}
		if heard[s.n.self.Region] {
			s.own(m, id)
		}
	}
	if heard[s.n.self.Region] && s.saying == nil {
		s.saying = map[string]bool{}
	}
	m.Learn(learn)
}

// due are the streams that an update looks at. s.mu is held.
func (s *streams) due(m *replication.Member, heard map[string]bool) []meta.ID {
	ids, at, all := m.Meta().ChangedStreams(s.seen)
	ids = slices.AppendSeq(ids, maps.Keys(s.stale))
	if s.heardThen == nil || !maps.Equal(heard, s.heardThen) {
		all = true
	}
	if all {
		ids = s.everything(m)
	}
	s.seen, s.heardThen = at, heard
	clear(s.stale)
	slices.SortFunc(ids, func(a, b meta.ID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}

// everything are the streams of which anything is known, some of them twice. s.mu is
// held.
func (s *streams) everything(m *replication.Member) (ids []meta.ID) {
	ids = m.Meta().KnownStreams()
	ids = slices.AppendSeq(ids, maps.Keys(s.tales))
	ids = slices.AppendSeq(ids, maps.Keys(s.memory))
	ids = slices.AppendSeq(ids, maps.Keys(s.keepers))
	ids = slices.AppendSeq(ids, maps.Keys(s.ended))
	return slices.AppendSeq(ids, maps.Keys(s.facts))
}

// definition is a stream as it is known here now. s.mu is held.
func (s *streams) definition(m *replication.Member, id meta.ID, heard map[string]bool) (meta.Stream, bool) {
	if d, known := s.foreign(m, id); known {
		return d, true
	}
	if d, known := m.Meta().Stream(id); known {
		return d, true
	}
	r, remembered := s.memory[id]
	return r.Stream, remembered && !heard[r.Stream.Owner]
}

// route sets how events of a stream are kept that are published at this node. s.mu is
// held.
func (s *streams) route(m *replication.Member, id meta.ID, heard map[string]bool) {
	d, known := s.definition(m, id, heard)
	delete(s.ended, id)
	if known && d.Tombstone != nil {
		s.ended[id] = d
	}
	if !known || d.Tombstone != nil {
		s.unroute(id)
		s.forget(id)
		return
	}
	k, old := s.keeper(m, d), s.keepers[id]
	s.remember(id, remembered{d, k.partitions})
	if old != nil && old.same(k) {
		return
	}
	s.keepers[id] = k
	name := streamName{d.Namespace, d.Name}
	if !slices.Contains(s.named[name], id) {
		s.named[name] = append(s.named[name], id)
	}
	f := filter.Everything()
	if len(d.Filter) > 0 {
		var err error
		if f, err = filter.Parse(d.Filter); err != nil {
			s.n.log.Error("a stream's filter cannot be read: nothing is kept in it here", "stream", d.Name, "owner", d.Owner, "err", err)
			k.unreadable = true
			s.n.table.SetStream(id.String(), "", filter.Filter{}, nil)
			return
		}
	}
	s.n.table.SetStream(id.String(), d.Namespace, f, k)
}

// unroute ends what route did. s.mu is held.
func (s *streams) unroute(id meta.ID) {
	if s.keepers[id] == nil {
		return
	}
	s.n.table.SetStream(id.String(), "", filter.Filter{}, nil)
	s.unname(id)
	delete(s.keepers, id)
}

// keeper is how events of a stream that are published here are kept. s.mu is held.
func (s *streams) keeper(m *replication.Member, d meta.Stream) *keeper {
	k := &keeper{stream: d}
	if d.KeptIn(s.n.self.Region) {
		k.partitions, k.unassigned = s.assigned(m, d.UUID)
	} else if _, regions, err := meta.ParsePlacement(d.Placement); err == nil {
		k.regions = regions
	}
	return k
}

// streamName is what streams are looked up by.
type streamName struct{ namespace, name string }

// unname forgets the name of a stream that is routed no more. s.mu is held.
func (s *streams) unname(id meta.ID) {
	d := &s.keepers[id].stream
	name := streamName{d.Namespace, d.Name}
	if rest := slices.DeleteFunc(s.named[name], func(other meta.ID) bool { return other == id }); len(rest) > 0 {
		s.named[name] = rest
	} else {
		delete(s.named, name)
	}
}

// routed are the streams of a name that are routed, and not deleted as far as is
// known.
func (s *streams) routed(namespace, name string) (list []meta.Stream) {
	m := s.member.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.named[streamName{namespace, name}] {
		d := s.keepers[id].stream
		if m != nil && d.Owner == s.n.self.Region {
			if now, known := m.Meta().Stream(id); known {
				d = now
			}
		}
		if d.Tombstone == nil {
			list = append(list, d)
		}
	}
	return list
}
