package placement

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/skeinmesh/skein/transport/peer"
)

// plan is a view as it will be when every change under way is done, and the
// loads that go with it. Nodes and partitions are known by their place in it.
type plan struct {
	nodes    []Node // by ID
	at       map[peer.ID]int
	zone     []int // of each node
	zoneSize []int // eligible nodes of each zone
	eligible int

	parts []*planned // by ID

	load       []int // replicas of each node
	catchingUp []int // replicas of each node that catch up
	share      []float64
}

// planned is a partition in a plan.
type planned struct {
	Group
	voters  []Replica
	on      []int // where its replicas will be, of nodes that are known
	rf      int   // how many replicas it should have now
	movable bool  // nothing is wrong with it, and nothing is under way
	mayPile []int // for each zone, how many replicas it may hold
}

func newPlan(v View) *plan {
	p := &plan{at: map[peer.ID]int{}}
	p.nodes = slices.Clone(v.Nodes)
	slices.SortFunc(p.nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	p.nodes = slices.CompactFunc(p.nodes, func(a, b Node) bool { return a.ID == b.ID })
	zones := map[string]int{}
	for i, n := range p.nodes {
		p.at[n.ID] = i
		z, ok := zones[n.Zone]
		if !ok {
			z = len(zones)
			zones[n.Zone] = z
			p.zoneSize = append(p.zoneSize, 0)
		}
		p.zone = append(p.zone, z)
		if n.eligible() {
			p.zoneSize[z]++
			p.eligible++
		}
	}
	p.load = make([]int, len(p.nodes))
	p.catchingUp = make([]int, len(p.nodes))
	for _, part := range v.Partitions {
		p.add(part)
	}
	slices.SortFunc(p.parts, func(a, b *planned) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	p.divide()
	return p
}

// add takes a partition into the plan.
func (p *plan) add(part Group) {
	d := &planned{Group: part, rf: min(max(part.Want, 1), p.eligible)}
	d.mayPile = p.pile(d.rf)
	for _, r := range part.Replicas {
		i, known := p.at[r.Node]
		if r.Voter {
			d.voters = append(d.voters, r)
		} else if known {
			p.catchingUp[i]++
		}
		going := part.Change != nil && part.Change.Remove.Node == r.Node && part.Change.Remove.Epoch == r.Epoch
		if known && !going && !slices.Contains(d.on, i) {
			d.on = append(d.on, i)
			p.load[i]++
		}
	}
	d.movable = part.Change == nil && len(d.voters) == d.rf && len(d.on) == d.rf
	for _, r := range d.voters {
		d.movable = d.movable && p.healthy(r) && p.nodes[p.at[r.Node]].eligible()
	}
	p.parts = append(p.parts, d)
}

// pile is how many of rf replicas each zone may hold: as few as will do.
func (p *plan) pile(rf int) []int {
	most := 0
	for room := 0; room < rf; {
		most++
		room = 0
		for _, size := range p.zoneSize {
			room += min(size, most)
		}
	}
	may := make([]int, len(p.zoneSize))
	for z, size := range p.zoneSize {
		may[z] = min(size, most)
	}
	return may
}

// divide finds each node's share of all replicas: the same for the same
// weight, but no node has more than one of a partition, and no zone more than
// it may. It raises a level until the shares below it hold all replicas.
func (p *plan) divide() {
	total, most := 0, float64(len(p.parts))
	zoneMost := make([]float64, len(p.zoneSize))
	for _, d := range p.parts {
		total += d.rf
		for z, may := range d.mayPile {
			zoneMost[z] += float64(may)
		}
	}
	inZone := func(z int, level float64) (sum float64) {
		for i, n := range p.nodes {
			if p.zone[i] == z && n.eligible() {
				sum += min(most, level*float64(n.weight()))
			}
		}
		return sum
	}
	all := levelOf(most, func(level float64) bool {
		sum := 0.0
		for z := range zoneMost {
			sum += min(zoneMost[z], inZone(z, level))
		}
		return sum >= float64(total)
	})
	p.share = make([]float64, len(p.nodes))
	for z := range zoneMost {
		level := all
		if inZone(z, all) > zoneMost[z] {
			level = levelOf(most, func(level float64) bool { return inZone(z, level) >= zoneMost[z] })
		}
		for i, n := range p.nodes {
			if p.zone[i] == z && n.eligible() {
				p.share[i] = min(most, level*float64(n.weight()))
			}
		}
	}
}

// levelOf is the lowest level in [0, most] that is enough.
func levelOf(most float64, enough func(float64) bool) float64 {
	low, high := 0.0, most
	for range 60 {
		if mid := (low + high) / 2; enough(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high
}

// epsilon is more than the error of a share and less than any difference
// between shares that matters.
const epsilon = 1e-6

// most and least bound the load of a node; even is its share, rounded.
func (p *plan) most(i int) int  { return int(math.Ceil(p.share[i]*slack - epsilon)) }
func (p *plan) least(i int) int { return int(math.Floor(p.share[i]/slack + epsilon)) }
func (p *plan) even(i int) (floor, ceil int) {
	return int(math.Floor(p.share[i] + epsilon)), int(math.Ceil(p.share[i] - epsilon))
}

// healthy reports whether a replica can vote now.
func (p *plan) healthy(r Replica) bool {
	i, known := p.at[r.Node]
	return known && !r.Lost && p.nodes[i].Alive && p.nodes[i].State != Gone
}

// takes reports whether a node can be given one more replica to catch up.
func (p *plan) takes(i int) bool {
	return p.nodes[i].State == Active && p.nodes[i].Alive && p.catchingUp[i] < MaxCatchingUp
}

// inZone is how many of a partition's replicas are in a zone.
func (p *plan) inZone(d *planned, zone int) (n int) {
	for _, i := range d.on {
		if p.zone[i] == zone {
			n++
		}
	}
	return n
}

// choose finds the node that should get a partition's next replica, when the
// one on leaving (-1: none) goes: first by zones, then by load, then by the
// partition's preference.
func (p *plan) choose(d *planned, leaving int) (best int, found bool) {
	type rank struct {
		piled, full bool
		inZone      int
		preference  uint64
	}
	var of rank
	better := func(a, b rank) bool {
		switch {
		case a.piled != b.piled:
			return !a.piled
		case a.full != b.full:
			return !a.full
		case a.inZone != b.inZone:
			return a.inZone < b.inZone
		}
		return a.preference > b.preference
	}
	for i := range p.nodes {
		if !p.takes(i) || holds(d.Group, p.nodes[i].ID) || slices.Contains(d.on, i) {
			continue
		}
		z := p.zone[i]
		n := p.inZone(d, z)
		if leaving >= 0 && p.zone[leaving] == z && slices.Contains(d.on, leaving) {
			n--
		}
		r := rank{n >= d.mayPile[z], p.load[i] >= p.most(i), n, preference(d.ID, p.nodes[i])}
		if !found || better(r, of) {
			best, of, found = i, r, true
		}
	}
	return best, found
}

// holds reports whether a node has a replica of a partition, of whatever worth.
func holds(d Group, id peer.ID) bool {
	return slices.ContainsFunc(d.Replicas, func(r Replica) bool { return r.Node == id })
}

// apply puts a step into the plan: add and remove are nodes, or -1.
func (p *plan) apply(d *planned, add, remove int) {
	d.movable = false
	if remove >= 0 {
		if i := slices.Index(d.on, remove); i >= 0 {
			d.on = slices.Delete(d.on, i, i+1)
			p.load[remove]--
		}
	}
	if add >= 0 {
		d.on = append(d.on, add)
		p.load[add]++
		p.catchingUp[add]++
	}
}
