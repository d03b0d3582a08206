package node

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/skeinmesh/skein/routing"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// DefaultNamespace is where events and subscriptions without a namespace are.
const DefaultNamespace = "default"

// Publish routes events, in order, to everybody who wants them now, and
// returns once each is in the queue of every local subscriber and in the lane
// of every peer it goes to. It waits, a bounded time, while a lane that is up
// has no room: that is the back-pressure on publishers. Any number of
// goroutines may call it; order holds within one caller. Nothing of the events
// is kept.
//
// Errors: ErrNotReady, ErrNamespace, ctx's own. An event that cannot reach a
// peer because the link broke is counted in Stats.Lost and is no error: its
// other receivers have it.
func (n *Node) Publish(ctx context.Context, namespace string, evs []event.Event) error {
	if err := n.Ready(); err != nil {
		return err
	}
	ns, err := namespaceOf(namespace)
	if err != nil {
		return err
	}
	m := n.matches.Get().(*routing.Match)
	defer n.matches.Put(m)
	for i := range evs {
		n.table.Match(ns, &evs[i], m)
		if err := n.route(ctx, ns, &evs[i], m); err != nil {
			n.count.published.Add(uint64(i))
			return err
		}
	}
	n.count.published.Add(uint64(len(evs)))
	return nil
}

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

// route acts on what a match found for an event that was published here.
func (n *Node) route(ctx context.Context, ns string, ev *event.Event, m *routing.Match) error {
	n.deliver(ns, ev, m)
	if len(m.Nodes) == 0 && len(m.Regions) == 0 {
		return nil
	}
	lane := routing.Lane(ev.Key())
	rec := wire.Record{How: wire.Deliver, Namespace: ns, Lane: lane, Envelope: ev.Bytes()}
	for _, id := range m.Nodes {
		if err := n.forward(ctx, id, &rec); err != nil {
			return err
		}
	}
	for _, region := range m.Regions {
		hop := n.graph.Hop(region, lane)
		switch {
		case hop.Entry != "":
			rec.How, rec.Targets = wire.Enter, nil
			if err := n.forward(ctx, hop.Entry, &rec); err != nil {
				return err
			}
		case hop.Via != "":
			rec.How, rec.Targets = wire.Relay, []string{region}
			if err := n.forward(ctx, hop.Via, &rec); err != nil {
				return err
			}
		default:
			n.count.lost(lostNoRoute)
		}
	}
	return nil
}

// forward puts a record into a peer's lane and waits, a bounded time, for room.
func (n *Node) forward(ctx context.Context, to peer.ID, rec *wire.Record) error {
	err := n.net.TryForward(to, rec)
	if errors.Is(err, transport.ErrLinkFull) {
		wait, cancel := context.WithTimeout(ctx, maxForward)
		err = n.net.Forward(wait, to, rec)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	n.account(err)
	return nil
}

// tryForward is forward for what came from a peer: a lane's reader never waits.
func (n *Node) tryForward(to peer.ID, rec *wire.Record) { n.account(n.net.TryForward(to, rec)) }

func (n *Node) account(err error) {
	switch {
	case err == nil:
		n.count.forwarded.Add(1)
	case errors.Is(err, transport.ErrLinkDown):
		n.count.lost(lostLinkDown)
	default:
		n.count.lost(lostLinkFull)
	}
}

// deliver gives an event to this node's own subscribers.
func (n *Node) deliver(ns string, ev *event.Event, m *routing.Match) {
	for _, r := range m.Local {
		r.Deliver(ns, ev)
	}
	n.count.delivered.Add(uint64(len(m.Local)))
}

// receive handles a batch of records from a peer's lane.
func (n *Node) receive(from peer.ID, records []byte) {
	m := n.matches.Get().(*routing.Match)
	defer n.matches.Put(m)
	var ev event.Event
	var count uint64
	for len(records) > 0 {
		rec, size, err := wire.ReadRecord(records)
		if err != nil {
			n.log.Error("a lane's batch is malformed; its rest is dropped", "peer", from, "err", err)
			n.count.lost(lostMalformed)
			break
		}
		records = records[size:]
		count++
		if err := ev.Scan(rec.Envelope); err != nil {
			n.log.Error("an event from a peer is malformed", "peer", from, "err", err)
			n.count.lost(lostMalformed)
			continue
		}
		n.handle(&rec, &ev, m)
	}
	n.count.received.Add(count)
}

// handle acts on one record from a peer, as its sender asked.
func (n *Node) handle(rec *wire.Record, ev *event.Event, m *routing.Match) {
	switch rec.How {
	case wire.Deliver:
		n.table.MatchLocal(rec.Namespace, ev, m)
		n.deliver(rec.Namespace, ev, m)
	case wire.Enter:
		n.table.MatchRegion(rec.Namespace, ev, m)
		n.deliver(rec.Namespace, ev, m)
		out := wire.Record{How: wire.Deliver, Namespace: rec.Namespace, Lane: rec.Lane, Envelope: rec.Envelope}
		for _, id := range m.Nodes {
			n.tryForward(id, &out)
		}
	case wire.Relay:
		out := wire.Record{How: wire.Enter, Namespace: rec.Namespace, Lane: rec.Lane, Envelope: rec.Envelope}
		for _, region := range rec.Targets {
			if entry := n.graph.Hop(region, rec.Lane).Entry; entry != "" {
				n.tryForward(entry, &out)
			} else {
				n.count.lost(lostNoRoute)
			}
		}
	}
}

// cause says why a record was lost.
type cause int

const (
	lostLinkDown  cause = iota // the link to the peer broke
	lostLinkFull               // its queue had no room in time
	lostNoRoute                // no link leads to the region
	lostMalformed              // a peer sent what is no record or no event
	causes
)

// causeNames are what people see.
var causeNames = [causes]string{"link_down", "link_full", "no_route", "malformed"}

// counters are a node's Stats while it runs.
type counters struct {
	published, delivered, forwarded, received, missed atomic.Uint64
	losses                                            [causes]atomic.Uint64
}

func (c *counters) lost(why cause) { c.losses[why].Add(1) }
