package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/skeinmesh/skein/gossip/fact"
	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// Control frames and calls between nodes. The values are part of the protocol.
const (
	kindFact         = wire.FirstControl + iota // a message of gossip/fact
	kindJoin                                    // call: how do I join? → joinAnswer
	kindRegister                                // call towards the founding region: registration → meta.Region
	kindBarrier                                 // call to a gateway: has the mesh my interest? → barrierAnswer
	kindLinks                                   // call: your links → []LinkView
	kindHolds                                   // call: has your region, or one beyond, this fact? → nothing
	kindReceived                                // replies of a receiver to its entry node
	kindAcknowledged                            // replies of an entry node on their way to the origin
	kindReplication                             // call to a node of the region: a question of its replication.Member
	kindAbroad                                  // call to a region, from node to node: a question about its streams
	kindKnows                                   // call: streamMark → nothing, once the node knows the stream
	kindStart                                   // call to another region: start → latest
	kindBundle                                  // call to a region, from node to node: a bundle → abroadAnswer of []Position
)

// unknownCall begins the refusal of a node that is older than a call. It is part of the
// protocol.
const unknownCall = "unknown call"

// handler receives what peers send; transport calls it.
type handler Node

// LinkUp is called when a link's handshake is done.
func (h *handler) LinkUp(p peer.Peer) {
	n := (*Node)(h)
	if l, ok := n.net.Link(p.ID); ok {
		n.graph.SetCost(p.ID, n.cost(&l))
	}
	n.outlived(p)
	n.flows.back(p) // a link proves it before gossip does
	n.graph.SetLinked(p, true)
	n.spread.linkUp(p)
	if p.Region == n.self.Region {
		n.streams.linkUp(p.ID)
	} else {
		n.tellStart(p)
	}
}

// LinkDown is called when a link broke or was closed.
func (h *handler) LinkDown(id peer.ID, _ string) {
	n := (*Node)(h)
	p, known := n.graph.Peer(id)
	p.ID = id
	n.graph.SetLinked(p, false)
	if known && n.dead(p) {
		n.drop(p, false) // gossip has said so before
		n.relink()
	}
	if n.leaving.Load() || !n.graph.Wants(id) {
		n.net.Disconnect(id) // neither dead nor spare links are dialled again, nor who has heard that this node leaves
	}
	n.spread.linkDown(id)
	n.flows.linkDown(id)
	n.streams.linkDown(id)
}

// dead reports whether gossip takes a node for dead: neither for alive, nor for one
// that has left.
func (n *Node) dead(p peer.Peer) bool {
	g := n.gossip.Load()
	return g != nil && !g.Left(p) && !slices.ContainsFunc(g.Peers(), func(q peer.Peer) bool { return q.ID == p.ID })
}

// hasLeft reports whether gossip has heard a node's farewell.
func (n *Node) hasLeft(p peer.Peer) bool {
	g := n.gossip.Load()
	return g != nil && g.Left(p)
}

// HandleControl is called with each control frame, in order per peer.
func (h *handler) HandleControl(from peer.ID, kind wire.Kind, body []byte) {
	n := (*Node)(h)
	switch kind {
	case kindFact:
		n.spread.receive(from, body)
	case kindReceived, kindAcknowledged:
		if err := n.flows.hear(from, kind, body); err != nil {
			n.log.Error("a peer's replies are malformed", "peer", from, "err", err)
			n.net.Reject(from, "malformed replies: "+err.Error())
		}
	default:
		n.log.Warn("a peer sent a control frame of an unknown kind", "peer", from, "kind", kind)
	}
}

// HandleCall answers a peer's question in a goroutine of its own.
func (h *handler) HandleCall(ctx context.Context, from peer.Peer, kind wire.Kind, body []byte) ([]byte, error) {
	n := (*Node)(h)
	switch kind {
	case kindJoin:
		return n.answerJoin(ctx)
	case kindRegister:
		return n.answerRegister(ctx, body)
	case kindBarrier:
		return n.answerBarrier(ctx, from.ID, body)
	case kindHolds:
		return n.answerHolds(ctx, body)
	case kindReplication:
		return n.streams.answer(ctx, from.ID, body)
	case kindStart:
		return n.answerStart(from, body)
	case kindAbroad:
		return n.answerAbroad(ctx, body)
	case kindBundle:
		return n.answerBundle(ctx, body)
	case kindKnows:
		return n.answerKnows(ctx, body)
	case kindLinks:
		return n.answerLinks(ctx, inspectScope(body))
	}
	return nil, fmt.Errorf(unknownCall+" %#x: is this node older than the caller?", kind)
}

// observer hears from gossip who exists.
type observer Node

// PeerAlive is called when a node is found or has changed.
func (o *observer) PeerAlive(p peer.Peer) {
	n := (*Node)(o)
	n.book.See(p, time.Now())
	n.regions.see(p.Region, time.Now())
	n.outlived(p)
	n.flows.back(p)
	if p.Region == n.self.Region && !n.net.Linked(p.ID) {
		n.flows.disturbed()
	}
	n.graph.SetPeer(p)
	n.spread.do(func(m *fact.Machine, now time.Time) { m.Alive(now, p.ID) })
	n.relink()
}

// outlived hears that a node runs, and so that starts of it before this one are
// over. A link says so long before gossip does, which says it again: for what was
// still on its way from the earlier start then.
func (n *Node) outlived(p peer.Peer) {
	n.flows.outlived(p)
	if old, known := n.graph.Peer(p.ID); known && old.Boot < p.Boot {
		n.flows.over(old)
	}
}

// PeerGone is called when a node left or is taken for dead. The link to a node
// that is taken for dead is kept while its heartbeats come: gossip says who
// exists, links say who is reachable.
func (o *observer) PeerGone(id peer.ID, left bool) {
	n := (*Node)(o)
	if left || !n.net.Linked(id) {
		if p, known := n.graph.Peer(id); known {
			n.drop(p, left)
		} else if left {
			n.flows.leftAfterAll(id)
		}
		n.net.Disconnect(id)
	}
	if left {
		n.book.Drop(id)
	}
	n.spread.do(func(m *fact.Machine, now time.Time) { m.Gone(now, id, left) })
	n.relink()
}

// drop forgets a node that is gone.
func (n *Node) drop(p peer.Peer, left bool) {
	if left {
		n.flows.left(p) // while it is known what it is called
	}
	n.graph.DropPeer(p.ID)
	if !left {
		n.flows.missing(p)
	}
}

// Rumor is called with what other nodes' spreaders gave to gossip.
func (o *observer) Rumor(_ peer.ID, body []byte) { (*Node)(o).spread.rumor(body) }

// relink has transport keep a link to every peer that should have one.
func (n *Node) relink() {
	if n.leaving.Load() {
		return
	}
	for _, p := range n.graph.Wanted() {
		n.net.Connect(p)
	}
}

// remember writes the peers to disk when they have changed, so that the node
// finds its mesh again.
func (n *Node) remember() {
	for n.sleep(rememberEvery) {
		n.saveBook()
	}
}

func (n *Node) saveBook() {
	now := time.Now()
	for _, p := range n.graph.Peers() { // gossip says only that they came
		n.regions.see(p.Region, now)
	}
	if err := n.regions.save(); err != nil {
		n.log.Error("the regions that there are cannot be written down; after a restart one that is away is not missed", "err", err)
	}
	if !n.book.Changed() {
		return
	}
	if err := n.book.Save(now); err != nil {
		n.log.Error("the peers cannot be written down; after a restart the seeds must answer", "err", err)
	}
}
