package scale

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/skeinmesh/skein/gossip/fact"
	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/transport/peer"
)

// The network between nodes.
const (
	lanDelay   = 500 * time.Microsecond // one way
	resend     = 25 * time.Millisecond  // beyond a round trip, until a lost packet is sent again
	lossOneIn  = 100
	nodeRate   = 1e9 / 8   // bytes a second that a node sends
	linkRate   = 100e6 / 8 // bytes a second that a link between regions takes
	frameBytes = 6         // of a control frame beside its body
)

// session is one end of a link while it is up.
type session struct {
	link *link
	last time.Time // when the latest message arrives: links keep order
	free time.Time // when all that was sent before has left

	heard   bool // this end's region is
	digests int  // that were sent over it, if that of the other end is not, or only that
}

// link is up or, for both ends, down.
type link struct{ ended bool }

// traffic is what a host sent and received, in bytes.
type traffic struct {
	in, out uint64
	wan     uint64 // of out
	queue   int    // the longest
	kinds   [8]uint64
}

// connectAll links all that should be: each region's nodes, and the gateways of
// all regions to those of the heard ones.
func (w *world) connectAll() {
	for _, r := range w.regions {
		for _, h := range r.hosts {
			if h.speaks() {
				w.connectHost(h)
			}
		}
	}
}

// connectHost links a host to all that it should be linked to and is not.
func (w *world) connectHost(h *host) {
	for _, o := range h.region.hosts {
		if h.region.heard || h.gateway && o.gateway {
			w.connect(h, o)
		}
	}
	if !h.gateway {
		return
	}
	for _, r := range w.regions {
		if r != h.region && (r.heard || h.region.heard) && !w.apart[pair(r, h.region)] {
			for _, o := range r.gateways {
				w.connect(h, o)
			}
		}
	}
}

func pair(a, b *region) [2]int {
	return [2]int{min(a.number, b.number), max(a.number, b.number)}
}

// connect makes a link between two nodes. Each end hears of it before anything
// comes over it.
func (w *world) connect(a, b *host) {
	if s := a.sessions[b.id]; a == b || !a.up || !b.up || s != nil && !s.link.ended {
		return
	}
	l := new(link)
	ends := [2][2]*host{{a, b}, {b, a}}
	for _, e := range ends {
		e[0].sessions[e[1].id] = &session{link: l, heard: e[0].region.heard}
	}
	for _, e := range ends {
		h, o := e[0], e[1]
		if h.moved = true; h.graph != nil {
			h.graph.SetCost(o.id, graph.Cost(2*w.oneWay(h.region, o.region), 0, 0))
			h.graph.SetLinked(o.peer(), true)
		}
		h.machine.LinkUp(w.now, fact.Link{ID: o.id, Region: o.region.name})
	}
	for _, h := range []*host{a, b} {
		w.after(0, func() { h.settle(nil) })
	}
}

// disconnect ends a link: nothing gets through from now on, and the ends that
// live hear of it later.
func (w *world) disconnect(a, b *host) {
	s := a.sessions[b.id]
	if s == nil || s.link.ended {
		return
	}
	l := s.link
	l.ended = true
	for _, e := range [2][2]*host{{a, b}, {b, a}} {
		h, o, boot := e[0], e[1], e[0].boot
		w.after(downAfter+time.Duration(w.rng.IntN(400))*time.Millisecond, func() {
			if s := h.sessions[o.id]; !h.up || h.boot != boot || s == nil || s.link != l {
				return
			}
			delete(h.sessions, o.id)
			if h.moved = true; h.graph != nil {
				h.graph.SetLinked(o.peer(), false)
			}
			h.machine.LinkDown(w.now, o.id)
			h.settle(nil)
		})
	}
}

// send brings a message to its peer, if the link holds.
func (w *world) send(a, b *host, body []byte) {
	s := a.sessions[b.id]
	if s == nil {
		return
	}
	if a.region.heard != b.region.heard {
		if body = w.strip(s, body); body == nil {
			return
		}
	}
	size := len(body) + frameBytes
	a.traffic.out += uint64(size)
	count(&a.traffic, body)
	abroad := a.region != b.region
	if abroad {
		a.traffic.wan += uint64(size)
	}
	// The node's interface, then the link.
	a.free = later(a.free, w.now).Add(transmit(size, nodeRate))
	leaves := a.free
	waiting := int(leaves.Sub(w.now).Seconds() * nodeRate)
	if abroad {
		s.free = later(s.free, leaves).Add(transmit(size, linkRate))
		leaves = s.free
		waiting = max(waiting, int(leaves.Sub(w.now).Seconds()*linkRate))
	}
	a.traffic.queue = max(a.traffic.queue, waiting)
	way := w.oneWay(a.region, b.region)
	arrives := leaves.Add(way)
	for w.rng.IntN(lossOneIn) == 0 {
		arrives = arrives.Add(2*way + resend)
	}
	s.last = later(s.last, arrives)
	boot := b.boot
	w.after(s.last.Sub(w.now), func() {
		if s.link.ended || !b.up || b.boot != boot {
			return
		}
		b.traffic.in += uint64(size)
		w.must(b.machine.Receive(w.now, a.id, body))
		b.settle(a)
	})
}

// moreBytes counts what a message would have had besides.
func (w *world) moreBytes(from, to *host, n int) {
	to.traffic.in += uint64(n)
	if from != nil {
		from.traffic.out += uint64(n)
		if from.region != to.region {
			from.traffic.wan += uint64(n)
		}
	}
}

func (w *world) oneWay(a, b *region) time.Duration {
	if a == b {
		return lanDelay
	}
	return w.rtt[a.number][b.number] / 2
}

func transmit(size int, rate float64) time.Duration {
	return time.Duration(float64(size) / rate * float64(time.Second))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// kindNames are the kinds of records in messages of package fact, by number.
var kindNames = [8]string{1: "delta", 2: "full", 3: "digest", 4: "pull", 5: "ack", 6: "stamp"}

const (
	kindDigest = 3
	kindPull   = 4
	kindStamp  = 6

	flagOffer = 2 // of a digest that offers one fact
)

// records yields the records of a message of package fact, whole, with their kind
// and content.
func records(body []byte, yield func(kind byte, whole, content []byte)) (head []byte) {
	_, n := binary.Uvarint(body[1:])
	head = body[:1+n]
	for b := body[1+n:]; len(b) > 1; {
		size, n := binary.Uvarint(b[1:])
		whole := b[:1+n+int(size)]
		yield(b[0], whole, whole[1+n:])
		b = b[len(whole):]
	}
	return head
}

// count adds a message to its sender's traffic, by kind of record.
func count(t *traffic, body []byte) {
	records(body, func(kind byte, whole, _ []byte) { t.kinds[kind&7] += uint64(len(whole)) })
}

// strip takes from a message between a heard gateway and one that is not heard
// what is only there because the latter does not know what others like it say:
// comparisons beyond those of a new link, and its questions for their facts. It
// returns nil when nothing is left.
func (w *world) strip(s *session, body []byte) []byte {
	var left []byte
	head := records(body, func(kind byte, whole, content []byte) {
		switch {
		case kind == kindStamp:
			return
		case kind == kindDigest && content[0]&flagOffer == 0:
			if s.digests++; s.digests > 2 {
				return
			}
		case kind == kindPull:
			owner := w.hosts[peer.ID(content[1:1+content[0]])]
			if owner == nil || !owner.region.heard && !s.heard {
				return
			}
		}
		left = append(left, whole...)
	})
	if left == nil {
		return nil
	}
	return append(slices.Clip(head), left...)
}
