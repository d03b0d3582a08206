package replication

import (
	"context"
	"fmt"
	"slices"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
)

// Current reports whether this node has heard from its region since it started:
// that it has is in the metadata itself, and so is all that was decided before. Until
// then, what Meta lacks may be there all the same.
func (r *Member) Current() bool {
	n, known := r.meta.state().Node(r.cfg.Self.ID)
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

// SetBack says that somebody outside the region knows a later start of this node, or
// another one of this number: its disk was set back to an old image, or copied. Where
// others vote on the region's metadata, too, they have what this one has forgotten,
// and it takes part in nothing. Where it is the only one, what it has is all that
// there is: it goes on, and what was acknowledged since the image is lost, which is
// logged as an error.
func (r *Member) SetBack(latest uint64, witness string) {
	err := meta.FromCode("clone", fmt.Sprintf("this is start %d of the node, and %s knows another start %d: its disk was set back to an old image, or copied", r.cfg.Self.Boot, witness, latest))
	others := slices.ContainsFunc(r.meta.group().Members(), func(m multiraft.Member) bool { return m.Voter && m.Node != r.cfg.Self.ID })
	r.mu.Lock()
	first := !r.setBack && r.fenced == nil
	r.setBack = true
	r.mu.Unlock()
	switch {
	case !first:
	case others:
		r.begin(func() { r.fence(err) })
	default:
		r.log.Error("what this region had acknowledged since is lost, and offsets are given out a second time: readers elsewhere may have gone past them", "err", err)
	}
}

// registration tells the region of this start.
func (r *Member) registration() *meta.RegisterNode {
	return &meta.RegisterNode{
		ID: r.cfg.Self.ID, Name: r.cfg.Self.Name, Boot: r.cfg.Self.Boot, Instance: r.instance, Level: meta.Level,
	}
}
