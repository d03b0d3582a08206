package placement

import (
	"bytes"
	"slices"

	"github.com/skeinmesh/skein/transport/peer"
)

// Transfer says that a partition's leadership should go from one of its voters
// to another.
type Transfer struct {
	Partition [16]byte
	From, To  peer.ID
}

// Leaders says which leaderships should be handed over: all of nodes that do
// not stay, and those that make the number of partitions a node leads fit its
// weight better. A node takes part in at most one transfer of an answer, so
// asking once a second moves one leadership a second per node. It comes to an
// end: each transfer for balance lowers the sum of leaders²/weight, provided that
// what From and To lead is known. An asker that does not know all leaders asks To
// first (Node.Leads): else two nodes might hand the same leadership to each other
// for ever, each knowing of more that it leads itself.
func Leaders(v View) []Transfer {
	p := newPlan(v)
	leads := make([]int, len(p.nodes))
	for _, d := range p.parts {
		if i, ok := p.at[d.Leader]; ok {
			leads[i]++
		}
	}
	for i, n := range p.nodes {
		leads[i] = max(leads[i], n.Leads)
	}
	busy := make([]bool, len(p.nodes))
	var list []Transfer
	hand := func(d *planned, from, to int) {
		busy[from], busy[to] = true, true
		leads[from]--
		leads[to]++
		list = append(list, Transfer{d.ID, p.nodes[from].ID, p.nodes[to].ID})
	}
	for _, leaving := range []bool{true, false} {
		for _, d := range p.parts {
			from, ok := p.at[d.Leader]
			if !ok || busy[from] || !p.nodes[from].Alive || (p.nodes[from].State != Active) != leaving {
				continue
			}
			if !leaving && d.Change != nil {
				continue // its leader has a change to steer
			}
			to, ok := p.heir(d, leads, busy)
			if !ok || !leaving && !p.fairer(leads, from, to) {
				continue
			}
			hand(d, from, to)
		}
	}
	slices.SortFunc(list, func(a, b Transfer) int { return bytes.Compare(a.Partition[:], b.Partition[:]) })
	return list
}

// heir is the voter of a partition that leads least for its weight, among
// those that may lead and are not busy.
func (p *plan) heir(d *planned, leads []int, busy []bool) (best int, found bool) {
	for _, r := range d.voters {
		i, known := p.at[r.Node]
		leaves := d.Change != nil && d.Change.Remove.Node == r.Node && d.Change.Remove.Epoch == r.Epoch
		if !known || r.Node == d.Leader || busy[i] || leaves || !p.healthy(r) || p.nodes[i].State != Active {
			continue
		}
		if !found || leads[i]*p.nodes[best].weight() < leads[best]*p.nodes[i].weight() {
			best, found = i, true
		}
	}
	return best, found
}

// fairer reports whether a leadership's going from one node to another lowers
// the sum of leaders²/weight.
func (p *plan) fairer(leads []int, from, to int) bool {
	return (2*leads[to]+1)*p.nodes[from].weight() < (2*leads[from]-1)*p.nodes[to].weight()
}
