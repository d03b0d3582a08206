package meta

import (
	"bytes"
	"reflect"
	"slices"
	"time"
)

// CreateStream makes a stream that the region owns. Proposed again, its outcome
// is the stream as it is.
type CreateStream struct {
	UUID       ID         `json:"uuid"`
	Definition Definition `json:"definition"`
}

func (*CreateStream) kind() string { return "stream.create" }

func (c *CreateStream) apply(s *State, index uint64) (Outcome, error) {
	if err := c.Definition.Check(); err != nil {
		return Outcome{}, err
	}
	d := c.Definition.compact()
	name := fullName{d.Namespace, d.Name}
	if have, ok := s.streams[c.UUID]; ok {
		if !reflect.DeepEqual(have.Definition, d) || have.Tombstone != nil {
			return Outcome{}, refuse(ErrExists, "stream %s has the id %s already", have.Name, c.UUID)
		}
		return Outcome{Result: have}, nil
	}
	switch uuid, taken := s.names[name]; {
	case taken:
		return Outcome{}, refuse(ErrExists, "stream %s/%s (%s)", d.Namespace, d.Name, uuid)
	case c.UUID.IsZero() || s.buried(c.UUID):
		return Outcome{}, refuse(ErrInvalid, "stream %s: its id must be new and not zero", d.Name)
	case s.known(c.UUID):
		return Outcome{}, refuse(ErrExists, "a stream of another region has the id %s", c.UUID)
	case len(s.streams) >= MaxStreams:
		return Outcome{}, refuse(ErrLimit, "region %s has %d streams, those deleted in the last %s included, and that is as many as it can have", s.region, MaxStreams, Grace)
	}
	made := Stream{UUID: c.UUID, Definition: d, Owner: s.region, OwnerEpoch: 1, Version: index, Created: s.clock}
	s.names[name] = c.UUID
	s.putStream(made)
	return Outcome{made, Streams}, nil
}

// UpdateStream changes the filter, replicas, retention or dedup window of a
// stream, if it is still at a version.
type UpdateStream struct {
	UUID       ID         `json:"uuid"`
	Version    uint64     `json:"version"`
	Definition Definition `json:"definition"`
}

func (*UpdateStream) kind() string { return "stream.update" }

func (c *UpdateStream) apply(s *State, index uint64) (Outcome, error) {
	have, ok := s.streams[c.UUID]
	if !ok {
		return Outcome{}, refuse(ErrUnknown, "region %s owns no stream %s", s.region, c.UUID)
	}
	if err := c.Definition.Check(); err != nil {
		return Outcome{}, err
	}
	d := c.Definition.compact()
	fixed := have.Definition
	fixed.Filter, fixed.Replicas, fixed.Retention, fixed.Dedup = d.Filter, d.Replicas, d.Retention, d.Dedup
	switch {
	case have.Tombstone != nil:
		return Outcome{}, refuse(ErrRefused, "stream %s is deleted: undo that first", have.Name)
	case !reflect.DeepEqual(fixed, d):
		return Outcome{}, refuse(ErrRefused, "stream %s: only its filter, replicas, retention and dedup window can change", have.Name)
	case reflect.DeepEqual(have.Definition, d):
		return Outcome{Result: have}, nil
	case have.Version != c.Version:
		return Outcome{}, refuse(ErrConflict, "stream %s is at version %d, not at %d: read it again", have.Name, have.Version, c.Version)
	}
	have.Definition, have.Version = d, index
	s.putStream(have)
	return Outcome{have, Streams}, nil
}

// DeleteStream puts a tombstone on a stream: its name is free at once, and what
// is kept of it stays until it is purged.
type DeleteStream struct {
	UUID ID     `json:"uuid"`
	By   string `json:"by,omitempty"`
}

func (*DeleteStream) kind() string { return "stream.delete" }

func (c *DeleteStream) apply(s *State, index uint64) (Outcome, error) {
	have, ok := s.streams[c.UUID]
	switch {
	case !ok:
		return Outcome{}, refuse(ErrUnknown, "region %s owns no stream %s", s.region, c.UUID)
	case len(c.By) > maxText:
		return Outcome{}, refuse(ErrInvalid, "who deletes a stream is said in at most %d bytes", maxText)
	case have.Tombstone != nil:
		return Outcome{Result: have}, nil
	}
	have.Tombstone, have.Version = &Tombstone{s.clock, c.By}, index
	s.putStream(have)
	delete(s.names, fullName{have.Namespace, have.Name})
	return Outcome{have, Streams}, nil
}

// UndeleteStream takes a tombstone away within its grace.
type UndeleteStream struct {
	UUID ID `json:"uuid"`
}

func (*UndeleteStream) kind() string { return "stream.undelete" }

func (c *UndeleteStream) apply(s *State, index uint64) (Outcome, error) {
	have, ok := s.streams[c.UUID]
	if !ok {
		return Outcome{}, refuse(ErrUnknown, "region %s owns no stream %s, or it is purged", s.region, c.UUID)
	}
	if have.Tombstone == nil {
		return Outcome{Result: have}, nil
	}
	if end := have.Tombstone.At.Add(Grace); !s.clock.Before(end) {
		return Outcome{}, refuse(ErrRefused, "stream %s could be had back until %s", have.Name, end.Format(time.RFC3339))
	}
	name := fullName{have.Namespace, have.Name}
	if other, taken := s.names[name]; taken {
		return Outcome{}, refuse(ErrExists, "stream %s/%s is another by now (%s): delete that first", have.Namespace, have.Name, other)
	}
	have.Tombstone, have.Version = nil, index
	s.names[name] = c.UUID
	s.putStream(have)
	return Outcome{have, Streams}, nil
}

// PurgeStream ends a deleted stream after its grace: what is kept of it in the
// region may go, and its dedicated partitions are retired.
type PurgeStream struct {
	UUID ID `json:"uuid"`
}

func (*PurgeStream) kind() string { return "stream.purge" }

func (c *PurgeStream) apply(s *State, index uint64) (Outcome, error) {
	have, ok := s.streams[c.UUID]
	if g, dead := s.graves[c.UUID]; dead && !ok {
		return Outcome{Result: g}, nil
	}
	switch {
	case !ok:
		return Outcome{}, refuse(ErrUnknown, "region %s owns no stream %s", s.region, c.UUID)
	case have.Tombstone == nil:
		return Outcome{}, refuse(ErrRefused, "stream %s is not deleted", have.Name)
	case s.clock.Before(have.Tombstone.At.Add(Grace)):
		return Outcome{}, refuse(ErrRefused, "stream %s can be had back until %s: it is not purged before", have.Name, have.Tombstone.At.Add(Grace).Format(time.RFC3339))
	}
	delete(s.streams, c.UUID)
	g := Grave{have.UUID, have.Owner, have.OwnerEpoch, index, index, s.clock}
	return Outcome{g, Streams | s.bury(g)}, nil
}

// Grave says that a stream is purged: what is kept of it may be deleted.
type Grave struct {
	UUID       ID        `json:"uuid"`
	Owner      string    `json:"owner"`
	OwnerEpoch uint64    `json:"ownerEpoch"`
	Version    uint64    `json:"version"` // of the purge, in the owner: above all versions of the stream
	Index      uint64    `json:"index"`   // of the command here
	At         time.Time `json:"at"`
}

func byGrave(a, b Grave) int { return bytes.Compare(a.UUID[:], b.UUID[:]) }

// Grave returns the grave of a stream, own or foreign. A stream without one
// may have been forgotten after MaxGraves others, or never been known: that
// says nothing about what is kept of it.
func (s *State) Grave(uuid ID) (Grave, bool) { return pick(s, s.graves, uuid) }

// Graves lists the graves by UUID.
func (s *State) Graves() []Grave {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sorted(s.graves, byGrave)
}

func (s *State) buried(uuid ID) bool {
	_, ok := s.graves[uuid]
	return ok
}

// known reports whether a stream of another region is assigned here.
func (s *State) known(uuid ID) bool {
	_, ok := s.assignments[uuid]
	return ok
}

// bury makes a grave, ends the stream's assignment and retires its partitions.
func (s *State) bury(g Grave) (changed Parts) {
	if len(s.graves) >= MaxGraves {
		oldest := g
		for _, other := range s.graves {
			if other.Index < oldest.Index {
				oldest = other
			}
		}
		delete(s.graves, oldest.UUID)
	}
	s.graves[g.UUID] = g
	if s.known(g.UUID) {
		delete(s.assignments, g.UUID)
		changed |= Assignments
	}
	s.changed(g.UUID)
	for _, p := range slices.Clone(sorted(s.partitions, byNumber)) {
		if p.Stream == g.UUID && p.Retired.IsZero() {
			s.retire(p)
			changed |= Partitions
		}
	}
	return changed
}
