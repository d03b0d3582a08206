package node

import (
	"time"

	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
)

// cost is what a link costs now.
func (n *Node) cost(l *transport.LinkStats) int {
	return graph.Cost(l.RTT, l.Loss, n.cfg.LinkCosts[l.Peer.Region])
}

// traffic is how many bytes went over a link in a second.
type traffic struct{ in, out uint64 }

// measure looks at the links once a second: how much goes over them, and what they
// cost, which it tells the graph. What this node then says of them, spread says
// with the next tick.
func (n *Node) measure() {
	totals, at := map[peer.ID]traffic{}, time.Now()
	for n.sleep(measureEvery) {
		costs, rates := map[peer.ID]int{}, map[peer.ID]traffic{}
		before, since := totals, time.Since(at).Seconds()
		totals, at = map[peer.ID]traffic{}, time.Now()
		for _, l := range n.net.Links() {
			totals[l.Peer.ID] = traffic{l.BytesIn, l.BytesOut}
			if old, known := before[l.Peer.ID]; known {
				per := func(now, before uint64) uint64 { return uint64(float64(now-min(before, now)) / since) }
				rates[l.Peer.ID] = traffic{per(l.BytesIn, old.in), per(l.BytesOut, old.out)}
			}
			if l.State == transport.Up {
				costs[l.Peer.ID] = n.cost(&l)
			}
		}
		n.rates.Store(&rates)
		n.graph.SetCosts(costs)
	}
}
