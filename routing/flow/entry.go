package flow

import (
	"slices"
	"strings"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Exchange is what an Entry needs of its node.
type Exchange interface {
	// Route appends to dst the nodes of the region, other than this one, that
	// want an event and are not necessarily linked. With deliver it also gives
	// the event to this node's own subscribers. The envelope is valid during
	// the call.
	Route(flow *ID, namespace string, envelope []byte, deliver bool, dst []peer.ID) []peer.ID
	// Send sends a frame to a node of the region, copying what it needs. False
	// means that there was no room: what the frame held is a gap at that node.
	Send(to peer.ID, f *Frame) bool
	// Reply sends a reply towards the origin, by way of the peer that the flow
	// comes from. One that is lost is made up for.
	Reply(via peer.ID, p *Reply)
}

// DefaultIdle is how long an entry node keeps a flow that is not used.
const DefaultIdle = time.Minute

// DeadFor is how long an entry node remembers what a node misses that is taken for
// dead, and may be out of reach.
const DeadFor = 10 * time.Minute

// EntryStats are what an Entry has done.
type EntryStats struct {
	Flows   int    // kept now
	Events  uint64 // looked at
	Refused uint64 // frames for which Send had no room
	Again   uint64 // times that an origin was asked to send again
}

// Entry is the machine at a region's entry nodes. Make it with NewEntry.
type Entry struct {
	self   *Receiver
	x      Exchange
	idle   time.Duration
	slots  []slot
	index  map[peer.ID]int
	flows  map[ID]*passing
	dirty  []*passing // with something to send
	owing  []*passing // with a reply due
	found  []peer.ID  // of Route
	memo   []hit      // where found was found last time
	frame  Frame      // the one that is being sent
	spare  []*outbox
	last   *passing // the flow of the last input, which is often the next one's
	answer Reply    // the one that is being sent
	stats  EntryStats
}

// slot is a node of the region.
type slot struct {
	id     peer.ID // "" when free
	linked bool
	dead   time.Time // since when it is taken for dead; zero while it is not
}

// hit remembers a slot: the nodes of an event are mostly those of the last one.
type hit struct {
	id   peer.ID
	slot int
}

// passing is a flow as its entry node sees it.
type passing struct {
	id       ID
	via      peer.ID   // where it comes from; "" for this node's own
	examined uint64    // the number up to which all events have been looked at
	base     uint64    // the first that was to be looked at here, since the last begin
	age      uint64    // of what lies before it, in seconds, by then
	acked    uint64    // what the origin was told
	again    bool      // the next reply asks the origin to send again
	asked    time.Time // when it did so, unless the number has come since
	answer   bool      // in Entry.owing
	dirty    bool      // in Entry.dirty
	end      ending
	used     time.Time
	nodes    []share // by slot
}

// ending is how a flow came to its end.
type ending uint8

const (
	goesOn      ending = iota
	originLeft         // kept for the nodes that do not know how far it came
	originBroke        // the same, but only nodes that had no link are told
)

// share is what one node gets of a flow, in the present session of its link.
type share struct {
	from uint64  // the next claim begins behind it
	told uint64  // the claims that were sent go up to here
	owed uint64  // the highest number that it was given, or is to be
	sent uint64  // the highest number that was sent
	got  uint64  // what it says that it has received
	late uint64  // what it had said by the last Tick
	out  *outbox // not sent yet; nil if there is nothing
}

// askEvery is after what time an origin is asked once more to send again.
const askEvery = time.Second

// NewEntry makes an entry that knows no flow and no node. self is the receiver of
// the same node, which serves its own subscribers. An idle of 0 means the
// default.
func NewEntry(x Exchange, self *Receiver, idle time.Duration) *Entry {
	if idle == 0 {
		idle = DefaultIdle
	}
	return &Entry{self: self, x: x, idle: idle, index: map[peer.ID]int{}, flows: map[ID]*passing{}}
}

// Publish passes on an event of this node's own flow to its own region: id is
// that flow, and to the nodes that want it. Nothing is kept for sending again.
func (e *Entry) Publish(now time.Time, id *ID, namespace string, envelope []byte, to []peer.ID) {
	p := e.flow(id)
	p.used = now
	p.examined++
	e.stats.Events++
	e.hand(p, namespace, envelope, to)
	e.touch(p)
}

// Skip gives a number of this node's own flow to events that nodes of its region
// may have wanted when that was not known: whoever is linked later finds it
// missing.
func (e *Entry) Skip(id *ID) { e.flow(id).examined++ }

// Receive takes a frame that came from an origin, through the peer via.
func (e *Entry) Receive(now time.Time, via peer.ID, f *Frame) {
	p := e.flow(&f.Flow)
	if p.via != via {
		p.via = peer.ID(strings.Clone(string(via)))
	}
	p.used, p.end = now, goesOn
	e.owe(p)
	e.touch(p)
	if f.Base > p.examined+1 {
		e.begin(p, f.Base, f.Age)
	}
	if f.Prev > p.examined {
		// What is on its way is out of turn, too: that is no reason to ask again.
		if p.asked.IsZero() || now.Sub(p.asked) >= askEvery {
			p.again, p.asked = true, now
			e.stats.Again++
		}
		return
	}
	if f.Upto <= p.examined {
		return
	}
	in := e.self.flow(&p.id)
	e.self.revive(in)
	e.self.claim(in, p.examined, p.base, p.age)
	switch f.Kind {
	case Events:
		e.examine(p, in, f)
	case Lost:
		e.lose(p, f)
		e.self.lose(in, f)
	}
	p.examined = f.Upto
	in.covered = max(in.covered, f.Upto)
	p.again, p.asked = false, time.Time{}
}

// begin starts a tenure at a number: before it other entry nodes have done the
// work.
func (e *Entry) begin(p *passing, base, age uint64) {
	p.examined, p.base, p.age, p.again, p.asked = base-1, base, age, false, time.Time{}
	for i := range p.nodes {
		e.renew(p, i)
	}
}

// examine looks at a frame's events that are new.
func (e *Entry) examine(p *passing, in *incoming, f *Frame) {
	at := f.Prev
	for i := range f.Runs {
		run := &f.Runs[i]
		at += run.Skip
		for rest := run.Records; len(rest) > 0; {
			namespace, envelope, left, ok := cutRecord(rest)
			if !ok {
				break // not in a frame that was read
			}
			rest = left
			at++
			if at <= p.examined {
				continue
			}
			p.examined = at
			e.stats.Events++
			e.found = e.x.Route(&p.id, namespace, envelope, e.self.take(in, at), e.found[:0])
			e.hand(p, namespace, envelope, e.found)
		}
	}
}

// Received takes what a node of the region says it has received.
func (e *Entry) Received(from peer.ID, r *Reply) {
	p := e.last
	if p == nil || p.id != r.Flow {
		p = e.flows[r.Flow]
	}
	i, ok := e.index[from]
	if p == nil || !ok || i >= len(p.nodes) {
		return
	}
	if n := &p.nodes[i]; r.Upto > n.got {
		n.got = r.Upto
		e.progress(p)
	}
}

// progress sees to it that the origin hears of what is now received.
func (e *Entry) progress(p *passing) {
	if p.via != "" && p.received() > p.acked {
		e.owe(p)
	}
}

// received is up to where every node has received what it was given.
func (p *passing) received() uint64 {
	upto := p.examined
	for i := range p.nodes {
		if n := &p.nodes[i]; n.owed > n.got {
			upto = min(upto, n.got)
		}
	}
	return upto
}

// owe has Acknowledge reply to a flow.
func (e *Entry) owe(p *passing) {
	if !p.answer {
		p.answer = true
		e.owing = append(e.owing, p)
	}
}

// touch has Drain look at a flow.
func (e *Entry) touch(p *passing) {
	if !p.dirty {
		p.dirty = true
		e.dirty = append(e.dirty, p)
	}
}

// Drain sends what has been collected: call it after a batch of inputs.
func (e *Entry) Drain() {
	for _, p := range e.dirty {
		p.dirty = false
		for i := range p.nodes {
			if p.nodes[i].out != nil {
				e.send(p, i)
			}
		}
	}
	clear(e.dirty)
	e.dirty = e.dirty[:0]
}

// Acknowledge sends the replies that are due; it may well be some milliseconds
// after the inputs, so that one reply stands for many. Owes says whether there
// are any.
func (e *Entry) Acknowledge() {
	for _, p := range e.owing {
		p.answer = false
		if p.via != "" {
			e.reply(p)
		}
	}
	clear(e.owing)
	e.owing = e.owing[:0]
}

// Owes reports whether a reply is due.
func (e *Entry) Owes() bool { return len(e.owing) > 0 }

func (e *Entry) reply(p *passing) {
	// What nodes received beyond what was looked at, others handed to them.
	p.acked = max(p.acked, p.received())
	e.answer = Reply{Flow: p.id, Upto: p.acked}
	if p.again {
		e.answer.Again = p.examined + 1
		p.again = false
	}
	e.x.Reply(p.via, &e.answer)
}

// Tick tells the nodes that got nothing of late how far the flows have come, and
// drops the flows that are over or not used and that every node knows to the end.
// Call it about every second.
func (e *Entry) Tick(now time.Time) {
	e.mourn(now)
	for id, p := range e.flows {
		if p.end == originBroke {
			if now.Sub(p.used) >= e.idle {
				delete(e.flows, id)
				e.last = nil
			}
			continue
		}
		over := p.end != goesOn
		quiet, told := over || p.received() == p.examined, true
		for i := range e.slots {
			if e.slots[i].id == "" {
				continue
			}
			n := &p.nodes[i]
			late := p.via != "" && n.owed > n.got && n.late == n.got // its reply may be lost
			if e.slots[i].linked && (n.told < p.examined || late) && n.out == nil {
				e.claim(p, i)
			}
			n.late = n.got
			told = told && n.told == p.examined
		}
		if over && !told {
			p.used = now // what is told last has to arrive, too
		}
		if quiet && told && !p.dirty && !p.answer && (over || p.via != "") && now.Sub(p.used) >= e.idle {
			delete(e.flows, id)
			e.last = nil
		}
	}
}

// OriginGone hears that the flows of a node are over up to a start of it. If that has
// left, they are kept until all nodes know their end, or are gone: nobody else can
// tell those that have no link now what they missed. Of one that broke off all hear
// that it is lost, but for those that take it for one that has left: they may have no
// link now, and will soon.
func (e *Entry) OriginGone(now time.Time, origin peer.ID, boot uint64, left bool) {
	e.Drain()
	end := originBroke
	if left {
		end = originLeft
	}
	over := func(p *passing) bool { return p.id.Origin == origin && p.id.Boot <= boot }
	e.owing = slices.DeleteFunc(e.owing, over)
	for _, p := range e.flows {
		if over(p) { // it hears no replies any more
			p.end, p.via, p.answer, p.used = end, "", false, now
		}
	}
}

// Stats says what the entry has done.
func (e *Entry) Stats() EntryStats {
	s := e.stats
	s.Flows = len(e.flows)
	return s
}

func (e *Entry) flow(id *ID) *passing {
	if e.last != nil && e.last.id == *id {
		return e.last
	}
	p := e.flows[*id]
	if p == nil {
		p = &passing{id: id.clone(), base: 1}
		if len(e.slots) > 0 {
			p.grow(len(e.slots) - 1)
		}
		e.flows[p.id] = p
	}
	e.last = p
	return p
}
