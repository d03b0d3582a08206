package meta

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
	"time"
)

// A snapshot:
//
//	magic "SKNM" | version (2, 1) | zero (2) | length of JSON (4) | CRC32C of JSON (4) | JSON
//
// in little endian. Lists are sorted and JSON has no spaces, so that equal
// states make equal bytes.
const (
	snapshotMagic   = "SKNM"
	snapshotVersion = 1
	snapshotHeader  = 16
)

// image is a state as a snapshot has it.
type image struct {
	Region      string       `json:"region"`
	Applied     uint64       `json:"applied"`
	Clock       time.Time    `json:"clock"`
	Level       uint32       `json:"level"`
	NextNumber  uint32       `json:"nextNumber"`
	EpochFloor  uint64       `json:"epochFloor"`
	Nodes       []Node       `json:"nodes"`
	Partitions  []Partition  `json:"partitions"`
	Streams     []Stream     `json:"streams"`
	Assignments []Assignment `json:"assignments"`
	Graves      []Grave      `json:"graves"`
	Regions     []Region     `json:"regions"`
	Refused     []Refused    `json:"refused"`
}

// Snapshot is the state as bytes, for Restore. Records are shared, not copied,
// so the state is locked only while they are listed.
func (s *State) Snapshot() []byte {
	s.mu.RLock()
	img := image{
		s.region, s.applied, s.clock, s.level, s.nextNumber, s.epochFloor,
		sorted(s.nodes, byNode), sorted(s.partitions, byNumber), byID(s.streams),
		byID(s.assignments), sorted(s.graves, byGrave), sorted(s.regions, byName),
		sorted(s.refused, func(a, b Refused) int { return strings.Compare(a.Kind, b.Kind) }),
	}
	s.mu.RUnlock()
	body, err := marshal(img)
	if err != nil {
		panic("meta: a state that was checked has no JSON: " + err.Error())
	}
	b := make([]byte, snapshotHeader, snapshotHeader+len(body))
	copy(b, snapshotMagic)
	binary.LittleEndian.PutUint16(b[4:], snapshotVersion)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(b, body...)
}

// Check says what is wrong with a snapshot, of whichever region it is.
func Check(snapshot []byte) error {
	img, err := parse(snapshot)
	if err == nil {
		_, err = img.state(img.Region)
	}
	return err
}

// Restore replaces the state by a snapshot's. A snapshot that is damaged, of
// another region, or of a program too new is refused, and the state stays.
// It takes memory in proportion to the snapshot's length.
func (s *State) Restore(snapshot []byte) error {
	img, err := parse(snapshot)
	if err != nil {
		return err
	}
	fresh, err := img.state(s.region)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied, s.clock, s.level, s.nextNumber, s.epochFloor = fresh.applied, fresh.clock, fresh.level, fresh.nextNumber, fresh.epochFloor
	s.nodes, s.partitions, s.numbers = fresh.nodes, fresh.partitions, fresh.numbers
	s.streams, s.names, s.assignments = fresh.streams, fresh.names, fresh.assignments
	s.graves, s.regions, s.refused = fresh.graves, fresh.regions, fresh.refused
	s.unassigned, s.deleted = fresh.unassigned, fresh.deleted
	s.history.lose()
	return nil
}

// parse reads a snapshot.
func parse(snapshot []byte) (img image, err error) {
	if len(snapshot) < snapshotHeader || string(snapshot[:4]) != snapshotMagic {
		return img, refuse(ErrMalformed, "this is no snapshot of a region's metadata")
	}
	if v := binary.LittleEndian.Uint16(snapshot[4:]); v != snapshotVersion {
		return img, refuse(ErrTooNew, "a snapshot in version %d of the format: this program knows %d", v, snapshotVersion)
	}
	if binary.LittleEndian.Uint16(snapshot[6:]) != 0 {
		return img, refuse(ErrMalformed, "the snapshot's header is damaged")
	}
	body := snapshot[snapshotHeader:]
	if n := binary.LittleEndian.Uint32(snapshot[8:]); uint64(n) != uint64(len(body)) {
		return img, refuse(ErrMalformed, "the snapshot is cut: %d bytes of %d", len(body), n)
	}
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(snapshot[12:]) {
		return img, refuse(ErrMalformed, "the snapshot is damaged: its checksum is wrong")
	}
	if err := unmarshal(body, &img); err != nil {
		return img, refuse(ErrMalformed, "snapshot: %v", err)
	}
	return img, nil
}

// state makes a state of an image, and checks what the code relies on.
func (img image) state(region string) (*State, error) {
	switch {
	case img.Region != region:
		return nil, refuse(ErrRefused, "the snapshot is region %.80q's, and this is %q", img.Region, region)
	case img.Level > Level:
		return nil, refuse(ErrTooNew, "the region is at level %d, and this program knows %d: upgrade it", img.Level, Level)
	}
	s := New(region)
	s.applied, s.clock, s.level, s.nextNumber, s.epochFloor = img.Applied, img.Clock.UTC(), img.Level, img.NextNumber, img.EpochFloor
	ok := img.Level > 0 && plausible(img.Clock)
	for _, n := range img.Nodes {
		ok = ok && fill(s.nodes, n.ID, n) && n.ID != "" && plausible(n.Since)
	}
	for _, p := range img.Partitions {
		ok = ok && fill(s.partitions, p.ID, p) && fill(s.numbers, p.Number, p.ID) && p.sound(s)
	}
	for _, d := range img.Streams {
		ok = ok && fill(s.streams, d.UUID, d) && d.sound() && d.Owner == region
		if d.Tombstone == nil {
			ok = ok && fill(s.names, fullName{d.Namespace, d.Name}, d.UUID)
		}
	}
	for _, a := range img.Assignments {
		_, own := s.streams[a.Stream]
		ok = ok && fill(s.assignments, a.Stream, a) && own == (a.Foreign == nil)
		ok = ok && (len(a.Partitions) > 0 || !own && !a.Foreign.KeptIn(region)) // a foreign one kept elsewhere is remembered
		ok = ok && (own || a.Foreign.UUID == a.Stream && a.Foreign.sound())
	}
	for id := range s.streams {
		s.derive(id)
	}
	for _, g := range img.Graves {
		ok = ok && fill(s.graves, g.UUID, g) && plausible(g.At)
	}
	for _, r := range img.Regions {
		ok = ok && fill(s.regions, r.Name, r) && plausible(r.FoundedAt)
	}
	for _, r := range img.Refused {
		ok = ok && fill(s.refused, r.Kind, r)
	}
	if !ok {
		return nil, refuse(ErrMalformed, "the snapshot contradicts itself")
	}
	return s, nil
}

// fill puts a record into a map that must not have one under its key.
func fill[K comparable, V any](m map[K]V, key K, v V) bool {
	if _, twice := m[key]; twice {
		return false
	}
	m[key] = v
	return true
}

// plausible reports whether a time can be written as JSON, whatever its zone.
func plausible(t time.Time) bool { return t.Year() > 0 && t.Year() < 9999 }

// sound reports whether a stream from a snapshot can be worked with.
func (d Stream) sound() bool {
	return d.Check() == nil && plausible(d.Created) && (d.Tombstone == nil || plausible(d.Tombstone.At))
}

// sound reports whether a partition from a snapshot can be worked with: each
// identity was given out by its node, and once; a change is about replicas that
// are there.
func (p Partition) sound(s *State) bool {
	seen := map[ReplicaID]bool{}
	for _, r := range p.Replicas {
		n, known := s.nodes[r.Node]
		if seen[r.ReplicaID] || !known || r.Epoch >= n.NextEpoch || r.Role != Voter && r.Role != Learner {
			return false
		}
		seen[r.ReplicaID] = true
	}
	if p.Number >= s.nextNumber || len(p.Replicas) == 0 || !plausible(p.Created) || !p.Retired.IsZero() && !plausible(p.Retired) {
		return false
	}
	c := p.Change
	return c == nil || (c.Add != ReplicaID{} || c.Remove != ReplicaID{}) && plausible(c.Since) &&
		(c.Add == ReplicaID{} || seen[c.Add]) && (c.Remove == ReplicaID{} || seen[c.Remove] || c.RemoveFirst) && slices.Contains(c.phases(), c.Phase) &&
		(c.Phase != Undo || c.Add != ReplicaID{})
}
