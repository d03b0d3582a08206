package meta

import (
	"cmp"
	"slices"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Role says whether a replica votes.
type Role string

// The roles of a replica.
const (
	Voter   Role = "voter"
	Learner Role = "learner"
)

// ReplicaID is a replica's identity. It is given out once: the node's ID and an
// epoch that no other replica of the node has, of whatever partition.
type ReplicaID struct {
	Node  peer.ID `json:"node"`
	Epoch uint64  `json:"epoch"`
}

// Replica is a node's copy of a partition.
type Replica struct {
	ReplicaID
	Role         Role `json:"role"`
	Bootstrapped bool `json:"bootstrapped,omitempty"` // it has begun: without memory it must not begin again
	Lost         bool `json:"lost,omitempty"`         // it has lost its memory and must never vote again
}

// Partition is a Raft group of the region.
type Partition struct {
	ID         ID          `json:"id"`
	Number     uint32      `json:"number"`          // counts the region's partitions; never given out again
	Generation uint64      `json:"generation"`      // counts the changes to Replicas, from 1
	Stream     ID          `json:"stream,omitzero"` // the stream it is dedicated to; zero: shared
	Want       int         `json:"want"`            // how many replicas it should have
	Initial    []ReplicaID `json:"initial"`         // its first configuration, all of them voters; never changes
	Replicas   []Replica   `json:"replicas"`
	Change     *Change     `json:"change,omitempty"`
	Created    time.Time   `json:"created"`
	Retired    time.Time   `json:"retired,omitzero"` // when its replicas were told to delete it
}

func byNumber(a, b Partition) int { return cmp.Compare(a.Number, b.Number) }

// Replica returns the place of a replica, or -1.
func (p Partition) Replica(id ReplicaID) int {
	return slices.IndexFunc(p.Replicas, func(r Replica) bool { return r.ReplicaID == id })
}

// Partition returns a partition.
func (s *State) Partition(id ID) (Partition, bool) { return pick(s, s.partitions, id) }

// Number returns a partition by its number.
func (s *State) Number(n uint32) (Partition, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.partitions[s.numbers[n]]
	return p, ok && p.Number == n
}

// Partitions lists the partitions by number, retired ones included.
func (s *State) Partitions() []Partition {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sorted(s.partitions, byNumber)
}

// CreatePartition makes a partition with its first configuration. Nodes each
// get a replica under a new epoch; those, and no others, may bootstrap it, with
// exactly this configuration. Proposed again, its outcome is the partition as
// it is.
type CreatePartition struct {
	ID     ID        `json:"id"`
	Stream ID        `json:"stream,omitzero"` // dedicates it
	Want   int       `json:"want"`
	Nodes  []peer.ID `json:"nodes"`
}

func (*CreatePartition) kind() string { return "partition.create" }

func (c *CreatePartition) apply(s *State, _ uint64) (Outcome, error) {
	if p, ok := s.partitions[c.ID]; ok {
		if p.Stream != c.Stream {
			return Outcome{}, refuse(ErrExists, "partition %s is another: number %d", c.ID, p.Number)
		}
		return Outcome{Result: p}, nil
	}
	switch {
	case c.ID.IsZero():
		return Outcome{}, refuse(ErrInvalid, "a partition's id must not be zero")
	case c.Want < 1 || c.Want > MaxReplicas || len(c.Nodes) < 1 || len(c.Nodes) > c.Want:
		return Outcome{}, refuse(ErrInvalid, "partition %s: %d replicas of %d wanted; 1 to %d are right, and no more than wanted", c.ID, len(c.Nodes), c.Want, MaxReplicas)
	case len(s.partitions) >= MaxPartitions:
		return Outcome{}, refuse(ErrLimit, "the region has %d partitions, and that is as many as it can have", MaxPartitions)
	case !c.Stream.IsZero() && s.buried(c.Stream):
		return Outcome{}, refuse(ErrRefused, "stream %s was purged: it gets no partition", c.Stream)
	}
	for i, id := range c.Nodes {
		if n := s.nodes[id]; n.State != Active || slices.Contains(c.Nodes[:i], id) {
			return Outcome{}, refuse(ErrRefused, "partition %s: node %.80q is not active, or named twice", c.ID, id)
		}
	}
	p := Partition{ID: c.ID, Number: s.nextNumber, Generation: 1, Stream: c.Stream, Want: c.Want, Created: s.clock}
	for _, id := range c.Nodes {
		r := s.newEpoch(id)
		p.Initial = append(p.Initial, r)
		p.Replicas = append(p.Replicas, Replica{ReplicaID: r, Role: Voter})
	}
	s.nextNumber++
	s.partitions[p.ID], s.numbers[p.Number] = p, p.ID
	return Outcome{p, Partitions | Nodes}, nil
}

// SetWant says how many replicas a partition should have.
type SetWant struct {
	Partition ID  `json:"partition"`
	Want      int `json:"want"`
}

func (*SetWant) kind() string { return "partition.want" }

func (c *SetWant) apply(s *State, _ uint64) (Outcome, error) {
	p, err := s.livePartition(c.Partition)
	switch {
	case err != nil:
		return Outcome{}, err
	case c.Want < 1 || c.Want > MaxReplicas:
		return Outcome{}, refuse(ErrInvalid, "partition %d: %d replicas; 1 to %d are right", p.Number, c.Want, MaxReplicas)
	case p.Want == c.Want:
		return Outcome{Result: p}, nil
	}
	p.Want = c.Want
	s.partitions[p.ID] = p
	return Outcome{p, Partitions}, nil
}

// livePartition returns a partition that is not retired.
func (s *State) livePartition(id ID) (Partition, error) {
	p, ok := s.partitions[id]
	if !ok {
		return p, refuse(ErrUnknown, "no partition %s", id)
	}
	if !p.Retired.IsZero() {
		return p, refuse(ErrRefused, "partition %d is retired since %s", p.Number, p.Retired.Format(time.RFC3339))
	}
	return p, nil
}

// Mark is what a node tells of a replica of its own.
type Mark string

// The marks of a replica.
const (
	Bootstrapped Mark = "bootstrapped" // it has begun, and its disk says so
	Lost         Mark = "lost"         // what it knew is lost or damaged: it will not vote again
	Erased       Mark = "erased"       // its partition is retired, and it has deleted what it kept
)

// MarkReplica notes what a node tells of its replica.
type MarkReplica struct {
	Partition ID        `json:"partition"`
	Replica   ReplicaID `json:"replica"`
	As        Mark      `json:"as"`
}

func (*MarkReplica) kind() string { return "replica.mark" }

func (c *MarkReplica) apply(s *State, _ uint64) (Outcome, error) {
	p, ok := s.partitions[c.Partition]
	if !ok {
		return Outcome{}, refuse(ErrUnknown, "no partition %s", c.Partition)
	}
	i := p.Replica(c.Replica)
	if i < 0 {
		return Outcome{}, refuse(ErrUnknown, "partition %d has no replica %s/%d: it must not run", p.Number, c.Replica.Node.Short(), c.Replica.Epoch)
	}
	r := p.Replicas[i]
	switch c.As {
	case Bootstrapped:
		if r.Lost {
			return Outcome{}, refuse(ErrRefused, "replica %s/%d of partition %d is lost: it must not run", r.Node.Short(), r.Epoch, p.Number)
		}
		r.Bootstrapped = true
	case Lost:
		r.Lost = true
	case Erased:
		if p.Retired.IsZero() {
			return Outcome{}, refuse(ErrRefused, "partition %d is not retired: its replicas are not to be deleted", p.Number)
		}
		s.erase(p, i)
		return Outcome{p, Partitions}, nil
	default:
		return Outcome{}, refuse(ErrInvalid, "mark %.20q: bootstrapped, lost and erased are right", c.As)
	}
	if r == p.Replicas[i] {
		return Outcome{Result: p}, nil
	}
	p.Replicas = slices.Clone(p.Replicas)
	p.Replicas[i] = r
	s.partitions[p.ID] = p
	return Outcome{p, Partitions}, nil
}

// RetirePartition says that a dedicated partition which keeps no stream is to
// be deleted. Shared partitions stay.
type RetirePartition struct {
	Partition ID `json:"partition"`
}

func (*RetirePartition) kind() string { return "partition.retire" }

func (c *RetirePartition) apply(s *State, _ uint64) (Outcome, error) {
	p, err := s.livePartition(c.Partition)
	switch {
	case err != nil:
		return Outcome{}, err
	case p.Stream.IsZero():
		return Outcome{}, refuse(ErrRefused, "partition %d is shared: logs do not move, so it stays", p.Number)
	}
	if a, ok := s.assignments[p.Stream]; ok && slices.Contains(a.Partitions, p.Number) {
		return Outcome{}, refuse(ErrRefused, "partition %d keeps stream %s: delete the stream", p.Number, p.Stream)
	}
	return Outcome{s.retire(p), Partitions}, nil
}

// retire tells a partition's replicas to delete it.
func (s *State) retire(p Partition) Partition {
	p.Retired, p.Change = s.clock, nil
	s.partitions[p.ID] = p
	for i := len(p.Replicas) - 1; i >= 0; i-- {
		if s.nodes[p.Replicas[i].Node].State == Gone {
			p = s.erase(p, i)
		}
	}
	return p
}

// erase takes a replica that is deleted off a retired partition, and forgets
// the partition with its last.
func (s *State) erase(p Partition, i int) Partition {
	p.Replicas = slices.Delete(slices.Clone(p.Replicas), i, i+1)
	p.Generation++
	if len(p.Replicas) == 0 {
		delete(s.partitions, p.ID)
		delete(s.numbers, p.Number)
		return p
	}
	s.partitions[p.ID] = p
	return p
}
