package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
)

// DrainView says whether a node is being drained, and what it keeps that others do
// not, or not yet without it: nothing is left when Replicas and Waiting are 0.
type DrainView struct {
	Node     string `json:"node"`     // its name
	State    string `json:"state"`    // active or draining
	Replicas int    `json:"replicas"` // of partitions, and of the region's metadata if it votes there
	Waiting  int64  `json:"waiting"`  // events that are on their way to other regions
	Others   int    `json:"others"`   // nodes of the region that can be reached and take replicas
}

// Drain has other nodes of the region take over what this node keeps and leads, so
// that it can be stopped for good; or, with false, takes that back. It does not wait
// for them: Drained says how far that is. A node stays drained when it is started
// again. Errors: ErrNotReady, ErrNoLeader, ErrRefused; with ErrUnknown nobody knows
// whether it was done: it may be asked for again.
func (n *Node) Drain(ctx context.Context, drain bool) (DrainView, error) {
	m := n.streams.member.Load()
	if m == nil {
		return DrainView{}, errNoStreams
	}
	err := m.Drain(ctx, drain)
	if errors.Is(err, meta.ErrUnknown) {
		return DrainView{}, fmt.Errorf("%w: its region does not know it yet", ErrNotReady)
	}
	if err != nil {
		return DrainView{}, fmt.Errorf("node: drain: %w", err)
	}
	return n.drainView(m), nil
}

// Drained says how far Drain is. The error is ErrNotReady.
func (n *Node) Drained() (DrainView, error) {
	m := n.streams.member.Load()
	if m == nil {
		return DrainView{}, errNoStreams
	}
	return n.drainView(m), nil
}

func (n *Node) drainView(m *replication.Member) DrainView {
	k := m.Kept()
	state := meta.Active
	if k.Draining {
		state = meta.Draining
	}
	return DrainView{Node: n.self.Name, State: string(state), Replicas: k.Replicas, Waiting: k.Waiting, Others: k.Others}
}
