package node

import (
	"fmt"
	"time"

	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// Replies travel as control frames, past all events:
//
//	received:     reply …              from a node to its region's entry node
//	acknowledged: hops (1) | reply …   from an entry node towards the origin
//
// They are collected for a moment, so that one stands for many frames.

const (
	// answerAfter is how long replies are collected.
	answerAfter = 2 * time.Millisecond
	// maxAnswer is how long a frame of replies gets, in bytes.
	maxAnswer = 32 << 10
	// maxHops bounds the nodes that a reply passes.
	maxHops = 2 * wire.MaxVisited
)

// answers are replies by the node they go to next.
type answers struct {
	n        *Node
	hops     byte // that those which are collected have made
	received map[peer.ID][]byte
	acked    map[peer.ID][]byte
}

func newAnswers(n *Node, hops byte) *answers {
	return &answers{n: n, hops: hops, received: map[peer.ID][]byte{}, acked: map[peer.ID][]byte{}}
}

// add adds a reply for an entry node of this region.
func (a *answers) add(to peer.ID, r *flow.Reply) {
	b := flow.AppendReply(a.received[to], r)
	if len(b) >= maxAnswer {
		a.send(to, kindReceived, b)
		b = b[:0]
	}
	a.received[to] = b
}

// route adds a reply for an origin: straight to it, or else by way of via, or
// else to where the graph sees its region.
func (a *answers) route(via peer.ID, r *flow.Reply) {
	to := r.Flow.Origin
	if !a.n.net.Linked(to) {
		if to = via; to == "" || !a.n.net.Linked(to) {
			origin, _ := a.n.graph.Peer(r.Flow.Origin)
			if to = a.n.graph.Hop(origin.Region, r.Flow.Lane).Next; to == "" {
				a.n.count.dropped(droppedNoRoute)
				return
			}
		}
	}
	b := a.acked[to]
	if len(b) == 0 {
		b = append(b, a.hops)
	}
	b = flow.AppendReply(b, r)
	if len(b) >= maxAnswer {
		a.send(to, kindAcknowledged, b)
		b = b[:0]
	}
	a.acked[to] = b
}

// flush sends what is collected.
func (a *answers) flush() {
	for to, b := range a.received {
		if len(b) > 0 {
			a.send(to, kindReceived, b)
		}
		delete(a.received, to)
	}
	for to, b := range a.acked {
		if len(b) > 0 {
			a.send(to, kindAcknowledged, b)
		}
		delete(a.acked, to)
	}
}

// send sends a frame of replies. One that is lost is made up for.
func (a *answers) send(to peer.ID, kind wire.Kind, body []byte) {
	if err := a.n.net.Send(to, kind, body); err != nil {
		a.n.log.Debug("replies were not sent", "peer", to, "err", err)
	}
}

// answer sees to it that what a lane owes is sent soon.
func (l *lane) answer() {
	l.mu.Lock()
	owes := l.entry.Owes() || l.receiver.Owes()
	l.mu.Unlock()
	if owes && l.due.CompareAndSwap(false, true) {
		signal(l.f.owing)
	}
}

// Reply notes a reply towards an origin. It is the entry's.
func (l *lane) Reply(via peer.ID, r *flow.Reply) { l.answers.route(via, r) }

// reply sends the replies that are due, a moment after they are.
func (f *flows) reply() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	a := newAnswers(f.n, 0)
	for {
		select {
		case <-f.owing:
		case <-f.n.ctx.Done():
			return
		}
		timer.Reset(answerAfter)
		select {
		case <-timer.C:
		case <-f.n.ctx.Done():
			return
		}
		for i := range f.lanes {
			l := &f.lanes[i]
			if !l.due.Swap(false) {
				continue
			}
			l.mu.Lock()
			l.answers = a
			l.receiver.Acknowledge(a.add)
			l.entry.Acknowledge()
			l.answers = nil
			l.mu.Unlock()
		}
		a.flush()
	}
}

// hear takes a frame of replies from a peer.
func (f *flows) hear(from peer.ID, kind wire.Kind, body []byte) error {
	var onward *answers
	if kind == kindAcknowledged {
		if len(body) == 0 {
			return fmt.Errorf("%w: an empty frame of replies", flow.ErrMalformed)
		}
		onward = newAnswers(f.n, body[0]+1)
		body = body[1:]
	}
	now := time.Now()
	for len(body) > 0 {
		r, size, err := flow.ReadReply(body)
		if err != nil {
			return err
		}
		if r.Flow.Lane >= graph.Lanes {
			return fmt.Errorf("%w: a reply on lane %d, there are %d", flow.ErrMalformed, r.Flow.Lane, graph.Lanes)
		}
		body = body[size:]
		l := &f.lanes[r.Flow.Lane]
		switch {
		case kind == kindReceived:
			l.mu.Lock()
			l.entry.Received(from, &r)
			l.mu.Unlock()
			l.answer()
		case r.Flow.Origin == f.n.self.ID:
			l.mu.Lock()
			l.origin.Reply(now, &r)
			l.send(now)
			l.mu.Unlock()
			f.room.open()
		case onward.hops <= maxHops:
			onward.route("", &r)
		}
	}
	if onward != nil {
		onward.flush()
	}
	return nil
}
