// Package graph knows which nodes there are in which region, which of them this
// node has a link to, and which regions the gateways of its own region reach.
// From that it answers two questions: whom should this node link to, and where
// does an event for a region go next.
//
// Every answer is a pure function of what is known, by rendezvous hashing, so
// nodes that know the same decide the same without asking each other. A node
// that knows less decides differently for a while; the event then takes another
// gateway or entry node, never none.
//
// Regions are reached directly: by this node if it has a link into the region,
// else through a gateway of its own region that has. Nothing here does I/O,
// reads a clock or starts a goroutine; the methods may be called concurrently,
// and Hop takes no lock.
package graph

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/skeinmesh/skein/transport/peer"
)

// GatewaysPerRegion is how many nodes of a region keep links to other regions.
const GatewaysPerRegion = 5

// Lanes is the number of lanes between two regions: keys are spread over them
// by hash, and order holds within one.
const Lanes = 16

// Hop is the next step towards a region: straight to its entry node, or via a
// gateway of this region. Both empty means that no way is known now.
type Hop struct {
	Entry peer.ID
	Via   peer.ID
	Link  uint64 // which link of this start to that node, so that one that was broken is another
}

// Next is the node that the hop leads to; empty when no way is known.
func (h Hop) Next() peer.ID {
	if h.Entry != "" {
		return h.Entry
	}
	return h.Via
}

// Graph is one node's knowledge. Make it with New.
type Graph struct {
	self peer.Peer

	mu      sync.Mutex // guards the fields below
	peers   map[peer.ID]peer.Peer
	linked  map[peer.ID]bool
	links   map[peer.ID]uint64   // how many there have been to a peer
	reach   map[peer.ID][]string // regions that gateways of this region say they reach
	retired map[peer.ID]bool     // spare links that nothing goes over any more

	hops    atomic.Pointer[map[string]*[Lanes]Hop]
	changed func()
}

// New makes the graph of a node that knows nobody yet. changed is called, by the
// goroutine that called, after each change, when Hop answers by it.
func New(self peer.Peer, changed func()) *Graph {
	g := &Graph{self: self, changed: changed, peers: map[peer.ID]peer.Peer{}, linked: map[peer.ID]bool{}, links: map[peer.ID]uint64{}, reach: map[peer.ID][]string{}, retired: map[peer.ID]bool{}}
	g.hops.Store(&map[string]*[Lanes]Hop{})
	return g
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
			return
		}
		g.linked[p.ID] = true
		g.links[p.ID]++
		if _, known := g.peers[p.ID]; !known {
			g.peers[p.ID] = p // the link was quicker than gossip
		}
	})
}

// SetReach replaces the regions that a gateway of this region reaches.
func (g *Graph) SetReach(id peer.ID, regions []string) {
	g.update(func() { g.reach[id] = slices.Clone(regions) })
}

func (g *Graph) update(change func()) {
	defer g.changed()
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	g.reinstate()
	hops := map[string]*[Lanes]Hop{}
	for _, region := range g.regions() {
		if region != g.self.Region {
			hops[region] = g.hopsTo(region)
		}
	}
	g.hops.Store(&hops)
}

// hopsTo computes the next step to a region for each lane.
func (g *Graph) hopsTo(region string) *[Lanes]Hop {
	var entries, vias []peer.ID
	for id, p := range g.peers {
		switch {
		case !g.linked[id] || g.retired[id]:
		case p.Region == region:
			entries = append(entries, id)
		case p.Region == g.self.Region && slices.Contains(g.reach[id], region):
			vias = append(vias, id)
		}
	}
	var hops [Lanes]Hop
	for lane := range hops {
		if len(entries) > 0 {
			hops[lane].Entry = first(entries, g.self.Region, uint8(lane))
		} else {
			hops[lane].Via = first(vias, region, uint8(lane))
		}
		hops[lane].Link = g.links[hops[lane].Next()]
	}
	return &hops
}

// Hop is the next step of an event on a lane towards a region.
func (g *Graph) Hop(region string, lane uint8) Hop {
	if h := (*g.hops.Load())[region]; h != nil {
		return h[lane%Lanes]
	}
	return Hop{}
}

// Relay is the next step of what is on its way to a region and came to this node
// from one of its own region, or from another; it must not go back to where it
// was.
func (g *Graph) Relay(region string, lane uint8, fromOwn bool, visited []string) Hop {
	h := g.Hop(region, lane)
	if h.Via != "" && fromOwn {
		return Hop{}
	}
	return h
}

// Reach lists the other regions that this node has links into, sorted.
func (g *Graph) Reach() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []string
	for id := range g.linked {
		if r := g.peers[id].Region; r != g.self.Region && !g.retired[id] && !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	slices.Sort(list)
	return list
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
		if g.linked[id] && len(regions) > 0 {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

// Gateways are the nodes of a region that keep links to other regions: the
// first by rendezvous rank, as this node knows the region.
func (g *Graph) Gateways(region string) []peer.ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gateways(region)
}

func (g *Graph) gateways(region string) []peer.ID {
	var nodes []peer.ID
	if region == g.self.Region {
		nodes = append(nodes, g.self.ID)
	}
	for id, p := range g.peers {
		if p.Region == region {
			nodes = append(nodes, id)
		}
	}
	slices.SortFunc(nodes, func(a, b peer.ID) int { return compare(a, b, "gateway", 0) })
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
