package node

import (
	"context"
	"fmt"
	"time"

	"github.com/skeinmesh/skein/routing"
	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// DefaultNamespace is where events and subscriptions without a namespace are.
const DefaultNamespace = "default"

// Publish routes events, in order, to everybody who wants them now, and returns
// once each is in the queue of every local subscriber, in the lane of every node
// of the region that it goes to, and in the buffer towards every region. What
// happens when there is no room, overflow says; empty is the node's own policy.
// Any number of goroutines may call it; order holds within one caller. Nothing
// of the events is kept.
//
// Errors: ErrNotReady, ErrNamespace, ErrOverloaded, ErrTooLarge, ErrClosed, ctx's
// own, each in a *PartialError when some of the events are routed. What cannot
// reach a node because the link broke is reported there, as a gap, and is no error;
// nor is what finds no room of a call that streams have kept something of.
func (n *Node) Publish(ctx context.Context, namespace string, evs []event.Event, overflow Overflow) error {
	_, err := n.PublishKept(ctx, namespace, evs, overflow)
	return err
}

// PublishKept is Publish that tells where streams keep the events. Those that
// streams want are routed once they are kept, so that nobody hears of an event that
// then does not exist. Errors besides those of Publish: ErrNotKept, and then no
// event is routed. If streams keep any of them, all are taken: whoever sent them again
// would have them kept twice, beyond the streams' windows. What finds no room then,
// after the wait that overflow asks for, is a gap to those who would have heard it.
func (n *Node) PublishKept(ctx context.Context, namespace string, evs []event.Event, overflow Overflow) ([]Position, error) {
	return n.PublishWith(ctx, namespace, evs, PublishOptions{Overflow: overflow})
}

// PublishWith is PublishKept that also says how safe events shall be before it
// returns. Of those that are only Routed then, it tells the partitions.
func (n *Node) PublishWith(ctx context.Context, namespace string, evs []event.Event, how PublishOptions) ([]Position, error) {
	keeps := n.table.Keeps()
	if keeps {
		// It may be over, and the memory used again, before the last try is.
		own := make([]event.Event, len(evs))
		for i := range evs {
			own[i] = evs[i].Clone()
		}
		evs = own
	}
	k, err := n.begin(ctx, namespace, evs, how, keeps)
	if err != nil {
		return nil, err
	}
	return k.End()
}

// Begin begins what PublishWith does, and keeps the events until ctx ends or the
// publish does, or for good if they are only to be Routed: their bytes must not
// change. It does not wait for streams, so that many publishes may be under way;
// streams of this region keep the events in the order of the calls, whatever becomes
// of those before. End must be called for each, in that order.
func (n *Node) Begin(ctx context.Context, namespace string, evs []event.Event, how PublishOptions) (*Keeping, error) {
	return n.begin(ctx, namespace, evs, how, n.table.Keeps())
}

// begin is Begin; streams keep the events if keeps says that there are any.
func (n *Node) begin(ctx context.Context, namespace string, evs []event.Event, how PublishOptions, keeps bool) (*Keeping, error) {
	if err := n.Ready(); err != nil {
		return nil, err
	}
	ns, err := namespaceOf(namespace)
	if err != nil {
		return nil, err
	}
	for i := range evs {
		if size := len(evs[i].Bytes()); size > maxEnvelope {
			return nil, fmt.Errorf("%w: %d bytes, at most %d can be sent to other nodes", event.ErrTooLarge, size, maxEnvelope)
		}
	}
	k := &Keeping{n: n, ctx: ctx, ns: ns, evs: evs, how: how}
	if keeps {
		if err := k.capture(); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// End waits until streams have kept the events, and routes them to everybody who
// wants them now. It returns what PublishKept does.
func (k *Keeping) End() ([]Position, error) {
	positions, err := k.kept()
	if err != nil {
		return positions, err
	}
	return positions, k.n.route(k.ctx, k.ns, k.evs, k.how.Overflow, len(k.parts) > 0)
}

// route hands events to everybody who wants them now. If streams keep any of them,
// it refuses none.
func (n *Node) route(ctx context.Context, ns string, evs []event.Event, overflow Overflow, kept bool) (err error) {
	if overflow == "" {
		overflow = n.cfg.Overflow
	}
	m := n.matches.Get().(*routing.Match)
	defer n.matches.Put(m)
	now, done := time.Now(), 0
	req := admission{policy: overflow.policy()}
	for ; done < len(evs); done++ {
		if d := n.flows.doubts.Load(); d != nil {
			d.match(func() { n.table.Match(ns, &evs[done], m) })
		} else {
			n.table.Match(ns, &evs[done], m)
		}
		err = n.flows.publish(ctx, now, ns, &evs[done], m, &req)
		if err != nil && kept {
			req.policy = flow.DropNewest
			err = n.flows.publish(ctx, now, ns, &evs[done], m, &req)
		}
		if err != nil {
			break
		}
		req.begun = true
	}
	req.drain(n.flows)
	n.count.published.Add(uint64(done))
	if err != nil && done > 0 {
		return &PartialError{done, err}
	}
	return err
}

// maxEnvelope is the largest event that a frame between nodes can carry, in
// bytes, with room for what is around it.
const maxEnvelope = wire.MaxFrame - 4<<10

// namespaceOf checks a namespace's name; empty is the default one.
func namespaceOf(s string) (string, error) {
	if s == "" {
		return DefaultNamespace, nil
	}
	if !peer.ValidName(s) {
		return "", fmt.Errorf("%w %.80q: want 1 to 63 letters, digits, '-', '_' or '.', beginning with a letter or digit", ErrNamespace, s)
	}
	return s, nil
}

// deliver gives an event to this node's own subscribers.
func (n *Node) deliver(ns string, ev *event.Event, to []routing.Receiver) {
	for _, r := range to {
		r.Deliver(ns, ev)
	}
	n.count.delivered.Add(uint64(len(to)))
}
