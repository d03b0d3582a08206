package node

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/routing"
	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// HandleBatch is called with each batch of a lane, in order.
func (h *handler) HandleBatch(from peer.ID, records []byte) { (*Node)(h).flows.receive(from, records) }

// receive handles a batch of records from a peer's lane.
func (f *flows) receive(from peer.ID, records []byte) {
	var touched [graph.Lanes]bool
	now := time.Now()
	for len(records) > 0 {
		rec, size, err := wire.ReadRecord(records)
		if err == nil {
			err = f.take(now, from, &rec, &touched)
		}
		if err != nil {
			f.n.log.Error("a peer's batch is malformed; the link begins anew", "peer", from, "err", err)
			f.n.count.dropped(droppedMalformed)
			f.n.net.Reject(from, "malformed batch: "+err.Error())
			break
		}
		records = records[size:]
	}
	for i := range touched {
		if touched[i] {
			l := &f.lanes[i]
			l.mu.Lock()
			l.entry.Drain()
			l.mu.Unlock()
			l.answer()
		}
	}
}

// take acts on one record from a peer, as its sender asked.
func (f *flows) take(now time.Time, from peer.ID, rec *wire.Record, touched *[graph.Lanes]bool) error {
	if rec.How == wire.Told {
		slices, known := f.told.Load(from)
		if !known {
			slices, _ = f.told.LoadOrStore(peer.ID([]byte(from)), new(atomic.Uint32))
		}
		slices.(*atomic.Uint32).Or(1 << (rec.Body[0] % graph.Lanes))
		return nil
	}
	var head flow.Frame
	rest, err := flow.ReadHead(rec.Body, &head)
	switch own := f.n.self.Region; {
	case err != nil:
		return err
	case head.Flow.Lane >= graph.Lanes:
		return fmt.Errorf("a flow on lane %d, there are %d", head.Flow.Lane, graph.Lanes)
	case rec.How == wire.Deliver && head.Flow.Region != own:
		return fmt.Errorf("events for region %q to be delivered in region %q", head.Flow.Region, own)
	case head.Flow.Region == own || slices.ContainsFunc(head.Others, func(c flow.Claim) bool { return c.Region == own }):
		touched[head.Flow.Lane] = true
		err = f.lanes[head.Flow.Lane].arrive(now, from, rec)
	}
	if err == nil && (head.Flow.Region != f.n.self.Region || len(head.Others) > 0) {
		f.relay(from, rec, &head, rest)
	}
	return err
}

// arrive takes a frame for this region.
func (l *lane) arrive(now time.Time, from peer.ID, rec *wire.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := flow.ReadFrame(rec.Body, &l.in); err != nil {
		return err
	}
	l.in.For(l.f.n.self.Region)
	l.f.n.count.received.Add(l.in.Count())
	switch {
	case rec.How == wire.Deliver:
		l.receiver.Receive(from, &l.in)
	case l.in.Flow.Origin == l.f.n.self.ID:
		return errors.New("events of this node's own, for its own region")
	case !l.f.opened.Load():
		l.postpone(from)
	default:
		l.entry.Receive(now, from, &l.in)
	}
	return nil
}

// early is what came of a flow before this node knew what its region wants.
type early struct {
	via       peer.ID
	base, age uint64
	upto      uint64
}

// maxEarly is how many flows of a lane are remembered so; others are asked for
// when their origins speak again.
const maxEarly = 4096

// postpone leaves a frame to its origin, which keeps it: an entry node that does
// not know what its region wants would pass events over. l.mu is held.
func (l *lane) postpone(via peer.ID) {
	e := l.early[l.in.Flow]
	if e == nil {
		if len(l.early) >= maxEarly {
			return
		}
		if l.early == nil {
			l.early = map[flow.ID]*early{}
		}
		// A key of its own: that of the frame is a view of what the next one overwrites,
		// and an assignment would replace the key, too.
		id := l.in.Flow
		id.Origin, id.Region = peer.ID([]byte(id.Origin)), string([]byte(id.Region))
		e = new(early)
		l.early[id] = e
	}
	e.via, e.upto = peer.ID([]byte(via)), max(e.upto, l.in.Upto)
	if l.in.Base > e.base {
		e.base, e.age = l.in.Base, l.in.Age
	}
}

// open begins with what came early: its origins are asked for it.
func (f *flows) open() {
	f.opened.Store(true)
	now := time.Now()
	for i := range f.lanes {
		l := &f.lanes[i]
		l.mu.Lock()
		for id, e := range l.early {
			l.entry.Receive(now, e.via, &flow.Frame{Kind: flow.Mark, Flow: id, Base: e.base, Age: e.age, Prev: e.upto, Upto: e.upto})
		}
		l.early = nil
		l.entry.Drain()
		l.mu.Unlock()
		l.answer()
	}
}

// relay sends a frame on towards the other regions that it is for, to where it has
// not been: once to each node that is next for some of them. What finds no way or
// no room is dropped: the region will ask the origin for it.
func (f *flows) relay(from peer.ID, rec *wire.Record, head *flow.Frame, rest []byte) {
	n := f.n
	sender, _ := n.graph.Peer(from)
	visited, events := slices.Collect(rec.Visited.All()), uint64(0)
	if head.Kind == flow.Events {
		events = head.Upto - head.Prev
	}
	next := func(region string) graph.Hop {
		return n.graph.Relay(region, head.Flow.Lane, sender.Region == n.self.Region, visited)
	}
	routing.Relay(head, n.self.Region, next, func(hop graph.Hop, to *flow.Frame) {
		p := parcel{how: rec.How, visited: rec.Visited, frame: to, rest: rest}
		if hop.Abroad && !slices.Contains(visited, n.self.Region) { // it leaves this region for good
			if len(visited) == wire.MaxVisited {
				hop.Next = ""
			}
			p.visited = rec.Visited.And(n.self.Region)
		}
		if hop.Next == "" {
			n.count.dropped(droppedNoRoute)
			return
		}
		n.account(n.net.Forward(hop.Next, head.Flow.Lane, &p, int(events)), events)
	})
}

// account counts events that went to a peer, or were dropped. It reports whether
// they went.
func (n *Node) account(err error, events uint64) bool {
	switch {
	case err == nil:
		n.count.forwarded.Add(events)
		return true
	case errors.Is(err, transport.ErrLinkDown):
		n.count.dropped(droppedLinkDown)
	default:
		n.count.dropped(droppedLinkFull)
	}
	return false
}

// drop says why a frame was dropped on its way. What was in it is asked for again
// or, inside a region, found missing.
type drop int

const (
	droppedLinkDown  drop = iota // the link to the peer broke
	droppedLinkFull              // its queue had no room
	droppedNoRoute               // no link leads to the region
	droppedMalformed             // a peer sent what is no frame or no event
	drops
)

// dropNames are what people see.
var dropNames = [drops]string{"link_down", "link_full", "no_route", "malformed"}

// counters are a node's Stats while it runs.
type counters struct {
	published, delivered, forwarded, received atomic.Uint64
	drops                                     [drops]atomic.Uint64
	gaps                                      gapCounters
	streams                                   keepCounters
}

func (c *counters) dropped(why drop) { c.drops[why].Add(1) }
