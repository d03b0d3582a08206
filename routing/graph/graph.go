// Package graph knows which nodes there are in which region, which of them this
// node has a link to, and which regions the gateways of every region reach at
// what cost. From that it answers two questions: whom should this node link to,
// and where does an event for a region go next.
//
// An event goes from region to region on the cheapest path, so that regions which
// cannot reach each other are reached through others. Inside a region it passes
// at most one node besides its origin: a gateway that reaches the next region.
// Which of several gateways and entry nodes, rendezvous hashing chooses by lane:
// nodes that know the same decide the same without asking each other. A node that
// knows less decides differently for a while. What is relayed says which regions
// it has passed, and never goes there again; so it cannot loop, whatever the
// relays believe.
//
// Nothing here does I/O, reads a clock or starts a goroutine; the methods may be
// called concurrently, and Hop mostly takes no lock.
package graph

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/skeinmesh/skein/transport/peer"
)

// GatewaysPerRegion is how many nodes of a region keep links to other regions,
// unless more of them are told to.
const GatewaysPerRegion = 5

// Lanes is the number of lanes between two regions: keys are spread over them
// by hash, and order holds within one.
const Lanes = 16

// Graph is one node's knowledge. Make it with New.
type Graph struct {
	self peer.Peer

	mu      sync.Mutex // guards the fields below
	peers   map[peer.ID]peer.Peer
	linked  map[peer.ID]bool
	links   map[peer.ID]uint64         // how many there have been to a peer
	costs   map[peer.ID]int            // of links
	said    map[string]int             // the cost to a region, as this node has said it
	reach   map[peer.ID]map[string]int // what gateways say that they reach
	retired map[peer.ID]bool           // spare links that nothing goes over any more

	routes  atomic.Pointer[routes] // nil when they must be found anew
	changed func()
}

// New makes the graph of a node that knows nobody yet. changed is called, by the
// goroutine that called, after each change, when Hop answers by it.
func New(self peer.Peer, changed func()) *Graph {
	return &Graph{
		self: self, changed: changed, peers: map[peer.ID]peer.Peer{}, linked: map[peer.ID]bool{},
		links: map[peer.ID]uint64{}, costs: map[peer.ID]int{}, said: map[string]int{},
		reach: map[peer.ID]map[string]int{}, retired: map[peer.ID]bool{},
	}
}

// SetPeer records that a node exists, and where; DropPeer forgets it.
func (g *Graph) SetPeer(p peer.Peer) {
	if p.ID == g.self.ID {
		return
	}
	g.update(func() { g.peers[p.ID] = p })
}

func (g *Graph) DropPeer(id peer.ID) {
	g.update(func() {
		delete(g.peers, id)
		delete(g.reach, id)
	})
}

// SetLinked records whether there is a link to a peer now.
func (g *Graph) SetLinked(p peer.Peer, up bool) {
	g.update(func() {
		if !up {
			delete(g.linked, p.ID)
			delete(g.costs, p.ID)
			return
		}
		g.linked[p.ID] = true
		g.links[p.ID]++
		if _, known := g.peers[p.ID]; !known {
			g.peers[p.ID] = p // the link was quicker than gossip
		}
	})
}

func (g *Graph) update(change func()) {
	defer g.changed()
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	g.reinstate()
	g.say()
	g.routes.Store(nil)
}

// Regions lists the regions that have nodes, this node's own included, sorted.
func (g *Graph) Regions() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.regions()
}

func (g *Graph) regions() []string {
	list := []string{g.self.Region}
	for _, p := range g.peers {
		if !slices.Contains(list, p.Region) {
			list = append(list, p.Region)
		}
	}
	slices.Sort(list)
	return list
}

// Peers lists the known nodes but this one, by region and ID.
func (g *Graph) Peers() []peer.Peer {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]peer.Peer, 0, len(g.peers))
	for _, p := range g.peers {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b peer.Peer) int {
		if c := strings.Compare(a.Region, b.Region); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return list
}

// Peer is a known node, or this one.
func (g *Graph) Peer(id peer.ID) (peer.Peer, bool) {
	if id == g.self.ID {
		return g.self, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p, ok := g.peers[id]
	return p, ok
}

// Linked lists the peers of a region that this node has a link to, sorted.
func (g *Graph) Linked(region string) []peer.ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []peer.ID
	for id := range g.linked {
		if g.peers[id].Region == region {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

// Reaching lists the linked nodes of this region that say they reach other
// regions, sorted.
func (g *Graph) Reaching() []peer.ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []peer.ID
	for id, regions := range g.reach {
		if g.linked[id] && g.peers[id].Region == g.self.Region && len(regions) > 0 {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

// Gateways are the nodes of a region that keep links to other regions: those that
// are told to or else the first by rendezvous rank, as this node knows the region.
func (g *Graph) Gateways(region string) []peer.ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gateways(region)
}

func (g *Graph) gateways(region string) []peer.ID {
	told := map[peer.Gateway][]peer.ID{}
	if region == g.self.Region {
		told[g.self.Gateway] = append(told[g.self.Gateway], g.self.ID)
	}
	for id, p := range g.peers {
		if p.Region == region {
			told[p.Gateway] = append(told[p.Gateway], id)
		}
	}
	byRank := func(a, b peer.ID) int { return compare(a, b, "gateway", 0) }
	for _, nodes := range told {
		slices.SortFunc(nodes, byRank)
	}
	if always := told[peer.GatewayAlways]; len(always) > 0 {
		return always
	}
	nodes := told[peer.GatewayAuto]
	if len(nodes) == 0 {
		nodes = told[peer.GatewayNever]
	}
	return nodes[:min(len(nodes), GatewaysPerRegion)]
}

// IsGateway reports whether this node is a gateway of its region.
func (g *Graph) IsGateway() bool {
	return slices.Contains(g.Gateways(g.self.Region), g.self.ID)
}

// Wanted lists the peers this node should have links to: all of its region,
// and, if it is a gateway, the gateways of the others.
func (g *Graph) Wanted() []peer.Peer {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wanted()
}

func (g *Graph) wanted() []peer.Peer {
	gateway := slices.Contains(g.gateways(g.self.Region), g.self.ID)
	var list []peer.Peer
	for _, region := range g.regions() {
		if region != g.self.Region && gateway {
			for _, id := range g.gateways(region) {
				list = append(list, g.peers[id])
			}
		}
	}
	for _, p := range g.peers {
		if p.Region == g.self.Region {
			list = append(list, p)
		}
	}
	return list
}

// first is the node that rendezvous hashing chooses for a key and a lane, or
// empty when there is none.
func first(nodes []peer.ID, key string, lane uint8) peer.ID {
	if len(nodes) == 0 {
		return ""
	}
	return slices.MinFunc(nodes, func(a, b peer.ID) int { return compare(a, b, key, lane) })
}

// compare orders nodes by their rendezvous score for a key, highest first.
func compare(a, b peer.ID, key string, lane uint8) int {
	x, y := score(a, key, lane), score(b, key, lane)
	switch {
	case x > y:
		return -1
	case x < y:
		return 1
	}
	return strings.Compare(string(a), string(b))
}

// score is FNV-1a over lane, key and node, finished as in splitmix64 so that
// similar inputs do not rank alike.
func score(node peer.ID, key string, lane uint8) uint64 {
	h := uint64(14695981039346656037)
	step := func(c byte) { h = (h ^ uint64(c)) * 1099511628211 }
	step(lane)
	for i := range len(key) {
		step(key[i])
	}
	step(0)
	for i := range len(node) {
		step(node[i])
	}
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}
