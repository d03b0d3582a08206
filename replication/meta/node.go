package meta

import (
	"slices"
	"strings"
	"time"

	"github.com/skeinmesh/skein/replication/placement"
	"github.com/skeinmesh/skein/transport/peer"
)

// NodeState says what a node is used for.
type NodeState string

// The states of a node.
const (
	Active   NodeState = "active"   // keeps replicas and gets new ones
	Draining NodeState = "draining" // is being emptied
	Gone     NodeState = "gone"     // has left; it comes back by registering
)

// Node is a node of the region.
type Node struct {
	ID        peer.ID   `json:"id"`
	Name      string    `json:"name,omitempty"`
	Zone      string    `json:"zone,omitempty"`
	Weight    int       `json:"weight,omitempty"` // see placement.Node; 0 counts as 1
	Boot      uint64    `json:"boot"`             // counts the starts of the ID; kept on its disk
	Instance  ID        `json:"instance"`         // of its last start
	Level     uint32    `json:"level"`            // of commands that its program knows
	State     NodeState `json:"state"`
	Since     time.Time `json:"since"`     // when it came into this state
	NextEpoch uint64    `json:"nextEpoch"` // of its next replica; each is given out once
}

func byNode(a, b Node) int { return strings.Compare(string(a.ID), string(b.ID)) }

// Node returns a node.
func (s *State) Node(id peer.ID) (Node, bool) { return pick(s, s.nodes, id) }

// Nodes lists the nodes by ID, those that are gone included.
func (s *State) Nodes() []Node {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sorted(s.nodes, byNode)
}

// RegisterNode says that a node has started. Boot counts its starts and is on
// its disk before the command is proposed; Instance is random and new for each
// start. A boot counter that is not above the last one comes from a disk that
// was set back, or from a copy of it, and is refused with ErrClone, unless the
// same start registers again. A node that was gone is active again.
type RegisterNode struct {
	ID       peer.ID `json:"id"`
	Name     string  `json:"name,omitempty"`
	Zone     string  `json:"zone,omitempty"`
	Weight   int     `json:"weight,omitempty"`
	Boot     uint64  `json:"boot"`
	Instance ID      `json:"instance"`
	Level    uint32  `json:"level"`
}

func (*RegisterNode) kind() string { return "node.register" }

// Registration is a command as the registration of a node, if it is one. Whether
// it was or will be applied is not said.
func Registration(cmd []byte) (c RegisterNode, ok bool) {
	e, err := open(cmd)
	if err != nil || e.Kind != c.kind() {
		return c, false
	}
	return c, unmarshal(e.Body, &c) == nil
}

func (c *RegisterNode) apply(s *State, _ uint64) (Outcome, error) {
	n, known := s.nodes[c.ID]
	switch {
	case !peer.ValidName(string(c.ID)):
		return Outcome{}, refuse(ErrInvalid, "%.80q is no node's id", c.ID)
	case len(c.Name) > maxText || len(c.Zone) > maxText:
		return Outcome{}, refuse(ErrInvalid, "node %s: its name and zone may have at most %d bytes", c.ID.Short(), maxText)
	case c.Weight < 0 || c.Weight > placement.MaxWeight:
		return Outcome{}, refuse(ErrInvalid, "node %s: weight %d, 1 to %d are right", c.ID.Short(), c.Weight, placement.MaxWeight)
	case c.Boot == 0 || c.Instance.IsZero() || c.Level == 0:
		return Outcome{}, refuse(ErrInvalid, "node %s: boot counter, instance and level must not be zero", c.ID.Short())
	case c.Level < s.level:
		return Outcome{}, refuse(ErrTooNew, "node %s knows level %d of the metadata, and the region uses %d: upgrade it", c.ID.Short(), c.Level, s.level)
	case known && c.Boot == n.Boot && c.Instance == n.Instance:
		return Outcome{Result: n}, nil
	case known && c.Boot <= n.Boot:
		return Outcome{}, refuse(ErrClone, "node %s starts for the %dth time, and the region has seen its %dth: its disk was restored from an image, or copied; start it with an empty data directory to join as a new node", c.ID.Short(), c.Boot, n.Boot)
	}
	if !known {
		if err := s.makeRoom(); err != nil {
			return Outcome{}, err
		}
		n = Node{ID: c.ID, NextEpoch: s.epochFloor, State: Gone}
	}
	if n.State == Gone {
		n.State, n.Since = Active, s.clock
	}
	n.Name, n.Zone, n.Weight, n.Boot, n.Instance, n.Level = c.Name, c.Zone, c.Weight, c.Boot, c.Instance, c.Level
	s.nodes[n.ID] = n
	return Outcome{n, Nodes}, nil
}

// makeRoom forgets, if there are too many nodes, the one that has been gone
// longest and keeps nothing. Later nodes, it among them should it come back,
// begin above its epochs.
func (s *State) makeRoom() error {
	if len(s.nodes) < MaxNodes {
		return nil
	}
	holders := map[peer.ID]bool{}
	for _, p := range s.partitions {
		for _, r := range p.Replicas {
			holders[r.Node] = true
		}
	}
	var oldest Node
	for _, n := range sorted(s.nodes, byNode) {
		if n.State == Gone && !holders[n.ID] && (oldest.ID == "" || n.Since.Before(oldest.Since)) {
			oldest = n
		}
	}
	if oldest.ID == "" {
		return refuse(ErrLimit, "the region has %d nodes, and none that is gone and keeps nothing: mark as gone those that will not come back", MaxNodes)
	}
	s.epochFloor = max(s.epochFloor, oldest.NextEpoch)
	delete(s.nodes, oldest.ID)
	return nil
}

// SetNodeState drains a node, takes that back, or says that it has left.
type SetNodeState struct {
	ID    peer.ID   `json:"id"`
	State NodeState `json:"state"`
}

func (*SetNodeState) kind() string { return "node.state" }

func (c *SetNodeState) apply(s *State, _ uint64) (Outcome, error) {
	n, ok := s.nodes[c.ID]
	switch {
	case !ok:
		return Outcome{}, refuse(ErrUnknown, "no node %.80q is registered", c.ID)
	case c.State != Active && c.State != Draining && c.State != Gone:
		return Outcome{}, refuse(ErrInvalid, "node %s: state %.20q; active, draining and gone are right", c.ID.Short(), c.State)
	case n.State == c.State:
		return Outcome{Result: n}, nil
	case n.State == Gone:
		return Outcome{}, refuse(ErrRefused, "node %s is gone: it comes back by starting", c.ID.Short())
	}
	n.State, n.Since = c.State, s.clock
	s.nodes[n.ID] = n
	changed := Nodes
	if n.State == Gone {
		for _, p := range sorted(s.partitions, byNumber) {
			on := slices.IndexFunc(p.Replicas, func(r Replica) bool { return r.Node == n.ID })
			if p.Retired.IsZero() || on < 0 {
				continue
			}
			s.erase(p, on) // it will not tell that it has deleted its replica
			changed |= Partitions
		}
	}
	return Outcome{n, changed}, nil
}

// newEpoch gives out a node's next epoch.
func (s *State) newEpoch(id peer.ID) ReplicaID {
	n := s.nodes[id]
	r := ReplicaID{id, n.NextEpoch}
	n.NextEpoch++
	s.nodes[id] = n
	return r
}
