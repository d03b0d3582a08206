package graph

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/skeinmesh/skein/transport/peer"
)

// Hop is the next step towards a region. The zero Hop means that no way is known
// now.
type Hop struct {
	Next   peer.ID
	Abroad bool   // the next node is in another region; else it is a gateway of this one
	Link   uint64 // tells this way from others: the link to the next node, and the regions after it
	Route  *Route
	Shared bool // the ways to other regions begin with the same next node
}

// Route is the way to a region.
type Route struct {
	Regions []string // after this node's, the target last
	Cost    int
}

// table is the next step to each region that can be reached, by lane.
type table map[string]*[Lanes]Hop

// routes are what is derived from one state of a graph.
type routes struct {
	self    peer.Peer
	entries map[string][]peer.ID      // linked nodes of other regions
	vias    map[string][]peer.ID      // by region, linked gateways of this one that reach it
	links   map[peer.ID]uint64        // which link each of these is
	own     map[string]int            // what the links of this node cost
	region  map[string]int            // what those of this node and of the vias cost
	edges   map[string]map[string]int // the same of the other regions, by whoever says so
	plain   table

	mu     sync.Mutex // guards relays
	relays map[relayKey]table
}

// relayKey is what a relay's choice depends on.
type relayKey struct {
	visited string
	abroad  bool // it must leave the region now
}

// maxRelays bounds the tables kept for what comes by relays.
const maxRelays = 256

// Hop is the next step of an event on a lane that begins at this node.
func (g *Graph) Hop(region string, lane uint8) Hop { return g.derived().plain.hop(region, lane) }

// Relay is the next step of what is on its way to a region, has passed some
// regions and came from a node of this one, or of another.
func (g *Graph) Relay(region string, lane uint8, fromOwn bool, visited []string) Hop {
	return g.derived().relay(fromOwn, visited).hop(region, lane)
}

func (t table) hop(region string, lane uint8) Hop {
	if h := t[region]; h != nil {
		return h[lane%Lanes]
	}
	return Hop{}
}

// Apart reports whether no node of one region says that it has a link to the
// other: what they tell each other must go through a third.
func (g *Graph) Apart(from, to string) bool {
	edges := g.derived().edges[from]
	_, linked := edges[to]
	return !linked
}

// derived is what follows from the present state.
func (g *Graph) derived() *routes {
	if r := g.routes.Load(); r != nil {
		return r
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.routes.Load(); r != nil {
		return r
	}
	r := g.derive()
	g.routes.Store(r)
	return r
}

func (g *Graph) derive() *routes {
	r := &routes{
		self: g.self, entries: map[string][]peer.ID{}, vias: map[string][]peer.ID{}, links: map[peer.ID]uint64{},
		own: map[string]int{}, region: map[string]int{}, edges: map[string]map[string]int{}, relays: map[relayKey]table{},
	}
	for region := range g.own() {
		r.own[region] = g.said[region]
		r.region[region] = g.said[region]
	}
	for id := range g.linked {
		p := g.peers[id]
		if p.Region != g.self.Region && !g.retired[id] {
			r.entries[p.Region] = append(r.entries[p.Region], id)
			r.links[id] = g.links[id]
		}
	}
	for id, reach := range g.reach {
		p, known := g.peers[id]
		switch {
		case !known:
		case p.Region != g.self.Region:
			for to, cost := range reach {
				cheapen(r.edges, p.Region, to, cost)
			}
		case g.linked[id] && !g.retired[id]:
			r.links[id] = g.links[id]
			for to, cost := range reach {
				r.vias[to] = append(r.vias[to], id)
				if before, known := r.region[to]; !known || cost < before {
					r.region[to] = cost
				}
			}
		}
	}
	r.plain = r.find(r.region, nil)
	return r
}

func cheapen(edges map[string]map[string]int, from, to string, cost int) {
	if edges[from] == nil {
		edges[from] = map[string]int{}
	}
	if before, known := edges[from][to]; !known || cost < before {
		edges[from][to] = cost
	}
}

// relay is the table for what has passed some regions.
func (r *routes) relay(abroad bool, visited []string) table {
	key := relayKey{strings.Join(visited, " "), abroad}
	r.mu.Lock()
	defer r.mu.Unlock()
	t, known := r.relays[key]
	if !known {
		first := r.region
		if abroad {
			first = r.own
		}
		t = r.find(first, visited)
		if len(r.relays) < maxRelays {
			key.visited = strings.Clone(key.visited)
			r.relays[key] = t
		}
	}
	return t
}

// way is a path that is being found.
type way struct {
	region string
	cost   int
	path   []string
}

// MaxRegions is how many regions a way may have before its last one, the first
// included.
const MaxRegions = 16

// find finds the cheapest paths (Dijkstra) to all regions, from first steps of
// this region on, around some.
func (r *routes) find(first map[string]int, around []string) table {
	t := table{}
	done := map[string]bool{r.self.Region: true}
	for _, region := range around {
		done[region] = true
	}
	most := MaxRegions + 1 - len(done) // regions on a way
	open := map[string]way{}           // the cheapest found so far, by region
	extend := func(from way, edges map[string]int) {
		if len(from.path) >= most {
			return
		}
		for to, cost := range edges {
			total := from.cost + cost + hopPenalty
			before, found := open[to]
			if done[to] || found && before.cost < total {
				continue
			}
			w := way{to, total, append(slices.Clip(from.path), to)}
			if !found || cheaper(&w, &before) {
				open[to] = w
			}
		}
	}
	extend(way{}, first)
	for len(open) > 0 {
		var w way
		for _, o := range open {
			if w.region == "" || cheaper(&o, &w) {
				w = o
			}
		}
		delete(open, w.region)
		done[w.region] = true
		t[w.region] = r.steps(&w)
		extend(w, r.edges[w.region])
	}
	t.share()
	return t
}

// share marks the hops that lead to a node as others do.
func (t table) share() {
	for lane := range Lanes {
		first := map[peer.ID]*Hop{}
		for _, hops := range t {
			h := &hops[lane]
			if other := first[h.Next]; other != nil {
				other.Shared, h.Shared = true, true
			} else {
				first[h.Next] = h
			}
		}
	}
}

// cheaper orders ways; where costs are the same, all nodes choose alike.
func cheaper(a, b *way) bool {
	return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(len(a.path), len(b.path)), slices.Compare(a.path, b.path)) < 0
}

// steps are the first steps of a way, by lane: straight abroad where this node
// can, else by way of a gateway that can.
func (r *routes) steps(w *way) *[Lanes]Hop {
	route := &Route{Regions: w.path, Cost: w.cost}
	next := w.path[0]
	var hops [Lanes]Hop
	for lane := range hops {
		h := &hops[lane]
		h.Route = route
		if entries := r.entries[next]; len(entries) > 0 {
			h.Next, h.Abroad = first(entries, r.self.Region, uint8(lane)), true
		} else {
			h.Next = first(r.vias[next], next, uint8(lane))
		}
		h.Link = r.links[h.Next]
		for _, region := range w.path {
			h.Link = score(peer.ID(region), "", 0) ^ h.Link*1099511628211
		}
	}
	return &hops
}
