package flow

import "github.com/skeinmesh/skein/transport/peer"

// hand puts the event that was looked at last into the outboxes of nodes.
func (e *Entry) hand(p *passing, namespace string, envelope []byte, to []peer.ID) {
	for k, id := range to {
		if k >= len(e.memo) {
			e.memo = append(e.memo, hit{})
		}
		h := &e.memo[k]
		if h.id != id {
			i, ok := e.index[id]
			if !ok {
				continue
			}
			*h = hit{e.slots[i].id, i}
		}
		if !e.slots[h.slot].linked {
			continue
		}
		n := &p.nodes[h.slot]
		if n.out == nil {
			n.out = e.outbox(n.from)
		}
		n.out.add(p.examined, namespace, envelope)
		n.owed = p.examined
		if len(n.out.buf) >= flushAt {
			e.send(p, h.slot)
		}
	}
}

// lose passes on a gap that the origin made, to every linked node: each knows
// best whether it concerns it.
func (e *Entry) lose(p *passing, f *Frame) {
	before := p.examined
	for i := range e.slots {
		if !e.slots[i].linked {
			continue
		}
		n := &p.nodes[i]
		e.send(p, i)
		if n.from < before {
			e.claim(p, i) // the gap must not be taken to begin earlier
		}
		n.owed = f.Upto
		e.frame = Frame{Kind: Lost, Flow: p.id, Base: p.base, Age: p.age, Prev: before, Upto: f.Upto, Cause: f.Cause, Labels: f.Labels}
		e.sendFrame(p, i)
	}
}

// send sends what a node's outbox holds.
func (e *Entry) send(p *passing, i int) {
	n := &p.nodes[i]
	if n.out == nil {
		return
	}
	e.frame = Frame{Kind: Events, Flow: p.id, Base: p.base, Age: p.age, Prev: n.from, Upto: p.examined, Runs: n.out.views()}
	e.sendFrame(p, i)
	e.free(n.out)
	n.out = nil
}

// claim tells a node how far it has missed nothing.
func (e *Entry) claim(p *passing, i int) {
	e.frame = Frame{Kind: Mark, Flow: p.id, Base: p.base, Age: p.age, Prev: p.nodes[i].from, Upto: p.examined}
	e.sendFrame(p, i)
}

// sendFrame sends e.frame to a node. One that is refused is not waited for: the
// next claim begins behind it, and the node finds the gap.
func (e *Entry) sendFrame(p *passing, i int) {
	n := &p.nodes[i]
	if e.x.Send(e.slots[i].id, &e.frame) {
		n.told, n.sent = e.frame.Upto, n.owed
	} else {
		e.stats.Refused++
		n.told, n.owed = 0, n.sent
	}
	n.from = e.frame.Upto
}
