package meta

import (
	"slices"

	"github.com/skeinmesh/skein/transport/peer"
)

// Assignment says which of the region's partitions keep a stream. It is made
// once: logs do not move between partitions. A key's partition is
// Partitions[placement.Partition(key, len(Partitions))].
type Assignment struct {
	Stream     ID       `json:"stream"`
	Partitions []uint32 `json:"partitions"` // numbers, in the order that keys are spread by
	Generation uint64   `json:"generation"` // index of the command that made it

	// Foreign is the definition, last heard, of a stream that another region
	// owns; nil for the region's own, which State.Stream has.
	Foreign *Stream `json:"foreign,omitempty"`
}

// Assignment returns the assignment of a stream.
func (s *State) Assignment(stream ID) (Assignment, bool) { return pick(s, s.assignments, stream) }

// Assignments lists the assignments by stream.
func (s *State) Assignments() []Assignment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return byID(s.assignments)
}

// AssignStream gives a stream its partitions in the region: as placement.Spread
// chose among the shared ones, or the ones dedicated to it. Made once: after
// that, its outcome is the assignment as it is.
type AssignStream struct {
	Stream     ID       `json:"stream"`
	Partitions []uint32 `json:"partitions"`
	Foreign    *Stream  `json:"foreign,omitempty"` // for a stream that another region owns
}

func (*AssignStream) kind() string { return "stream.assign" }

func (c *AssignStream) apply(s *State, index uint64) (Outcome, error) {
	if a, ok := s.assignments[c.Stream]; ok {
		return Outcome{Result: a}, nil
	}
	d, own := s.streams[c.Stream]
	a := Assignment{Stream: c.Stream, Partitions: c.Partitions, Generation: index}
	switch {
	case own == (c.Foreign != nil):
		return Outcome{}, refuse(ErrUnknown, "stream %s: assigned are streams that region %s owns, or others with their definition", c.Stream, s.region)
	case !own && c.Foreign.UUID != c.Stream:
		return Outcome{}, refuse(ErrInvalid, "stream %s comes with the definition of %s", c.Stream, c.Foreign.UUID)
	case !own:
		foreign, err := s.foreign(*c.Foreign)
		if err != nil {
			return Outcome{}, err
		}
		d, a.Foreign = foreign, &foreign
	}
	if d.Tombstone != nil || s.buried(c.Stream) {
		return Outcome{}, refuse(ErrRefused, "stream %s is deleted: it gets no partitions", d.Name)
	}
	if err := s.checkSpread(d, c.Partitions); err != nil {
		return Outcome{}, err
	}
	if len(s.assignments) >= MaxAssignments {
		return Outcome{}, refuse(ErrLimit, "region %s keeps %d streams, and that is as many as it can", s.region, MaxAssignments)
	}
	s.putAssignment(a)
	return Outcome{a, Assignments}, nil
}

// checkSpread says why partitions cannot be those of a stream.
func (s *State) checkSpread(d Stream, numbers []uint32) error {
	if !d.KeptIn(s.region) {
		if len(numbers) > 0 {
			return refuse(ErrInvalid, "stream %s is not kept in region %s: it gets no partitions there", d.Name, s.region)
		}
		return nil // its definition is remembered
	}
	if len(numbers) < 1 || len(numbers) > d.Partitions {
		return refuse(ErrInvalid, "stream %s: %d partitions; 1 to %d are right", d.Name, len(numbers), d.Partitions)
	}
	var dedicated ID
	if d.Dedicated {
		dedicated = d.UUID
	}
	for i, n := range numbers {
		p, ok := s.partitions[s.numbers[n]]
		switch {
		case !ok || !p.Retired.IsZero():
			return refuse(ErrUnknown, "stream %s: the region has no partition %d", d.Name, n)
		case p.Stream != dedicated:
			return refuse(ErrRefused, "stream %s: partition %d is not shared, or dedicated to another stream, or the stream wants its own", d.Name, n)
		case slices.Contains(numbers[:i], n):
			return refuse(ErrInvalid, "stream %s: partition %d is named twice", d.Name, n)
		}
	}
	return nil
}

// foreign checks the definition of a stream of another region.
func (s *State) foreign(d Stream) (Stream, error) {
	if err := d.Check(); err != nil {
		return d, err
	}
	switch {
	case d.UUID.IsZero() || d.Version == 0 || d.OwnerEpoch == 0:
		return d, refuse(ErrInvalid, "stream %s: its id, version and owner epoch must not be zero", d.Name)
	case !peer.ValidRegion(d.Owner) || d.Owner == s.region:
		return d, refuse(ErrInvalid, "stream %s: %.80q is not another region's name", d.Name, d.Owner)
	case !plausible(d.Created) || d.Tombstone != nil && (!plausible(d.Tombstone.At) || len(d.Tombstone.By) > maxText):
		return d, refuse(ErrInvalid, "stream %s: its times are out of bounds, or who deleted it is said in more than %d bytes", d.Name, maxText)
	}
	d.Definition, d.Created = d.compact(), d.Created.UTC()
	if d.Tombstone != nil {
		d.Tombstone = &Tombstone{d.Tombstone.At.UTC(), d.Tombstone.By}
	}
	return d, nil
}

// LearnStream brings a newer definition of a foreign stream that is assigned
// here. One that is not newer is refused with ErrConflict.
type LearnStream struct {
	Stream Stream `json:"stream"`
}

func (*LearnStream) kind() string { return "stream.learn" }

func (c *LearnStream) apply(s *State, _ uint64) (Outcome, error) {
	d, err := s.foreign(c.Stream)
	if err != nil {
		return Outcome{}, err
	}
	a, ok := s.assignments[d.UUID]
	switch {
	case !ok || a.Foreign == nil:
		return Outcome{}, refuse(ErrUnknown, "no foreign stream %s is assigned here", d.UUID)
	case !d.Newer(*a.Foreign):
		return Outcome{}, refuse(ErrConflict, "stream %s is at version %d of owner epoch %d here, and this is %d of %d", d.Name, a.Foreign.Version, a.Foreign.OwnerEpoch, d.Version, d.OwnerEpoch)
	}
	a.Foreign = &d
	s.putAssignment(a)
	return Outcome{a, Assignments}, nil
}

// DropStream ends a foreign stream here, because its owner has purged it: it
// carries the grave that the owner made.
type DropStream struct {
	Grave Grave `json:"grave"`
}

func (*DropStream) kind() string { return "stream.drop" }

func (c *DropStream) apply(s *State, index uint64) (Outcome, error) {
	g := c.Grave
	if have, ok := s.graves[g.UUID]; ok {
		return Outcome{Result: have}, nil
	}
	a, ok := s.assignments[g.UUID]
	switch {
	case !ok || a.Foreign == nil:
		return Outcome{}, refuse(ErrUnknown, "no foreign stream %s is assigned here", g.UUID)
	case g.Owner != a.Foreign.Owner || !(Stream{OwnerEpoch: g.OwnerEpoch, Version: g.Version}).Newer(*a.Foreign):
		return Outcome{}, refuse(ErrConflict, "stream %s of %s is at version %d of owner epoch %d here: its owner did not purge it at %d of %d", a.Foreign.Name, a.Foreign.Owner, a.Foreign.Version, a.Foreign.OwnerEpoch, g.Version, g.OwnerEpoch)
	}
	g.Index, g.At = index, s.clock
	return Outcome{g, s.bury(g)}, nil
}
