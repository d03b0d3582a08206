package replication

import (
	"context"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/transport/peer"
)

// Drain has this node's replicas, and what it leads, go to other nodes, as far as
// there are any; Kept says how far that is. The node gets none, however often it
// starts, until that is taken back. Errors are those of Propose; meta.ErrUnknown says
// that the region does not know this node yet.
func (r *Member) Drain(ctx context.Context, drain bool) error {
	state := meta.Active
	if drain {
		state = meta.Draining
	}
	return r.Propose(ctx, &meta.SetNodeState{ID: r.cfg.Self.ID, State: state})
}

// Draining is the nodes of the region that are being emptied.
func (r *Member) Draining() (list []peer.ID) {
	for _, n := range r.meta.state().Nodes() {
		if n.State == meta.Draining {
			list = append(list, n.ID)
		}
	}
	return list
}

// Kept is what this node keeps and others do not, or not yet without it.
type Kept struct {
	Draining bool
	// Replicas are those of partitions, and that of the metadata if it votes there.
	Replicas int
	// Waiting is how many events are on their way to other regions from here.
	Waiting int64
	// Others is how many other nodes of the region can be reached that take replicas.
	Others int
}

// Kept says what is lost, or missed, if this node is stopped for good.
func (r *Member) Kept() Kept {
	k := Kept{Replicas: r.keeps()}
	if r.away != nil {
		k.Waiting = r.away.Waiting()
	}
	seen := r.seen()
	for _, n := range r.meta.state().Nodes() {
		if n.ID == r.cfg.Self.ID {
			k.Draining = n.State == meta.Draining
		} else if alive, _ := seen.Node(n.ID); alive && n.State == meta.Active {
			k.Others++
		}
	}
	return k
}

// keeps is how many replicas are to be kept here, as far as this node knows, or are
// still here.
func (r *Member) keeps() (n int) {
	self := r.cfg.Self.ID
	for _, p := range r.meta.state().Partitions() {
		for _, rep := range p.Replicas {
			if rep.Node == self {
				n++
			}
		}
	}
	for _, m := range r.meta.group().Members() {
		if m.Voter && m.Node == self {
			n++
		}
	}
	return max(n, len(r.open()))
}
