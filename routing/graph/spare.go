package graph

import (
	"slices"

	"github.com/skeinmesh/skein/transport/peer"
)

// A node that enters a mesh knows few others at first, and so takes itself and
// them for gateways. The links of that time, and those of gateways that have
// been outranked since, are spare: neither end wants them, and the region can be
// reached without. They are closed in two steps, so that nothing is lost: first
// each end retires the link, which ends the use of it, and when nothing has come
// over it for a while it is closed.

// Spare lists the peers to which there are links that neither end wants, sorted.
func (g *Graph) Spare() []peer.ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.spare()
}

// Retire ends the use of a spare link. It is used again when it is not spare
// any more, because it is wanted, or because there is no other way.
func (g *Graph) Retire(id peer.ID) {
	g.update(func() { g.retired[id] = true })
}

// Wants reports whether this node should have a link to a peer.
func (g *Graph) Wants(id peer.ID) bool {
	return slices.ContainsFunc(g.Wanted(), func(p peer.Peer) bool { return p.ID == id })
}

// reinstate takes links that are not spare back into use.
func (g *Graph) reinstate() {
	if len(g.retired) == 0 {
		return
	}
	spare := g.spare()
	for id := range g.retired {
		if _, is := slices.BinarySearch(spare, id); !is {
			delete(g.retired, id)
		}
	}
}

func (g *Graph) spare() (list []peer.ID) {
	wanted := map[peer.ID]bool{}
	reached := map[string]bool{} // regions, without the links that are spare
	for _, p := range g.wanted() {
		wanted[p.ID] = true
		if g.linked[p.ID] {
			reached[p.Region] = true
			if p.Region == g.self.Region {
				for region := range g.reach[p.ID] {
					reached[region] = true
				}
			}
		}
	}
	for id := range g.linked {
		if !wanted[id] && reached[g.peers[id].Region] {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}
