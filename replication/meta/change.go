package meta

import (
	"slices"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Phase is what is to be done next in a change. It is committed before it is
// begun and ended by AdvanceChange, so whoever leads the partition can take it
// up where the last left it: each act on raft's configuration may be repeated.
type Phase string

// The phases of a change. A replica that is added goes through Learn and
// Promote, one that is removed through Remove, which comes last, or between
// the two if the change says so.
const (
	Learn   Phase = "learn"   // add the replica as a non-voter and let it catch up
	Promote Phase = "promote" // give it its vote
	Remove  Phase = "remove"  // remove the other from raft's configuration
	Undo    Phase = "undo"    // remove the replica that was to be added
)

// Change is a change of a partition's replicas that is under way.
type Change struct {
	Index       uint64    `json:"index"`           // of the command that began it: its name
	Add         ReplicaID `json:"add,omitzero"`    // Node is empty if none is added
	Remove      ReplicaID `json:"remove,omitzero"` // Node is empty if none goes
	RemoveFirst bool      `json:"removeFirst,omitempty"`
	Phase       Phase     `json:"phase"`
	Since       time.Time `json:"since"` // when the phase began
	Why         string    `json:"why,omitempty"`
}

// phases lists a change's phases in order.
func (c Change) phases() []Phase {
	switch {
	case c.Phase == Undo:
		return []Phase{Undo}
	case c.Add.Node == "":
		return []Phase{Remove}
	case c.Remove.Node == "":
		return []Phase{Learn, Promote}
	case c.RemoveFirst:
		return []Phase{Learn, Remove, Promote}
	}
	return []Phase{Learn, Promote, Remove}
}

// BeginChange begins a change of a partition's replicas: Add gets one under a
// new epoch, Remove goes, or both. Add may be the node of Remove, whose replica
// has lost its memory.
type BeginChange struct {
	Partition   ID        `json:"partition"`
	Add         peer.ID   `json:"add,omitempty"`
	Remove      ReplicaID `json:"remove,omitzero"`
	RemoveFirst bool      `json:"removeFirst,omitempty"`
	Why         string    `json:"why,omitempty"`
}

func (*BeginChange) kind() string { return "change.begin" }

func (c *BeginChange) apply(s *State, index uint64) (Outcome, error) {
	p, err := s.livePartition(c.Partition)
	if err == nil {
		err = s.checkChange(p, c)
	}
	if err != nil {
		return Outcome{}, err
	}
	change := Change{Index: index, Remove: c.Remove, RemoveFirst: c.RemoveFirst, Since: s.clock, Why: c.Why}
	changed := Partitions
	if c.Add != "" {
		change.Add = s.newEpoch(c.Add)
		p.Replicas = append(slices.Clone(p.Replicas), Replica{ReplicaID: change.Add, Role: Learner})
		p.Generation++
		changed |= Nodes
	}
	change.Phase = change.phases()[0]
	p.Change = &change
	s.partitions[p.ID] = p
	return Outcome{p, changed}, nil
}

// checkChange says why a change must not be begun.
func (s *State) checkChange(p Partition, c *BeginChange) error {
	n := s.nodes[c.Add]
	switch {
	case p.Change != nil:
		return refuse(ErrConflict, "partition %d: a change is under way (%d, at %s); one at a time", p.Number, p.Change.Index, p.Change.Phase)
	case c.Add == "" && c.Remove.Node == "":
		return refuse(ErrInvalid, "partition %d: a change adds a replica, removes one, or both", p.Number)
	case c.Remove.Node == "" && c.Remove.Epoch != 0:
		return refuse(ErrInvalid, "partition %d: a replica to remove has a node", p.Number)
	case c.RemoveFirst && (c.Add == "" || c.Remove.Node == ""):
		return refuse(ErrInvalid, "partition %d: removing first takes a replica to add and one to remove", p.Number)
	case len(c.Why) > maxText:
		return refuse(ErrInvalid, "partition %d: the reason may have at most %d bytes", p.Number, maxText)
	case c.Add != "" && n.State != Active:
		return refuse(ErrRefused, "partition %d: node %.80q is not active", p.Number, c.Add)
	}
	voters, able := 0, 0 // voters, and those that have not lost their memory
	for _, r := range p.Replicas {
		if c.Add == r.Node && r.ReplicaID != c.Remove {
			return refuse(ErrRefused, "partition %d: node %s has a replica already (epoch %d)", p.Number, c.Add.Short(), r.Epoch)
		}
		if r.Role == Voter {
			voters++
			if !r.Lost {
				able++
			}
		}
	}
	if c.Add != "" && c.Remove.Node == "" && voters >= MaxReplicas {
		return refuse(ErrLimit, "partition %d has %d replicas, and that is as many as it can have", p.Number, voters)
	}
	if c.Remove.Node == "" {
		return nil
	}
	i := p.Replica(c.Remove)
	if i < 0 || p.Replicas[i].Role != Voter {
		return refuse(ErrUnknown, "partition %d has no voter %s/%d", p.Number, c.Remove.Node.Short(), c.Remove.Epoch)
	}
	if c.Add != "" && !c.RemoveFirst {
		voters, able = voters+1, able+1
	}
	voters--
	if !p.Replicas[i].Lost {
		able--
	}
	if able < voters/2+1 {
		return refuse(ErrRefused, "partition %d: without %s/%d, %d of its %d voters would be left that can vote, and no quorum", p.Number, c.Remove.Node.Short(), c.Remove.Epoch, able, voters)
	}
	return nil
}

// AdvanceChange says that a phase of a change is done.
type AdvanceChange struct {
	Partition ID     `json:"partition"`
	Change    uint64 `json:"change"` // its Index
	Done      Phase  `json:"done"`
}

func (*AdvanceChange) kind() string { return "change.advance" }

func (c *AdvanceChange) apply(s *State, _ uint64) (Outcome, error) {
	p, change, err := s.change(c.Partition, c.Change)
	if err != nil {
		return Outcome{}, err
	}
	if change.Phase != c.Done {
		return Outcome{}, refuse(ErrConflict, "partition %d: change %d is at %s, not at %.20q", p.Number, change.Index, change.Phase, c.Done)
	}
	p.Replicas = slices.Clone(p.Replicas)
	drop := func(id ReplicaID) {
		p.Replicas = slices.DeleteFunc(p.Replicas, func(r Replica) bool { return r.ReplicaID == id })
		p.Generation++
	}
	switch c.Done {
	case Promote:
		p.Replicas[p.Replica(change.Add)].Role = Voter
		p.Generation++
	case Remove:
		drop(change.Remove)
	case Undo:
		drop(change.Add)
	}
	all := change.phases()
	if i := slices.Index(all, c.Done) + 1; i < len(all) {
		change.Phase, change.Since = all[i], s.clock
		p.Change = &change
	} else {
		p.Change = nil
	}
	s.partitions[p.ID] = p
	return Outcome{p, Partitions}, nil
}

// UndoChange gives a change up whose new replica does not vote yet.
type UndoChange struct {
	Partition ID     `json:"partition"`
	Change    uint64 `json:"change"`
}

func (*UndoChange) kind() string { return "change.undo" }

func (c *UndoChange) apply(s *State, _ uint64) (Outcome, error) {
	p, change, err := s.change(c.Partition, c.Change)
	switch {
	case err != nil:
		return Outcome{}, err
	case change.Phase == Undo:
		return Outcome{Result: p}, nil
	case !change.undoable():
		return Outcome{}, refuse(ErrRefused, "partition %d: change %d is at %s and can only go on", p.Number, change.Index, change.Phase)
	}
	change.Phase, change.Since = Undo, s.clock
	p.Change = &change
	s.partitions[p.ID] = p
	return Outcome{p, Partitions}, nil
}

// undoable reports whether a change can be given up: its new replica has no
// vote yet, and the old one is not half removed.
func (c Change) undoable() bool { return c.Phase == Learn || c.Phase == Promote }

// change returns a copy of the change that is under way in a partition.
func (s *State) change(id ID, index uint64) (Partition, Change, error) {
	p, err := s.livePartition(id)
	if err != nil {
		return p, Change{}, err
	}
	if p.Change == nil || p.Change.Index != index {
		return p, Change{}, refuse(ErrConflict, "partition %d: change %d is not under way (any more)", p.Number, index)
	}
	return p, *p.Change, nil
}
