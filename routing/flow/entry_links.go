package flow

import (
	"strings"

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
	e.slots[i].linked = true
	for _, p := range e.flows {
		e.renew(p, i)
		if p.examined > 0 {
			e.claim(p, i) // so that it does not take what has passed before it came for a loss that came later
		}
	}
}

// LinkDown hears that a link broke: its node is not waited for any more, and
// what it did not receive it will find out from the next claim.
func (e *Entry) LinkDown(id peer.ID) {
	i, ok := e.index[id]
	if !ok || !e.slots[i].linked {
		return
	}
	e.slots[i].linked = false
	for _, p := range e.flows {
		e.renew(p, i)
		e.progress(p)
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
