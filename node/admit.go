package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/skeinmesh/skein/routing"
	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/transport/event"
)

// Overflow says what becomes of an event for which there is no room, because a
// region or a node takes in less than is published. For a node of the own region,
// for which nothing is kept, DropOldest does as DropNewest. A call of which a stream
// keeps something is never refused: what has found no room when Block has waited is a
// gap, as with DropNewest.
type Overflow string

const (
	DropOldest Overflow = "drop_oldest" // it pushes out the oldest: a gap tells (the default)
	DropNewest Overflow = "drop_newest" // it is not sent there: a gap tells
	Block      Overflow = "block"       // Publish waits, and then refuses it with ErrOverloaded
)

// ParseOverflow reads a policy; the empty string is the node's own.
func ParseOverflow(s string) (Overflow, error) {
	switch o := Overflow(s); o {
	case "", DropOldest, DropNewest, Block:
		return o, nil
	}
	return "", fmt.Errorf("overflow %.40q: must be drop_oldest, drop_newest or block", s)
}

func (o Overflow) policy() flow.Policy {
	switch o {
	case Block:
		return flow.Block
	case DropNewest:
		return flow.DropNewest
	}
	return flow.DropOldest
}

// How long a call of Publish waits for room in all: before anything of it is
// routed, and after that, so as not to leave it half done.
const (
	admitFirst = 2 * time.Second
	admitRest  = 10 * time.Second
)

// admission is what one call of Publish asks for.
type admission struct {
	policy  flow.Policy
	begun   bool              // some of its events are routed
	since   time.Time         // when it began to wait for room; zero if it did not
	touched [graph.Lanes]bool // lanes that have something to send
}

// limit is how long it may wait now.
func (a *admission) limit() time.Duration {
	if a.begun {
		return admitRest
	}
	return admitFirst
}

// drain sends what is routed.
func (a *admission) drain(f *flows) {
	now := time.Now()
	for i := range a.touched {
		if a.touched[i] {
			a.touched[i] = false
			f.lanes[i].drain(now)
		}
	}
}

// admit locks the lane, with Block once it has room for an event wherever that
// goes. What is routed does not wait for that.
func (l *lane) admit(ctx context.Context, ns string, ev *event.Event, m *routing.Match, req *admission) error {
	l.mu.Lock()
	if req.policy != flow.Block || l.fits(ns, ev, m) {
		return nil
	}
	l.mu.Unlock()
	req.drain(l.f)
	if req.since.IsZero() {
		req.since = time.Now()
	}
	timer := time.NewTimer(req.limit() - time.Since(req.since))
	defer timer.Stop()
	for {
		opened := l.f.room.wait() // before the last look, so that nothing is missed
		l.mu.Lock()
		if l.fits(ns, ev, m) {
			l.f.room.leave()
			return nil
		}
		l.mu.Unlock()
		err := l.f.n.ctx.Err()
		select {
		case <-opened:
		case <-timer.C:
			err = fmt.Errorf("%w: no room within %v", ErrOverloaded, req.limit())
		case <-ctx.Done():
			err = ctx.Err()
		case <-l.f.n.ctx.Done():
			err = ErrClosed
		}
		l.f.room.leave()
		if err != nil {
			return err
		}
	}
}

// fits reports whether there is room for an event wherever it goes. l.mu is held.
func (l *lane) fits(ns string, ev *event.Event, m *routing.Match) bool {
	for _, region := range m.Regions {
		if !l.origin.Fits(region, l.number, ns, ev) {
			return false
		}
	}
	for _, id := range m.Nodes {
		if l.f.n.net.Full(id, l.number) {
			return false
		}
	}
	return true
}

// room is where publishers wait for it.
type room struct {
	mu      sync.Mutex // guards the fields below
	waiting int
	opened  chan struct{} // nil while nobody waits
}

// wait enters, and returns what is closed when there may be room. leave must
// follow.
func (r *room) wait() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting++; r.opened == nil {
		r.opened = make(chan struct{})
	}
	return r.opened
}

func (r *room) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting--; r.waiting == 0 {
		r.opened = nil
	}
}

// open lets everybody look again.
func (r *room) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opened != nil {
		close(r.opened)
		r.opened = make(chan struct{})
	}
}
