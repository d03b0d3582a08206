package node

import (
	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
)

// cost is what a link costs now.
func (n *Node) cost(l *transport.LinkStats) int {
	return graph.Cost(l.RTT, l.Loss, n.cfg.LinkCosts[l.Peer.Region])
}

// measure tells the graph what links cost. What this node then says of them,
// spread says with the next tick.
func (n *Node) measure() {
	for n.sleep(measureEvery) {
		costs := map[peer.ID]int{}
		for _, l := range n.net.Links() {
			if l.State == transport.Up {
				costs[l.Peer.ID] = n.cost(&l)
			}
		}
		n.graph.SetCosts(costs)
	}
}
