package placement

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/transport/peer"
)

// region is a region in a test: it carries steps out, as the metadata group
// and the partitions would, and checks what must hold on the way.
type region struct {
	View
	epochs map[peer.ID]uint64
	fatal  func(format string, args ...any)
}

func newRegion(nodes []Node, fatal func(string, ...any)) *region {
	return &region{View: View{Nodes: nodes}, epochs: map[peer.ID]uint64{}, fatal: fatal}
}

// found adds partitions on the nodes Initial chooses.
func (r *region) found(count, rf int) {
	first := len(r.Partitions)
	ids := make([][16]byte, count)
	for i := range ids {
		ids[i] = id(first + i)
	}
	for i, on := range Initial(r.View, ids, rf) {
		part := Group{ID: ids[i], Want: rf}
		for _, n := range on {
			part.Replicas = append(part.Replicas, r.replica(n, true))
		}
		if len(on) > 0 {
			part.Leader = on[0]
		}
		r.Partitions = append(r.Partitions, part)
	}
}

func (r *region) replica(n peer.ID, voter bool) Replica {
	r.epochs[n]++
	return Replica{Node: n, Epoch: r.epochs[n], Voter: voter}
}

func (r *region) node(id peer.ID) *Node {
	for i := range r.Nodes {
		if r.Nodes[i].ID == id {
			return &r.Nodes[i]
		}
	}
	return nil
}

func (r *region) partition(id [16]byte) *Group {
	for i := range r.Partitions {
		if r.Partitions[i].ID == id {
			return &r.Partitions[i]
		}
	}
	r.fatal("a step for the unknown partition %x", id)
	return nil
}

// votes counts a partition's voters, and those of them that can vote.
func (r *region) votes(p *Group) (voters, healthy int) {
	for _, x := range p.Replicas {
		if !x.Voter {
			continue
		}
		voters++
		if n := r.node(x.Node); n != nil && n.Alive && n.State != Gone && !x.Lost {
			healthy++
		}
	}
	return voters, healthy
}

func (r *region) mustDecide(p *Group, when string) {
	if voters, healthy := r.votes(p); healthy < quorum(voters) {
		r.fatal("%x has %d of %d voters healthy %s", p.ID[:2], healthy, voters, when)
	}
}

// begin starts a step: the first of two halves, between which other steps may
// be asked for.
func (r *region) begin(s Step) {
	p := r.partition(s.Partition)
	r.mustDecide(p, "when a step was proposed")
	if s.Undo {
		if p.Change == nil {
			r.fatal("nothing to undo in %x", p.ID)
		}
		add := p.Change.Add
		p.Replicas = slices.DeleteFunc(p.Replicas, func(x Replica) bool { return x.Node == add.Node && x.Epoch == add.Epoch })
		p.Change = nil
		return
	}
	if p.Change != nil {
		r.fatal("a second change of %x at a time: %+v", p.ID, s)
	}
	p.Change = &Change{Remove: s.Remove}
	if s.Add != "" {
		n := r.node(s.Add)
		if n.State != Active || !n.Alive {
			r.fatal("%s gets a replica, and is %+v", s.Add, *n)
		}
		for _, x := range p.Replicas {
			if x.Node == s.Add && x != s.Remove {
				r.fatal("%s gets a second replica of %x", s.Add, p.ID)
			}
		}
		add := r.replica(s.Add, false)
		p.Replicas = append(p.Replicas, add)
		p.Change.Add, p.Change.Undoable = add, true
	}
	catching := 0
	for _, q := range r.Partitions {
		for _, x := range q.Replicas {
			if !x.Voter && x.Node == s.Add {
				catching++
			}
		}
	}
	if catching > MaxCatchingUp {
		r.fatal("%d replicas catch up on %s", catching, s.Add)
	}
}

// finish ends a partition's change, checking its quorum in between.
func (r *region) finish(s Step) {
	p := r.partition(s.Partition)
	if p.Change == nil {
		return
	}
	c := *p.Change
	promote := func() {
		for i := range p.Replicas {
			if p.Replicas[i].Node == c.Add.Node && p.Replicas[i].Epoch == c.Add.Epoch {
				p.Replicas[i].Voter = true
			}
		}
		r.mustDecide(p, "after the promotion of "+string(s.Why))
	}
	remove := func() {
		p.Replicas = slices.DeleteFunc(p.Replicas, func(x Replica) bool { return x.Node == c.Remove.Node && x.Epoch == c.Remove.Epoch })
		r.mustDecide(p, "after the removal of "+string(s.Why))
	}
	if s.RemoveFirst {
		remove()
		promote()
	} else {
		promote()
		remove()
	}
	p.Change = nil
}

// settle asks for steps and carries them out until none is due.
func (r *region) settle() {
	for rounds := 0; ; rounds++ {
		steps := Next(r.View)
		if len(steps) == 0 {
			return
		}
		if rounds > 20*len(r.Partitions)+100 {
			r.fatal("no end of steps, the last: %+v", steps)
		}
		for _, s := range steps {
			r.begin(s)
		}
		for _, s := range steps {
			r.finish(s)
		}
	}
}

// loads counts the replicas of each node.
func (r *region) loads() map[peer.ID]int {
	loads := map[peer.ID]int{}
	for _, p := range r.Partitions {
		for _, x := range p.Replicas {
			loads[x.Node]++
		}
	}
	return loads
}

// checkBounds checks each node's load against bounds found by other means than
// the plan's: by counting, which is right where all weights and wants are equal
// and there is one zone.
func (r *region) checkBounds() {
	eligible, total := 0, 0
	for _, n := range r.Nodes {
		if n.eligible() {
			eligible++
		}
	}
	for _, p := range r.Partitions {
		total += min(p.Want, eligible)
	}
	loads := r.loads()
	for _, n := range r.Nodes {
		if !n.eligible() {
			continue
		}
		// In whole numbers: ceil(1.25 total/eligible) and floor(total/(1.25 eligible)).
		high := (5*total + 4*eligible - 1) / (4 * eligible)
		low := 4 * total / (5 * eligible)
		if load := loads[n.ID]; load > high || load < low {
			r.fatal("%s has %d replicas; %d to %d of %d are right for one of %d nodes", n.ID, load, low, high, total, eligible)
		}
	}
}

func id(i int) [16]byte {
	return [16]byte{byte(i), byte(i >> 8), 0x5e}
}

func nodeID(i int) peer.ID { return peer.ID(fmt.Sprintf("node-%02d", i)) }

// alive is so many nodes, all there, of equal weight and in one zone.
func alive(count int) []Node {
	nodes := make([]Node, count)
	for i := range nodes {
		nodes[i] = Node{ID: nodeID(i), Weight: 1, Alive: true}
	}
	return nodes
}

// drawNodes is nodes in any state.
func drawNodes(t *rapid.T, zones bool) []Node {
	nodes := alive(rapid.IntRange(1, 9).Draw(t, "nodes"))
	for i := range nodes {
		if zones {
			nodes[i].Zone = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "zone")
			nodes[i].Weight = rapid.IntRange(0, 4).Draw(t, "weight")
		}
	}
	return nodes
}

// disturb changes a node's state as life does.
func disturb(t *rapid.T, r *region) {
	n := &r.Nodes[rapid.IntRange(0, len(r.Nodes)-1).Draw(t, "which")]
	switch rapid.IntRange(0, 6).Draw(t, "what") {
	case 0:
		n.Alive, n.Down = false, time.Second
	case 1:
		n.Alive, n.Down = false, DeadAfter
	case 2:
		n.State = Draining
	case 3:
		n.State = Gone
	case 4:
		r.Nodes = append(r.Nodes, Node{ID: nodeID(len(r.Nodes)), Weight: 1, Alive: true, Zone: n.Zone})
	case 5:
		n.Alive, n.Down, n.State = true, 0, Active
	case 6:
		if len(r.Partitions) > 0 {
			p := &r.Partitions[rapid.IntRange(0, len(r.Partitions)-1).Draw(t, "partition")]
			p.Replicas[rapid.IntRange(0, len(p.Replicas)-1).Draw(t, "replica")].Lost = true
		}
	}
}
