package graph

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// What a link costs. The unit is a millisecond of round trip.
const (
	lossWeight  = 20 // by how much all packets getting lost would multiply it
	hopPenalty  = 40 // of each region that an event passes: a relay pays for it twice
	changeShare = 5  // a cost is said anew when it has changed by more than a fifth
	maxCost     = 1_000_000
)

// Cost is what a link with this round trip and share of lost packets costs, and
// what its operator adds.
func Cost(rtt time.Duration, loss float64, operator int) int {
	ms := float64(rtt) / float64(time.Millisecond)
	return int(min(math.Round(ms*(1+lossWeight*loss))+float64(operator), maxCost))
}

// SetCost records what a link costs that is coming up.
func (g *Graph) SetCost(id peer.ID, cost int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.costs[id] = cost
}

// say has this node say a cost for just the regions that it has links into.
func (g *Graph) say() {
	own := g.own()
	for region, cost := range own {
		if _, known := g.said[region]; !known {
			g.said[region] = cost
		}
	}
	maps.DeleteFunc(g.said, func(region string, _ int) bool {
		_, linked := own[region]
		return !linked
	})
}

// SetCosts records what links cost now. What this node says of a region changes
// with it only when that is worth a new look at all routes.
func (g *Graph) SetCosts(costs map[peer.ID]int) {
	g.mu.Lock()
	maps.Copy(g.costs, costs) // a link may have come up since they were looked at
	worth := false
	for region, cost := range g.own() {
		if said := g.said[region]; abs(cost-said)*changeShare > said {
			g.said[region] = cost
			worth = true
		}
	}
	g.mu.Unlock()
	if worth {
		g.update(func() {})
	}
}

func abs(n int) int { return max(n, -n) }

// own is what each region costs that this node has links into: the cheapest.
func (g *Graph) own() map[string]int {
	best := map[string]int{}
	for id := range g.linked {
		r := g.peers[id].Region
		if r == g.self.Region || g.retired[id] {
			continue
		}
		if cost, known := best[r]; !known || g.costs[id] < cost {
			best[r] = g.costs[id]
		}
	}
	return best
}

// Reach lists the other regions that this node has links into, each with its
// cost, as it tells all others: sorted, for SetReach.
func (g *Graph) Reach() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []string
	for region := range g.own() {
		list = append(list, fmt.Sprintf("%s %d", region, g.said[region]))
	}
	slices.Sort(list)
	return list
}

// Reached lists the other regions that this node has links into, sorted.
func (g *Graph) Reached() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []string
	for region := range g.own() {
		list = append(list, region)
	}
	slices.Sort(list)
	return list
}

// SetReach replaces what a gateway of any region says that it reaches. An entry
// that cannot be read is passed over.
func (g *Graph) SetReach(id peer.ID, entries []string) {
	reach := map[string]int{}
	for _, e := range entries {
		region, number, _ := strings.Cut(e, " ")
		if cost, err := strconv.Atoi(number); err == nil && peer.ValidRegion(region) && cost >= 0 {
			reach[region] = min(cost, maxCost)
		}
	}
	g.update(func() { g.reach[id] = reach })
}
