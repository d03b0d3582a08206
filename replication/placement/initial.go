package placement

import (
	"bytes"
	"slices"

	"github.com/skeinmesh/skein/transport/peer"
)

// Initial says which nodes should keep the replicas of new partitions, beside
// those that the region has: rf nodes each, or as many as there are. All of a
// partition's nodes are alive and equal: they make its first configuration. It
// is empty for a partition if no node can take it.
func Initial(v View, ids [][16]byte, rf int) [][]peer.ID {
	// New replicas have nothing to catch up, and nodes that are down cannot
	// begin: so the view is of nodes that are there.
	nodes := slices.DeleteFunc(slices.Clone(v.Nodes), func(n Node) bool { return n.State != Active || !n.Alive })
	p := newPlan(View{Nodes: nodes, Partitions: v.Partitions})
	for _, d := range p.parts {
		d.movable = false
	}
	old := len(p.parts)
	for _, id := range ids {
		p.add(Group{ID: id, Want: rf})
	}
	fresh := slices.Clone(p.parts[old:])
	clear(p.catchingUp)
	p.divide()
	for _, d := range fresh {
		for len(d.on) < d.rf {
			i, ok := p.choose(d, -1)
			if !ok {
				break
			}
			p.apply(d, i, -1)
			p.catchingUp[i] = 0
		}
		d.movable = true
	}
	slices.SortFunc(p.parts, func(a, b *planned) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	for m, ok := p.nextMove(); ok; m, ok = p.nextMove() {
		p.apply(m.part, m.to, m.from)
		m.part.movable = true
		p.catchingUp[m.to] = 0
	}
	lists := make([][]peer.ID, len(fresh))
	for i, d := range fresh {
		slices.Sort(d.on)
		for _, n := range d.on {
			lists[i] = append(lists[i], p.nodes[n].ID)
		}
	}
	return lists
}
