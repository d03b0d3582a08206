package routing

import (
	"slices"

	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/routing/graph"
)

// Relay splits what passes a region among the next nodes: one frame to each node
// that is next for some of the regions it is for, with those. So a region is in one
// of them only, whatever nodes believe of the routes. head is what ReadHead found,
// which is left as it is; own is the region that is passed, and next the next step
// to another, of which no Next is no way. The frame is valid during send.
func Relay(head *flow.Frame, own string, next func(region string) graph.Hop, send func(hop graph.Hop, to *flow.Frame)) {
	targets := append([]flow.Claim{{Region: head.Flow.Region, Base: head.Base, Age: head.Age, Prev: head.Prev}}, head.Others...)
	targets = slices.DeleteFunc(targets, func(c flow.Claim) bool { return c.Region == own })
	count, out := head.Upto-head.Prev, *head
	for len(targets) > 0 {
		c, hop := targets[0], next(targets[0].Region)
		out.Flow.Region, out.Base, out.Age, out.Prev, out.Upto, out.Others = c.Region, c.Base, c.Age, c.Prev, c.Prev+count, nil
		left := targets[:0]
		for _, c := range targets[1:] {
			if next(c.Region).Next == hop.Next {
				out.Others = append(out.Others, c)
			} else {
				left = append(left, c)
			}
		}
		targets = left
		send(hop, &out)
	}
}
