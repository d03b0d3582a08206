package flow

import (
	"slices"
	"strings"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// LinkUp hears of a new link to a node of the region, and tells it at once how
// far the flows have come.
func (e *Entry) LinkUp(id peer.ID) {
	i, ok := e.index[id]
	if !ok {
		i = e.freeSlot()
		id = peer.ID(strings.Clone(string(id)))
		e.slots[i].id = id
		e.index[id] = i
	}
	e.slots[i].linked, e.slots[i].dead = true, time.Time{}
	for _, p := range e.flows {
		e.renew(p, i)
		if p.examined > 0 {
			e.claim(p, i) // so that it does not take what has passed before it came for a loss that came later
		}
	}
}

// LinkDown hears that a link broke: its node is not waited for any more, and
// what it did not receive it will find out from the next claim. If there is nothing of
// the kind, it need not be told again before anybody forgets.
func (e *Entry) LinkDown(id peer.ID) {
	i, ok := e.index[id]
	if !ok || !e.slots[i].linked {
		return
	}
	e.slots[i].linked = false
	for _, p := range e.flows {
		p.grow(i)
		n := &p.nodes[i]
		whole := n.out == nil && n.told == p.examined && n.got == p.examined
		if e.renew(p, i); whole {
			n.told = p.examined
		}
		e.progress(p)
	}
}

// Dead hears that a node is taken for dead. It may be out of reach: what it misses is
// remembered for a while.
func (e *Entry) Dead(now time.Time, id peer.ID) {
	e.LinkDown(id)
	if i, ok := e.index[id]; ok {
		e.slots[i].dead = now
	}
}

// mourn forgets the nodes that have been taken for dead for long.
func (e *Entry) mourn(now time.Time) {
	for i := range e.slots {
		if s := &e.slots[i]; !s.dead.IsZero() && now.Sub(s.dead) >= DeadFor {
			e.Gone(s.id)
		}
	}
}

// Gone hears that a node is no member of the region any more.
func (e *Entry) Gone(id peer.ID) {
	e.LinkDown(id)
	if i, ok := e.index[id]; ok {
		e.slots[i] = slot{}
		delete(e.index, id)
	}
	e.memo = e.memo[:0]
}

func (e *Entry) freeSlot() int {
	for i := range e.slots {
		if e.slots[i].id == "" {
			return i
		}
	}
	e.slots = append(e.slots, slot{})
	return len(e.slots) - 1
}

// renew begins a session with a node: whatever passed before it is none of it.
func (e *Entry) renew(p *passing, i int) {
	p.grow(i)
	n := &p.nodes[i]
	if n.out != nil {
		e.free(n.out)
	}
	*n = share{from: p.examined, got: p.examined}
}

// grow makes sure that there is a share for a slot.
func (p *passing) grow(i int) {
	for len(p.nodes) <= i {
		p.nodes = append(p.nodes, share{from: p.examined, got: p.examined})
	}
}

// Settle is for a node that is about to leave, and is called until there is nothing to
// wait for: it tells all nodes how far the flows have come of which nobody else could
// tell them later, and returns those that do not know yet.
func (e *Entry) Settle() (waits []peer.ID) {
	e.Drain()
	for _, p := range e.flows {
		if p.end == originBroke {
			continue
		}
		for i := range p.nodes {
			s := &e.slots[i]
			if s.id != "" && s.dead.IsZero() && !e.settle(p, i) && !slices.Contains(waits, s.id) {
				waits = append(waits, s.id)
			}
		}
	}
	return waits
}

// settle tells a node how far a flow has come, if it has a link, and reports whether
// it knows: of this node's own flow because it has replied, of another's because it
// was told.
func (e *Entry) settle(p *passing, i int) bool {
	n := &p.nodes[i]
	own := p.via == "" && p.end == goesOn
	switch {
	case !e.slots[i].linked:
	case own:
		if n.got < p.examined && n.late != p.examined {
			e.claim(p, i)
			n.late = p.examined
		}
		return n.got == p.examined
	case n.told < p.examined:
		e.claim(p, i)
	}
	return n.told == p.examined
}
