package scale

import (
	"slices"
	"strconv"
	"time"

	"github.com/skeinmesh/skein/routing"
	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// flows is a host's machines of package flow, wired as package node wires them;
// there is one of each for all lanes. A host gets them with its first event.
type flows struct {
	h        *host
	origin   *flow.Origin // of publishers
	budget   *flow.Budget
	entry    *flow.Entry
	receiver *flow.Receiver
	relays   *graph.Graph // the host's own, or of a gateway that is not heard
	event    event.Event
	match    routing.Match
	owing    bool
}

// Bytes that a publisher keeps until they are acknowledged, as package node has
// them by default.
const (
	regionBuffer = 16 << 20
	allBuffer    = 256 << 20
)

// eventFlows are the host's flows, made when they are needed first.
func (h *host) eventFlows() *flows {
	if h.flows != nil {
		return h.flows
	}
	f := &flows{h: h, relays: h.graph}
	h.flows = f
	h.w.flowing = append(h.w.flowing, f)
	f.receiver = flow.NewReceiver(f, 0)
	f.entry = flow.NewEntry(f, f.receiver, 0)
	for _, o := range h.region.hosts {
		if o != h && o.up {
			f.entry.LinkUp(o.id)
		}
	}
	if h.publisher {
		f.budget = flow.NewBudget(regionBuffer, allBuffer, 1)
		f.origin = flow.NewOrigin(flow.OriginConfig{
			Self: h.id, Boot: h.boot, Budget: f.budget,
			Path: func(region string, lane uint8) flow.Path {
				hop := h.graph.Hop(region, lane)
				return flow.Path{Next: hop.Next, Link: hop.Link, Shared: hop.Shared}
			},
		})
	}
	if h.gateway && f.relays == nil {
		f.relays = graph.New(h.peer(), func() {})
		for _, r := range h.w.regions {
			for _, g := range r.gateways {
				if r != h.region && g.up {
					f.relays.SetCost(g.id, graph.Cost(2*h.w.oneWay(h.region, r), 0, 0))
					f.relays.SetLinked(g.peer(), true)
				}
			}
		}
	}
	return f
}

// publish publishes an event and notes who must get it: the nodes of all
// subscribers whose interest had come everywhere by now.
func (f *flows) publish() {
	h, w := f.h, f.h.w
	var ev event.Event
	number := w.load.publish(h.region.number, w.subs[w.rng.IntN(len(w.subs))].request, &ev)
	w.phase.published++
	due := map[*host][]*subscription{}
	w.found = w.truth.Match(&ev, w.found[:0])
	for _, s := range w.found {
		if s.host.up && s.host != h && (s.track == nil || s.track.done && !s.track.given) {
			due[s.host] = append(due[s.host], s)
		}
	}
	if len(due) > 0 {
		w.due[number] = &expectation{w.phase, due}
		w.phase.due += len(due)
	}
	h.table.Match(namespace, &ev, &f.match)
	w.phase.regions += len(f.match.Regions)
	lane := routing.Lane(ev.Key())
	for _, region := range f.match.Regions {
		f.number(region, lane, number)
		w.must(f.origin.Publish(w.now, region, lane, namespace, &ev, flow.DropOldest))
	}
	if len(f.match.Nodes) > 0 {
		own := f.number(h.region.name, lane, number)
		f.entry.Publish(w.now, &own, namespace, ev.Bytes(), f.match.Nodes)
	}
	f.drain()
}

// number notes which event gets the next number of a flow of this host.
func (f *flows) number(region string, lane uint8, event int) flow.ID {
	id := flow.ID{Origin: f.h.id, Boot: f.h.boot, Region: region, Lane: lane}
	f.h.w.numbered[id] = append(f.h.w.numbered[id], event)
	return id
}

// drain sends what waits.
func (f *flows) drain() {
	f.entry.Drain()
	if f.origin != nil {
		home := wire.Visited(nil).And(f.h.region.name)
		f.origin.Drain(f.h.w.now, func(to peer.ID, fr *flow.Frame) bool { return f.carry(to, wire.Enter, fr, home) })
		f.h.w.phase.kept = max(f.h.w.phase.kept, f.budget.Used())
	}
	if !f.owing && (f.entry.Owes() || f.receiver.Owes()) {
		f.owing = true
		f.h.w.after(answerAfter, f.answer)
	}
}

// answerAfter is how long replies are collected.
const answerAfter = 2 * time.Millisecond

// answer sends the replies that are due.
func (f *flows) answer() {
	f.owing = false
	f.receiver.Acknowledge(func(to peer.ID, r *flow.Reply) {
		reply := *r
		f.pass(to, len(flow.AppendReply(nil, r)), func(o *flows) { o.entry.Received(f.h.id, &reply) })
	})
	f.entry.Acknowledge()
}

// Reply sends a reply towards an origin. It is the entry's.
func (f *flows) Reply(via peer.ID, r *flow.Reply) {
	reply := *r
	to := r.Flow.Origin
	if !f.linked(f.h.w.hosts[to]) {
		if to = via; !f.linked(f.h.w.hosts[to]) && f.relays != nil {
			to = f.relays.Hop(f.h.w.hosts[r.Flow.Origin].region.name, r.Flow.Lane).Next
		}
	}
	f.pass(to, 1+len(flow.AppendReply(nil, r)), func(o *flows) {
		if o.h.id == reply.Flow.Origin {
			o.origin.Reply(o.h.w.now, &reply)
			return
		}
		o.Reply("", &reply)
	})
}

// linked reports whether the host takes itself for linked to another.
func (f *flows) linked(o *host) bool {
	if o == nil || o == f.h {
		return false
	}
	if f.h.machine != nil && o.machine != nil && (f.h.region.heard || o.region.heard) {
		return f.h.sessions[o.id] != nil
	}
	return f.h.region == o.region || f.h.gateway && o.gateway
}

// pass brings a body of some bytes to a peer, if the link holds.
func (f *flows) pass(id peer.ID, size int, take func(*flows)) bool {
	h, w, o := f.h, f.h.w, f.h.w.hosts[id]
	if !f.linked(o) {
		return false
	}
	s := h.sessions[id]
	if h.region != o.region {
		w.phase.wanRest += uint64(size + frameBytes)
	}
	way := w.oneWay(h.region, o.region)
	after := way
	for w.rng.IntN(lossOneIn) == 0 {
		after += 2*way + resend
	}
	arrives := later(h.order[id], w.now.Add(after))
	h.order[id] = arrives
	boot := o.boot
	w.after(arrives.Sub(w.now), func() {
		if !o.up || o.boot != boot || s != nil && s.link.ended {
			return
		}
		there := o.eventFlows()
		take(there)
		there.drain()
	})
	return true
}

// carry sends a frame to the next node.
func (f *flows) carry(to peer.ID, how wire.How, fr *flow.Frame, visited wire.Visited) bool {
	return f.bring(to, how, flow.AppendFrame(nil, fr), visited, fr.Count())
}

// bring brings an encoded frame to the next node, which takes it.
func (f *flows) bring(to peer.ID, how wire.How, body []byte, visited wire.Visited, events uint64) bool {
	h, w := f.h, f.h.w
	o := w.hosts[to]
	size := wire.HeadSize(visited) + len(body)
	if o != nil && o.region != h.region && events > 0 && f.linked(o) {
		w.phase.crossings += events
		w.phase.wanEvents += uint64(size + frameBytes)
		w.phase.wanRest -= uint64(size + frameBytes) // which pass adds
	}
	return f.pass(to, size, func(there *flows) { there.take(h, how, body, visited, events) })
}

// take takes a frame from a peer, for this region or to be relayed.
func (f *flows) take(from *host, how wire.How, body []byte, visited wire.Visited, events uint64) {
	w, own := f.h.w, f.h.region.name
	var head, fr flow.Frame
	rest, err := flow.ReadHead(body, &head)
	w.must(err)
	if head.Flow.Region == own || slices.ContainsFunc(head.Others, func(c flow.Claim) bool { return c.Region == own }) {
		w.must(flow.ReadFrame(body, &fr))
		fr.For(own)
		if how == wire.Deliver {
			f.receiver.Receive(from.id, &fr)
		} else {
			f.entry.Receive(w.now, from.id, &fr)
		}
	}
	passed := slices.Collect(visited.All())
	next := func(region string) graph.Hop {
		return f.relays.Relay(region, head.Flow.Lane, from.region == f.h.region, passed)
	}
	routing.Relay(&head, own, next, func(hop graph.Hop, to *flow.Frame) {
		visited := visited
		if hop.Abroad && !slices.Contains(passed, own) {
			visited = visited.And(own)
		}
		if hop.Next != "" {
			f.bring(hop.Next, how, append(flow.AppendHead(nil, to), rest...), visited, events)
		}
	})
}

// Send hands a node of the region a frame. It is the entry's.
func (f *flows) Send(to peer.ID, fr *flow.Frame) bool { return f.carry(to, wire.Deliver, fr, nil) }

// Route finds the nodes of the region that want an event. It is the entry's.
func (f *flows) Route(_ *flow.ID, ns string, envelope []byte, deliver bool, dst []peer.ID) []peer.ID {
	f.h.w.must(f.event.Scan(envelope))
	p := f.h.w.phase
	p.entered++
	table := f.h.region.table
	if f.h.region.heard {
		table = f.h.table
	}
	table.MatchRegion(ns, &f.event, &f.match)
	wanted := len(f.match.Nodes) + len(f.match.Local)
	if wanted == 0 {
		p.unwanted++
	}
	for _, id := range f.match.Nodes {
		if id != f.h.id { // a table of all the region has the host itself, too
			dst = append(dst, id)
		}
	}
	if deliver && wanted > 0 {
		f.arrived(&f.event)
	}
	return dst
}

// Deliver gives an event to the node's subscribers. It is the receiver's.
func (f *flows) Deliver(_ *flow.ID, ns string, envelope []byte) {
	f.h.w.must(f.event.Scan(envelope))
	f.h.w.phase.delivered++
	f.h.table.MatchLocal(ns, &f.event, &f.match)
	if len(f.match.Local) == 0 {
		f.h.w.phase.useless++
	}
	f.arrived(&f.event)
}

// Gap reports a loss: whoever it is reported to does not wait any more.
func (f *flows) Gap(g *flow.Gap) {
	for n := g.From; n <= g.To; n++ {
		f.received(f.h.w.numbered[g.Flow][n-1], true)
	}
}

// arrived notes that the host has an event.
func (f *flows) arrived(ev *event.Event) {
	number, err := strconv.Atoi(ev.ID())
	f.h.w.must(err)
	f.received(number, false)
}

// publishAll has all publishers publish from now on, and drives what time drives.
func (w *world) publishAll() {
	for _, h := range w.heard {
		if h.publisher {
			f := h.eventFlows()
			w.every(w.cfg.publish, time.Duration(w.rng.Int64N(int64(w.cfg.publish))), func() bool {
				if !w.silent {
					f.publish()
				}
				return true
			})
		}
	}
	ticks := 0
	w.every(tickEvery, tickEvery, func() bool {
		ticks++
		for _, f := range w.flowing {
			if f.h.flows != f {
				continue // it crashed
			}
			if f.origin != nil {
				f.origin.Reroute()
				f.origin.Tick(w.now)
			}
			if ticks%4 == 0 {
				f.entry.Tick(w.now)
				f.receiver.Tick(w.now)
			}
			f.drain()
		}
		w.flowing = slices.DeleteFunc(w.flowing, func(f *flows) bool { return f.h.flows != f })
		return true
	})
}

// lost tells the flows that a host crashed: nobody expects that it gets what it
// did not have, and its peers find out.
func (w *world) lost(h *host) {
	h.flows, h.order = nil, map[peer.ID]time.Time{}
	for number, e := range w.due {
		if e.hosts[h] != nil {
			e.phase.due--
			w.settled(number, h)
		}
	}
	boot := h.boot
	w.after(downAfter, func() {
		if h.boot != boot {
			return
		}
		for _, f := range w.flowing {
			if f.h.region == h.region {
				f.entry.LinkDown(h.id)
			}
			if f.relays != nil && f.relays != f.h.graph && h.gateway {
				f.relays.SetLinked(h.peer(), false)
			}
		}
	})
}

// back tells the flows that a host is there again.
func (w *world) back(h *host) {
	for _, f := range w.flowing {
		if f.h.region == h.region && f.h != h {
			f.entry.LinkUp(h.id)
		}
		if f.relays != nil && f.relays != f.h.graph && h.gateway && f.h.region != h.region {
			f.relays.SetLinked(h.peer(), true)
		}
	}
}
