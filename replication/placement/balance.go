package placement

import "slices"

// move is a replica that should go from one node to another for balance.
type move struct {
	part     *planned
	from, to int
}

// nextMove finds the next move that brings a node's load within its bounds:
// first off nodes that have too much, then onto nodes that have too little.
//
// A node with too much may have no replica that a node with room can take,
// since that one has the partition already or its zone is full; then a third
// node hands one on. So it looks for the shortest chain of nodes from a giver
// to a taker, each able to hand a replica to the next, and answers with the
// last link: with that done, the chain is one shorter. If any placement within
// the bounds exists, such a chain does (the chains are the augmenting paths of
// a flow from partitions through their zones to nodes), and since each move
// shortens a chain or ends one, moves come to an end.
func (p *plan) nextMove() (move, bool) {
	var over, even, under, spare []int
	for i, n := range p.nodes {
		floor, ceil := p.even(i)
		if n.eligible() && p.load[i] > p.most(i) {
			over = append(over, i)
		}
		if n.eligible() && p.load[i] > floor {
			spare = append(spare, i)
		}
		if p.takes(i) && p.load[i] < ceil {
			even = append(even, i)
		}
		if p.takes(i) && p.load[i] < p.least(i) {
			under = append(under, i)
		}
	}
	if m, ok := p.chain(over, even); ok {
		return m, true
	}
	return p.chain(spare, under)
}

// chain finds the shortest chain from one of givers to one of takers, and
// answers with its last link.
func (p *plan) chain(givers, takers []int) (move, bool) {
	if len(givers) == 0 || len(takers) == 0 {
		return move{}, false
	}
	seen := make([]bool, len(p.nodes))
	for _, i := range givers {
		seen[i] = true
	}
	for queue := slices.Clone(givers); len(queue) > 0; queue = queue[1:] {
		from := queue[0]
		for to := range p.nodes {
			if seen[to] || !p.nodes[to].eligible() {
				continue
			}
			d, ok := p.movable(from, to)
			if !ok {
				continue
			}
			if slices.Contains(takers, to) {
				return move{d, from, to}, true
			}
			seen[to] = true
			queue = append(queue, to)
		}
	}
	return move{}, false
}

// movable finds the partition that can go from one node to another and most
// prefers that other.
func (p *plan) movable(from, to int) (best *planned, found bool) {
	var liked uint64
	for _, d := range p.parts {
		if !d.movable || !slices.Contains(d.on, from) || slices.Contains(d.on, to) {
			continue
		}
		if p.zone[from] != p.zone[to] && p.inZone(d, p.zone[to]) >= d.mayPile[p.zone[to]] {
			continue
		}
		if like := preference(d.ID, p.nodes[to]); !found || like > liked {
			best, liked, found = d, like, true
		}
	}
	return best, found
}

// nextSpread finds a replica in a zone that holds more of its partition's than
// it may, and a node elsewhere that can take it.
func (p *plan) nextSpread() (move, bool) {
	for _, d := range p.parts {
		if !d.movable {
			continue
		}
		for _, from := range p.byPressure(d.on) {
			if p.inZone(d, p.zone[from]) <= d.mayPile[p.zone[from]] {
				continue
			}
			to, ok := p.choose(d, from)
			if ok && p.zone[to] != p.zone[from] && p.inZone(d, p.zone[to]) < d.mayPile[p.zone[to]] {
				return move{d, from, to}, true
			}
		}
	}
	return move{}, false
}

// byPressure orders nodes by how far their load is above their share.
func (p *plan) byPressure(on []int) []int {
	on = slices.Clone(on)
	slices.SortFunc(on, func(a, b int) int {
		x, y := float64(p.load[a])-p.share[a], float64(p.load[b])-p.share[b]
		switch {
		case x > y+epsilon:
			return -1
		case y > x+epsilon:
			return 1
		}
		return a - b
	})
	return on
}
