package replication

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication/multiraft"
)

const (
	// handOverWithin bounds how long a node that goes hands over what it leads. Where
	// others are in step, a few milliseconds are enough.
	handOverWithin = 3 * time.Second
	// handOverAtOnce is how many groups a node that goes hands over at the same time.
	handOverAtOnce = 64
	// stepAsideWithin bounds how long any group is tried to be handed over.
	stepAsideWithin = 5 * time.Second
)

var errLeaving = errors.New("replication: the node is about to go")

// mayLead says why this node should not be handed the lead of something, or nil.
func (r *Member) mayLead() error {
	if err := r.Health(); err != nil {
		return err
	}
	if r.leaving.Load() {
		return errLeaving
	}
	return r.room()
}

// HandOver hands all groups that this node leads to other nodes, and has it handed
// none any more: the node is about to be stopped, and who publishes need not wait
// until others find that it is gone. It takes three seconds at most, and says how
// many groups the node leads all the same: nobody else can, or not yet. The node
// follows and votes on until it is closed, so that it can still be elected should
// others fail.
func (r *Member) HandOver(ctx context.Context) (left int) {
	r.leaving.Store(true)
	ctx, cancel := context.WithTimeout(ctx, handOverWithin)
	defer cancel()
	left = r.host.Stats().Leaders
	for left > 0 && ctx.Err() == nil {
		r.handOverAll(ctx, handOverAtOnce)
		before := left
		if left = r.host.Stats().Leaders; left >= before {
			break // who would not a moment ago would not now
		}
	}
	return left
}

// stepAside gives away what this node leads and should not, having no room for it. One
// that is about to go does so by HandOver.
func (r *Member) stepAside() {
	if r.leaving.Load() || r.room() == nil {
		return
	}
	r.handOverAll(r.ctx, 1)
}

// handOverAll hands what this node leads to whoever would have it, so many groups at
// once. One call at a time does: no group is handed over twice.
func (r *Member) handOverAll(ctx context.Context, atOnce int) {
	select {
	case r.handing <- struct{}{}:
		defer func() { <-r.handing }()
	case <-ctx.Done():
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, atOnce)
	for _, g := range r.host.Groups() {
		slots <- struct{}{} // it is free in time
		if !g.IsLeader() {
			<-slots
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, stepAsideWithin)
			defer cancel()
			if err := r.handOver(ctx, g); err != nil {
				r.log.Debug("a group was not handed over", "group", g.ID(), "err", err)
			}
		})
	}
}

// handOver gives leadership to any other voter that may lead.
func (r *Member) handOver(ctx context.Context, g *multiraft.Group) error {
	err := errors.New("replication: there is no other voter")
	for _, m := range g.Members() {
		if m.Voter && m.Replica != g.Self() {
			if err = r.handTo(ctx, g, m.Replica); err == nil {
				return nil
			}
		}
	}
	return err
}

// handTo gives leadership to a replica whose node would have it.
func (r *Member) handTo(ctx context.Context, g *multiraft.Group, to multiraft.Replica) error {
	if _, err := r.askLeads(ctx, to.Node); err != nil {
		return err
	}
	return g.TransferLeadership(ctx, to)
}
