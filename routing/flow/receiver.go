package flow

import (
	"slices"
	"strings"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// DefaultForget is how long a receiver remembers the flows of an origin that is
// gone: for as long as the origin, if it is not gone after all, may send again what
// was delivered, and ten minutes in which that may be on its way or in an entry node.
const DefaultForget = MaxTTL + MaxTTL/fillFraction + 10*time.Minute

// sweepFraction is the part of the time of forgetting after which a receiver looks
// again for what it can forget.
const sweepFraction = 64

// Sink takes what comes out of flows at a node, in order per flow.
type Sink interface {
	// Deliver gives an event to the node's subscribers. The envelope is valid
	// during the call.
	Deliver(flow *ID, namespace string, envelope []byte)
	// Gap reports a loss to those subscribers whose filters accept some event
	// with one of the gap's labels, or to all when it has Any. The strings are
	// valid during the call.
	Gap(g *Gap)
}

// ReceiverStats are what a Receiver has done.
type ReceiverStats struct {
	Flows      int    // remembered now
	Events     uint64 // delivered
	Duplicates uint64 // events dropped because they had been delivered or reported
	Gaps       uint64
}

// Receiver is the machine at each node that has subscribers. Make it with
// NewReceiver.
type Receiver struct {
	sink   Sink
	forget time.Duration
	flows  map[ID]*incoming
	ended  map[peer.ID]end
	swept  time.Time   // when it was last looked what can be forgotten
	due    []*incoming // with creditors to hear of it
	last   *incoming   // the flow of the last frame, which is often the next one's
	reply  Reply       // the one that is being sent
	stats  ReceiverStats
}

// incoming is a flow as its receiver sees it.
type incoming struct {
	id      ID
	covered uint64    // up to here all is delivered, reported or not for this node
	known   bool      // heard of before
	over    time.Time // since when nothing new is awaited of it; zero while it is
	owed    []creditor
	due     bool // in Receiver.due
}

// creditor is an entry node that may have to hear what is received.
type creditor struct {
	id  peer.ID
	due bool
}

// maxCreditors is how many entry nodes of a flow are remembered; there are more
// only while nodes come and go.
const maxCreditors = 8

// end is the end of a node's starts up to boot, which has been reported.
type end struct {
	boot  uint64
	at    time.Time // zero before the next Tick
	clean bool      // it is over for certain, and nothing is lost but what entry nodes tell of
}

// maxAge bounds what is believed of an age, in seconds.
const maxAge = 100 * 365 * 24 * 60 * 60

// NewReceiver makes a receiver that knows no flow. A forget of 0 means the
// default.
func NewReceiver(sink Sink, forget time.Duration) *Receiver {
	if forget == 0 {
		forget = DefaultForget
	}
	return &Receiver{sink: sink, forget: forget, flows: map[ID]*incoming{}, ended: map[peer.ID]end{}}
}

// Receive takes a frame from an entry node.
func (r *Receiver) Receive(from peer.ID, f *Frame) {
	in := r.flow(&f.Flow)
	if f.Upto > in.covered {
		r.revive(in)
	}
	r.claim(in, f.Prev, f.Base, f.Age)
	switch f.Kind {
	case Events:
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
				if r.take(in, at) {
					r.sink.Deliver(&in.id, namespace, envelope)
				}
			}
		}
	case Lost:
		r.lose(in, f)
	}
	in.covered = max(in.covered, f.Upto)
	if from != in.id.Origin || f.Kind == Mark { // an origin keeps nothing for its own region, and waits for replies to marks alone, before it leaves
		r.owe(in, from)
	}
}

// owe notes that an entry node is to hear what is received.
func (r *Receiver) owe(in *incoming, to peer.ID) {
	if !in.due {
		in.due = true
		r.due = append(r.due, in)
	}
	for i := range in.owed {
		if in.owed[i].id == to {
			in.owed[i].due = true
			return
		}
	}
	if len(in.owed) >= maxCreditors {
		in.owed = slices.DeleteFunc(in.owed, func(c creditor) bool { return !c.due })
	}
	in.owed = append(in.owed, creditor{peer.ID(strings.Clone(string(to))), true})
}

// flow is what is known of a flow. The first one of a later start of its origin
// ends those of the earlier ones.
func (r *Receiver) flow(id *ID) *incoming {
	if r.last != nil && r.last.id == *id {
		return r.last
	}
	in := r.flows[*id]
	if in == nil {
		in = &incoming{id: id.clone()}
		r.flows[in.id] = in
		before, after := uint64(0), false
		for _, other := range r.flows {
			if other.id.Origin == id.Origin {
				after = after || other.id.Boot > id.Boot
				if other.id.Boot < id.Boot {
					before = max(before, other.id.Boot)
				}
			}
		}
		if before > 0 && !after {
			r.end(in.id.Origin, before, time.Time{})
		}
	}
	r.last = in
	return in
}

// claim hears that everything after prev was looked at: what lies between this
// node's number and prev has passed it by. All before base had been acknowledged
// age seconds ago.
func (r *Receiver) claim(in *incoming, prev, base, age uint64) {
	if prev > in.covered {
		g := Gap{Flow: in.id, From: in.covered + 1, To: prev, Cause: Missed, Labels: Labels{Any: true}, First: !in.known}
		if g.First && base > 0 {
			g.Old, g.Age = min(base-1, prev), time.Duration(min(age, maxAge))*time.Second
		}
		r.gap(&g)
		in.covered = prev
	}
	in.known = true
}

// take moves a flow's number to that of an event, and reports whether the event
// is new.
func (r *Receiver) take(in *incoming, number uint64) bool {
	if number <= in.covered {
		r.stats.Duplicates++
		return false
	}
	in.covered = number
	r.stats.Events++
	return true
}

// lose reports a gap that the origin made, as far as it is new. The caller moves
// the flow's number.
func (r *Receiver) lose(in *incoming, f *Frame) {
	if from := max(in.covered, f.Prev) + 1; from <= f.Upto {
		r.gap(&Gap{Flow: in.id, From: from, To: f.Upto, Cause: f.Cause, Labels: f.Labels})
	}
}

func (r *Receiver) gap(g *Gap) {
	r.stats.Gaps++
	r.sink.Gap(g)
}

// OriginGone hears that a start of a node is over, and with it those before. Unless
// it was clean, that is, the node has left when all it sent was acknowledged, this is
// a gap of all its flows: even of those that were never heard of.
func (r *Receiver) OriginGone(now time.Time, origin peer.ID, boot uint64, clean bool) {
	if clean {
		if r.ended[origin].boot < boot {
			r.ended[peer.ID(strings.Clone(string(origin)))] = end{boot, now, true}
		}
		return
	}
	r.end(origin, boot, now)
}

// end reports, once, that nothing more will come of a node's starts up to boot.
func (r *Receiver) end(origin peer.ID, boot uint64, now time.Time) {
	if r.ended[origin].boot >= boot {
		return
	}
	origin = peer.ID(strings.Clone(string(origin)))
	r.ended[origin] = end{boot, now, false}
	r.gap(&Gap{Flow: ID{Origin: origin, Boot: boot, Lane: AllLanes}, From: 1, Cause: OriginLost, Labels: Labels{Any: true}})
}

// OriginBack hears that a node which was taken for gone is there after all: if it
// goes again, that is another loss.
func (r *Receiver) OriginBack(origin peer.ID, boot uint64) {
	if e, ok := r.ended[origin]; ok && e.boot >= boot && boot > 0 {
		e.boot = boot - 1
		r.ended[origin] = e
	}
}

// revive notes that something new came of an origin that was taken for gone: its
// end is not over, or it is not gone.
func (r *Receiver) revive(in *incoming) {
	in.over = time.Time{}
	if len(r.ended) > 0 && !r.ended[in.id.Origin].clean {
		r.OriginBack(in.id.Origin, in.id.Boot)
	}
}

// Tick forgets what has long been over; call it about every second.
func (r *Receiver) Tick(now time.Time) {
	if len(r.ended) == 0 || now.Sub(r.swept) < r.forget/sweepFraction {
		return
	}
	r.swept = now
	left := map[peer.ID]bool{}
	for id, in := range r.flows {
		e, ended := r.ended[id.Origin]
		switch {
		case !ended || id.Boot > e.boot:
			in.over = time.Time{}
		case in.over.IsZero():
			if in.over = e.at; e.at.IsZero() {
				in.over = now
			}
		}
		if !in.over.IsZero() && now.Sub(in.over) >= r.forget && !in.due {
			delete(r.flows, id)
			r.last = nil
		} else {
			left[id.Origin] = true
		}
	}
	for origin, e := range r.ended {
		switch {
		case e.at.IsZero():
			e.at = now
			r.ended[origin] = e
		case now.Sub(e.at) >= r.forget && !left[origin]:
			delete(r.ended, origin)
		}
	}
}

// Owes reports whether an entry node is to hear something.
func (r *Receiver) Owes() bool { return len(r.due) > 0 }

// Acknowledge hands out what entry nodes are to hear; it may well be some
// milliseconds after the frames, so that one reply stands for many. A reply that finds no link needs no other: its entry node waits no more.
func (r *Receiver) Acknowledge(reply func(to peer.ID, p *Reply)) {
	for _, in := range r.due {
		r.reply = Reply{Flow: in.id, Upto: in.covered}
		for i := range in.owed {
			if c := &in.owed[i]; c.due {
				c.due = false
				reply(c.id, &r.reply)
			}
		}
		in.due = false
	}
	clear(r.due)
	r.due = r.due[:0]
}

// Stats says what the receiver has done.
func (r *Receiver) Stats() ReceiverStats {
	s := r.stats
	s.Flows = len(r.flows)
	return s
}
