package flow

import (
	"slices"
	"strconv"

	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

// Deliver is a member's sink: the checker's place for order and duplicates.
func (n *member) Deliver(id *ID, _ string, envelope []byte) {
	var ev event.Event
	if err := ev.Scan(envelope); err != nil {
		n.w.fail("node %d: %v", n.index, err)
		return
	}
	at, _ := strconv.Atoi(ev.ID())
	p := &n.w.events[at]
	switch {
	case p.done[n.index]:
		n.w.fail("node %d: event %d twice", n.index, p.number)
	case id.Boot != p.boot:
		n.w.fail("node %d: event of boot %d in a flow of boot %d", n.index, p.boot, id.Boot)
	case id.Boot < n.boot: // a zombie's, after the origin's next start: another flow
	case id.Boot == n.boot && p.number <= n.last:
		n.w.fail("node %d: event %d after %d", n.index, p.number, n.last)
	default:
		n.boot, n.last = id.Boot, p.number
	}
	p.done[n.index] = true
}

// Gap is a member's sink, too.
func (n *member) Gap(g *Gap) {
	own := *g
	if g.First && n.w.now.Sub(n.started) < g.Age { // as a node does
		if own.From = max(g.From, g.Old+1); own.From > g.To {
			n.w.spared++
			return
		}
	}
	g = &own
	n.w.gapped++
	own.Labels = g.Labels.clone()
	n.gaps = append(n.gaps, own)
	loss := n.concerns(&own)
	if n.w.lossless && loss {
		n.w.fail("node %d: a gap, which these rules do not allow: %v", n.index, *g)
	}
	if n.w.onlyOrigin && g.Cause != Overflow && loss {
		n.w.fail("node %d: a gap that the origin did not make: %v", n.index, *g)
	}
	if g.Cause == OriginLost {
		return
	}
	if g.From > g.To {
		n.w.fail("node %d: an empty gap: %v", n.index, *g)
	}
	switch {
	case g.Flow.Boot < n.boot:
	case g.Flow.Boot == n.boot && g.From <= n.last:
		n.w.fail("node %d: gap from %d after %d", n.index, g.From, n.last)
	default:
		n.boot, n.last = g.Flow.Boot, g.To
	}
}

// concerns says whether a gap has an event in it that the node wanted. Others
// may: of what passed before the node's start, or of what it did not want when
// another entry node took over before it heard a mark.
func (n *member) concerns(g *Gap) bool {
	for k := range n.w.events {
		p := &n.w.events[k]
		if p.wanted[n.index] && p.boot == g.Flow.Boot && p.number >= g.From && p.number <= g.To {
			return true
		}
	}
	return false
}

// Route is a member's Exchange: everybody knows what everybody wants.
func (n *member) Route(id *ID, namespace string, envelope []byte, deliver bool, dst []peer.ID) []peer.ID {
	var ev event.Event
	if err := ev.Scan(envelope); err != nil {
		n.w.fail("node %d: %v", n.index, err)
		return dst
	}
	kind := kindOf(ev.Type())
	for j, other := range n.w.nodes {
		if other.wants[kind] && j != n.index {
			dst = append(dst, name(j))
		}
	}
	if deliver && n.wants[kind] {
		n.Deliver(id, namespace, envelope)
	}
	return dst
}

func (n *member) Send(to peer.ID, f *Frame) bool {
	if n.w.chance(n.w.refuse) {
		return false
	}
	q := &n.w.frames[n.index][slices.Index(names[:], to)]
	*q = append(*q, AppendFrame(nil, f))
	return true
}

func (n *member) Reply(_ peer.ID, p *Reply) {
	n.w.back[n.index] = append(n.w.back[n.index], AppendReply(nil, p))
}
