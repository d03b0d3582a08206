package meta

import (
	"time"

	"github.com/skeinmesh/skein/replication/placement"
	"github.com/skeinmesh/skein/transport/peer"
)

// Seen is what the asker sees of the region at the moment, which metadata does
// not know.
type Seen struct {
	// Node says whether a node can be reached, and if not, for how long it could
	// not.
	Node func(peer.ID) (alive bool, down time.Duration)

	// Leader is the node that leads a partition, or empty.
	Leader func(partition ID) peer.ID

	// Leads is how many partitions a node said it leads; 0 if it did not.
	Leads func(peer.ID) int
}

// View is the region as package placement wants to see it.
func (s *State) View(seen Seen) placement.View {
	var v placement.View
	for _, n := range s.Nodes() {
		p := placement.Node{ID: n.ID, Zone: n.Zone, Weight: n.Weight}
		p.Alive, p.Down = seen.Node(n.ID)
		p.Leads = seen.Leads(n.ID)
		switch n.State {
		case Draining:
			p.State = placement.Draining
		case Gone:
			p.State = placement.Gone
		}
		v.Nodes = append(v.Nodes, p)
	}
	for _, p := range s.Partitions() {
		if p.Retired.IsZero() {
			v.Partitions = append(v.Partitions, p.view(seen.Leader(p.ID)))
		}
	}
	return v
}

func (p Partition) view(leader peer.ID) placement.Group {
	g := placement.Group{ID: p.ID, Want: p.Want, Leader: leader}
	for _, r := range p.Replicas {
		g.Replicas = append(g.Replicas, r.view())
	}
	if p.Change != nil {
		g.Change = &placement.Change{Undoable: p.Change.undoable()}
		if i := p.Replica(p.Change.Add); i >= 0 {
			g.Change.Add = p.Replicas[i].view()
		}
		if i := p.Replica(p.Change.Remove); i >= 0 {
			g.Change.Remove = p.Replicas[i].view()
		}
		if p.Change.Phase == Undo {
			g.Change.Add, g.Change.Remove = placement.Replica{}, g.Change.Add
		}
	}
	return g
}

func (r Replica) view() placement.Replica {
	return placement.Replica{Node: r.Node, Epoch: r.Epoch, Voter: r.Role == Voter, Lost: r.Lost}
}

// Command is the command that begins a step of placement.Next.
func (s *State) Command(step placement.Step) (Command, error) {
	if !step.Undo {
		return &BeginChange{
			Partition: step.Partition, Add: step.Add, Remove: ReplicaID{step.Remove.Node, step.Remove.Epoch},
			RemoveFirst: step.RemoveFirst, Why: string(step.Why),
		}, nil
	}
	p, ok := s.Partition(step.Partition)
	if !ok || p.Change == nil {
		return nil, refuse(ErrConflict, "partition %s: no change is under way (any more)", ID(step.Partition))
	}
	return &UndoChange{p.ID, p.Change.Index}, nil
}
