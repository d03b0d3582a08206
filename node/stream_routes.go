package node

import (
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

// route sets the streams that keep events published at this node. heard are the
// regions that have told which streams they own.
func (s *streams) route(m *replication.Member, foreign map[meta.ID]meta.Stream, heard map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setRoutes(m, foreign, heard)
}

// setRoutes is route; s.mu is held.
func (s *streams) setRoutes(m *replication.Member, foreign map[meta.ID]meta.Stream, heard map[string]bool) {
	known := map[meta.ID]meta.Stream{}
	for _, d := range m.Meta().Streams() {
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
		k := s.keeper(m, d)
		now[id] = remembered{d, k.partitions}
		if old := s.keepers[id]; old != nil && old.same(k) {
			continue
		}
		s.keepers[id] = k
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
		partitions, assigned := s.assigned(m, d.UUID)
		k.partitions, k.unassigned = partitions, !assigned
	} else if _, regions, err := meta.ParsePlacement(d.Placement); err == nil {
		k.regions = regions
	}
	return k
}
