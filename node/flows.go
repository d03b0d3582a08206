package node

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/routing"
	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// flows connects the machines of package flow with the routing table, the graph
// and the lanes. There is a machine of each kind for each slice of the keys,
// under one lock: what concerns a key happens in one order.
//
//	Publish  → origin → Enter record → (relays) → entry → Deliver record → receiver
//	         ↘ entry (own region)                  ↘ subscribers             ↘ subscribers
//	origin ← acknowledgements (relays) ← entry ← received ← receiver
//
// What an origin cannot send now it keeps, and the pump sends it when a lane has
// room again. A relay or an entry node keeps nothing: what it cannot send is
// asked for again, or found missing.
type flows struct {
	n       *Node
	lanes   [graph.Lanes]lane
	budget  *flow.Budget
	room    room
	pump    chan struct{} // holds a token while origins may have something to send
	owing   chan struct{} // holds a token while replies are due
	ttl     time.Duration // of events that are not acknowledged
	started time.Time
	home    wire.Visited              // this node's region: what begins here has passed it
	opened  atomic.Bool               // this node knows what its region wants
	fresh   atomic.Pointer[time.Time] // when this node entered the mesh, unless a link broke since
	lost    lostOrigins
	touch   touch
	doubts  atomic.Pointer[doubts] // nil when there are none
	absent  sync.Map               // peer.ID → *absence
	former  sync.Map               // peer.ID → *leaver
	told    sync.Map               // peer.ID → *atomic.Uint32: on which slices nodes of the region have told how far their flows are
}

// lane is the machines for one slice of the keys. It is their Sink and Exchange.
type lane struct {
	f      *flows
	number uint8
	due    atomic.Bool // there are replies to send

	mu       sync.Mutex // guards the fields below
	origin   *flow.Origin
	entry    *flow.Entry
	receiver *flow.Receiver
	own      flow.ID // of this node's events for its own region
	in       flow.Frame
	out      parcel
	event    event.Event
	match    routing.Match
	answers  *answers // set while replies are collected
	early    map[flow.ID]*early
}

// parcel is a flow's frame as a record of a lane.
type parcel struct {
	how     wire.How
	visited wire.Visited
	frame   *flow.Frame
	rest    []byte // of a frame that is passed on: what follows its head
}

func (p *parcel) Size() int {
	if p.rest != nil {
		return wire.HeadSize(p.visited) + flow.HeadSize(p.frame) + len(p.rest)
	}
	return wire.HeadSize(p.visited) + flow.FrameSize(p.frame)
}

func (p *parcel) AppendTo(dst []byte) []byte {
	dst = wire.AppendHead(dst, p.how, p.visited)
	if p.rest != nil {
		return append(flow.AppendHead(dst, p.frame), p.rest...)
	}
	return flow.AppendFrame(dst, p.frame)
}

func newFlows(n *Node) *flows {
	f := &flows{
		n: n, ttl: n.cfg.TTL, started: time.Now(), home: wire.Visited(nil).And(n.self.Region),
		budget: flow.NewBudget(n.cfg.RegionBuffer, n.cfg.Buffer, graph.Lanes),
		pump:   make(chan struct{}, 1), owing: make(chan struct{}, 1),
	}
	for i := range f.lanes {
		l := &f.lanes[i]
		l.f, l.number = f, uint8(i)
		l.own = flow.ID{Origin: n.self.ID, Boot: n.self.Boot, Region: n.self.Region, Lane: l.number}
		l.origin = flow.NewOrigin(flow.OriginConfig{
			Self: n.self.ID, Boot: n.self.Boot, Budget: f.budget, TTL: f.ttl, Path: f.path,
		})
		l.receiver = flow.NewReceiver(l, 0)
		l.entry = flow.NewEntry(l, l.receiver, 0)
	}
	return f
}

// path is where a flow to another region goes now.
func (f *flows) path(region string, lane uint8) flow.Path {
	hop := f.n.graph.Hop(region, lane)
	return flow.Path{Next: hop.Next, Link: hop.Link, Shared: hop.Shared}
}

// reroute sends every flow where the graph says now.
func (f *flows) reroute() {
	now := time.Now()
	for i := range f.lanes {
		l := &f.lanes[i]
		l.mu.Lock()
		l.origin.Reroute()
		l.send(now)
		l.mu.Unlock()
	}
}

// linkUp hears that a node of this region is linked, and that it is known what it
// wants: events that passed before that are not told to be none of its. It is told
// how far the flows are.
func (f *flows) linkUp(id peer.ID) {
	for i := range f.lanes {
		l := &f.lanes[i]
		l.mu.Lock()
		l.entry.LinkUp(id)
		l.mu.Unlock()
		f.n.account(f.n.net.Forward(id, l.number, &wire.Record{How: wire.Told, Body: []byte{l.number}}, 0), 0)
	}
}

// linkDown hears that a link to a node of this region broke.
func (f *flows) linkDown(id peer.ID) {
	if f.hasTold(id) {
		f.touch.part(id, time.Now()) // before it is forgotten that it has
	}
	if _, own := f.told.LoadAndDelete(id); own {
		f.disturbed()
	}
	for i := range f.lanes {
		l := &f.lanes[i]
		l.mu.Lock()
		l.entry.LinkDown(id)
		l.mu.Unlock()
		l.answer()
	}
}

// hasTold reports whether a linked node of the region has told how far the flows
// are that it is an entry node of.
func (f *flows) hasTold(id peer.ID) bool {
	slices, told := f.told.Load(id)
	return told && slices.(*atomic.Uint32).Load() == 1<<graph.Lanes-1
}

// publish gives an event that was published here to those who want it, and notes
// on which lane its flows are. Its caller sees to it that they are drained.
func (f *flows) publish(ctx context.Context, now time.Time, ns string, ev *event.Event, m *routing.Match, req *admission) error {
	if len(m.Nodes) == 0 && len(m.Regions) == 0 {
		f.n.deliver(ns, ev, m.Local)
		return nil
	}
	l := &f.lanes[routing.Lane(ev.Key())]
	if err := l.admit(ctx, ns, ev, m, req); err != nil {
		return err
	}
	defer l.mu.Unlock()
	if !req.since.IsZero() {
		now = time.Now()
	}
	req.touched[l.number] = true
	policy := req.policy
	if policy == flow.Block {
		policy = flow.DropNewest // for when another lane has just taken the room that was found
	}
	for _, region := range m.Regions {
		if err := l.origin.Publish(now, region, l.number, ns, ev, policy); err != nil {
			f.n.log.Error("an event found no place in a flow", "region", region, "err", err) // only with Block
		}
	}
	if len(m.Nodes) > 0 {
		l.entry.Publish(now, &l.own, ns, ev.Bytes(), m.Nodes)
	}
	f.n.deliver(ns, ev, m.Local)
	return nil
}

// drain sends what was published on a lane.
func (l *lane) drain(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entry.Drain()
	l.send(now)
}

// send sends what the origin has. l.mu is held.
func (l *lane) send(now time.Time) { l.origin.Drain(now, l.offer) }

// offer hands a frame of this node's flows to the next node. l.mu is held.
func (l *lane) offer(to peer.ID, fr *flow.Frame) bool {
	l.out = parcel{how: wire.Enter, visited: l.f.home, frame: fr}
	count := fr.Count()
	switch err := l.f.n.net.Offer(to, l.number, &l.out, int(count)); err {
	case nil:
		l.f.n.count.forwarded.Add(count)
		return true
	case transport.ErrLinkFull, transport.ErrLinkDown:
		return false // it is kept
	default:
		l.f.n.log.Error("a frame of a flow cannot be sent", "peer", to, "err", err)
		return false
	}
}

// Send hands a node of the region a frame. It is the entry's.
func (l *lane) Send(to peer.ID, fr *flow.Frame) bool {
	l.out = parcel{how: wire.Deliver, frame: fr}
	count := fr.Count()
	return l.f.n.account(l.f.n.net.Forward(to, l.number, &l.out, int(count)), count)
}

// Route finds the nodes of the region that want an event. It is the entry's.
func (l *lane) Route(_ *flow.ID, ns string, envelope []byte, deliver bool, dst []peer.ID) []peer.ID {
	if !l.scan(envelope) {
		return dst
	}
	l.f.n.table.MatchRegion(ns, &l.event, &l.match)
	if deliver {
		l.f.n.deliver(ns, &l.event, l.match.Local)
	}
	return append(dst, l.match.Nodes...)
}

// Deliver gives an event to this node's subscribers. It is the receiver's.
func (l *lane) Deliver(_ *flow.ID, ns string, envelope []byte) {
	if l.scan(envelope) {
		l.f.n.table.MatchLocal(ns, &l.event, &l.match)
		l.f.n.deliver(ns, &l.event, l.match.Local)
	}
}

func (l *lane) scan(envelope []byte) bool {
	if err := l.event.Scan(envelope); err != nil {
		l.f.n.log.Error("an event from a peer is malformed", "err", err)
		l.f.n.count.dropped(droppedMalformed)
		return false
	}
	return true
}

// run drives the origins when lanes have room, and time.
func (f *flows) run() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for ticks := 0; ; {
		select {
		case <-f.pump:
			now := time.Now()
			for i := range f.lanes {
				f.lanes[i].drain(now)
			}
			f.room.open()
		case now := <-ticker.C:
			ticks++
			f.tick(now, ticks%int(time.Second/tickEvery) == 0)
		case <-f.n.ctx.Done():
			return
		}
	}
}

// tick tells the machines the time.
func (f *flows) tick(now time.Time, second bool) {
	for i := range f.lanes {
		l := &f.lanes[i]
		l.mu.Lock()
		l.origin.Tick(now)
		if second {
			l.entry.Tick(now)
			l.receiver.Tick(now)
		}
		l.send(now)
		l.mu.Unlock()
		l.answer()
	}
	if second {
		f.lost.tick(now)
		f.decide(now)
		f.judge(now)
		for _, id := range f.touch.tick(now, f.n.linked) {
			f.ended(id)
		}
	}
}

// HandleRoom is called by a lane that has room again.
func (h *handler) HandleRoom(peer.ID) { signal((*Node)(h).flows.pump) }

// pending lists the regions that have not acknowledged all events of this node,
// sorted: those, too, that gossip does not know any more. What has become a gap
// meanwhile is to be acknowledged as well.
func (f *flows) pending() (regions []string) {
	for i := range f.lanes {
		l := &f.lanes[i]
		l.mu.Lock()
		regions = append(regions, l.origin.Pending()...)
		l.mu.Unlock()
	}
	slices.Sort(regions)
	return slices.Compact(regions)
}

// stats are the sums of the origins'.
func (f *flows) stats() (s flow.OriginStats) {
	for i := range f.lanes {
		l := &f.lanes[i]
		l.mu.Lock()
		one := l.origin.Stats()
		l.mu.Unlock()
		s.Flows += one.Flows
		s.Lost += one.Lost
		s.Resends += one.Resends
	}
	return s
}

// signal leaves a token for whoever waits.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
