package node

import (
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Timers of spare links. The other end takes a link out of use within
// pruneEvery of this one, or a little later if it hears of a node later; it is
// closed when nothing has come over it for pruneQuiet after that.
const (
	pruneEvery = 5 * time.Second
	pruneQuiet = 15 * time.Second
)

// prune closes the links that neither end wants any more. Without it a mesh
// that has formed all at once would keep a link between any two nodes.
func (n *Node) prune() {
	type look struct {
		at     time.Time
		events uint64 // that had passed the link, both ways
	}
	quiet := map[peer.ID]look{} // since when, by links that are out of use
	for n.sleep(pruneEvery) {
		now, events := time.Now(), map[peer.ID]uint64{}
		for _, l := range n.net.Links() {
			events[l.Peer.ID] = l.EventsIn + l.EventsOut + uint64(l.Queued)
		}
		before := quiet
		quiet = map[peer.ID]look{}
		for _, id := range n.graph.Spare() {
			last, seen := before[id]
			switch {
			case !seen:
				n.graph.Retire(id)
				n.spread.poke() // the regions that this node reaches may be fewer
				quiet[id] = look{now, events[id]}
			case last.events != events[id]:
				quiet[id] = look{now, events[id]}
			case now.Sub(last.at) < pruneQuiet:
				quiet[id] = last
			default:
				n.log.Debug("closing a link that neither end wants", "peer", id)
				n.net.Disconnect(id)
			}
		}
	}
}
