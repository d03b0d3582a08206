package node

import (
	"slices"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/routing/filter"
)

// Keeps reports whether there are streams, which publishing may have to wait for.
func (n *Node) Keeps() bool { return n.table.Keeps() }

// keeper is how a stream's events are kept. It is not changed once it is made, but for
// final, which is setRoutes's.
type keeper struct {
	stream     meta.Stream
	partitions []uint32 // of this region, if it keeps the stream
	regions    []string // that keep it instead, if not
	// unassigned says that this region is to keep the stream and has not given it
	// its partitions yet: what is published for it cannot be kept until then.
	unassigned bool
	unreadable bool // its filter cannot be read here: it is not routed
	// final says that it changes with the stream's definition alone: partitions are
	// given once.
	final bool
}

func (k *keeper) same(as *keeper) bool {
	return k.stream.Version == as.stream.Version && k.stream.OwnerEpoch == as.stream.OwnerEpoch &&
		k.unassigned == as.unassigned && slices.Equal(k.partitions, as.partitions)
}

// route sets the streams that keep events published at this node: those that its
// region owns, and foreign ones. heard are the regions that have told which they own.
func (s *streams) route(m *replication.Member, owned []meta.Stream, foreign map[meta.ID]meta.Stream, heard map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setRoutes(m, owned, foreign, heard)
}

// setRoutes is route; s.mu is held.
func (s *streams) setRoutes(m *replication.Member, owned []meta.Stream, foreign map[meta.ID]meta.Stream, heard map[string]bool) {
	known := make(map[meta.ID]meta.Stream, len(owned)+len(foreign))
	for _, d := range owned {
		known[d.UUID] = d
	}
	for id, d := range foreign {
		known[id] = d
	}
	s.recalled(heard, known)
	now, ended := map[meta.ID]remembered{}, map[meta.ID]meta.Stream{}
	for id, d := range known {
		if d.Tombstone != nil {
			ended[id] = d
			continue
		}
		old := s.keepers[id]
		if old != nil && old.final && old.stream.Version == d.Version && old.stream.OwnerEpoch == d.OwnerEpoch {
			now[id] = remembered{d, old.partitions}
			continue
		}
		k := s.keeper(m, d)
		now[id] = remembered{d, k.partitions}
		if old != nil && old.same(k) {
			old.final = k.final
			continue
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
				continue
			}
		}
		s.n.table.SetStream(id.String(), d.Namespace, f, k)
	}
	for id := range s.keepers {
		if _, there := now[id]; !there {
			s.n.table.SetStream(id.String(), "", filter.Filter{}, nil)
			s.unname(id)
			delete(s.keepers, id)
		}
	}
	s.ended = ended
	s.remember(now)
}

// keeper is how events of a stream that are published here are kept. s.mu is held.
func (s *streams) keeper(m *replication.Member, d meta.Stream) *keeper {
	k := &keeper{stream: d}
	if d.KeptIn(s.n.self.Region) {
		k.partitions, k.unassigned, k.final = s.assigned(m, d.UUID)
	} else if _, regions, err := meta.ParsePlacement(d.Placement); err == nil {
		k.regions, k.final = regions, true
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
