package replication

import (
	"context"

	"github.com/skeinmesh/skein/replication/meta"
)

// Current reports whether this node has heard from its region since it started:
// that it has is in the metadata itself, and so is all that was decided before. Until
// then, what Meta lacks may be there all the same.
func (r *Member) Current() bool {
	n, known := r.meta.state.Node(r.cfg.Self.ID)
	return known && n.Instance == r.instance
}

// CatchUp waits until all is in Meta that was decided before the call. Errors are
// those of Propose.
func (r *Member) CatchUp(ctx context.Context) error {
	for !r.registered.Load() {
		if !r.sleep(ctx, catchUpPause) {
			return ErrNoLeader
		}
	}
	return r.Propose(ctx, r.registration()) // decides nothing if the start is known
}

const catchUpPause = retryPause / 5

// registration tells the region of this start.
func (r *Member) registration() *meta.RegisterNode {
	return &meta.RegisterNode{
		ID: r.cfg.Self.ID, Name: r.cfg.Self.Name, Boot: r.cfg.Self.Boot, Instance: r.instance, Level: meta.Level,
	}
}
