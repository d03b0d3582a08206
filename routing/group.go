package routing

import (
	"iter"
	"slices"

	"github.com/skeinmesh/skein/routing/filter"
)

// group is the announced interests of one namespace and type pattern, by the
// values they require: so that who covers an interest, and whom it covers, is
// looked for among a few and not among all.
type group struct {
	all   set
	loose set // those that require no value, nor how one begins or ends
	by    map[requirement]*set
	edges map[edge]*edges
}

// requirement is an attribute's value that an interest requires. Each interest
// is filed under all of its values and, apart, under those of the one attribute
// that tells it best from the others. One that requires no value is filed under
// how one must begin, or end, instead.
type requirement struct {
	attr, value string
	use         use
}

// use says which of an interest's requirements it is filed under.
type use uint8

const (
	useAny  use = iota // each value
	useBest            // each value of the best attribute
	useEdge            // how a value begins; with filter.Suffix - filter.Prefix added, how it ends
)

func useOf(op filter.Op) use { return useEdge + use(op-filter.Prefix) }

// list files an interest; it notes in it which attribute tells it apart.
func (g *group) list(in *covered) {
	g.all.add(in)
	in.best, in.listed = g.best(&in.conjunct), true
	if in.best < 0 {
		g.loose.add(in)
	} else if p := in.conjunct.Preds[in.best]; p.Op != filter.In {
		g.edgesOf(edge{p.Attr, p.Op}).file(len(p.Values[0]), 1)
	}
	for r := range in.requirements() {
		s := g.by[r]
		if s == nil {
			if g.by == nil {
				g.by = map[requirement]*set{}
			}
			s = new(set)
			g.by[r] = s
		}
		s.add(in)
	}
	for e, x := range g.edges {
		if x.order == nil {
			continue
		}
		if v, ok := e.value(&in.conjunct); ok {
			x.order.add(e.key(v), in)
		}
	}
}

// best is the predicate that tells an interest best from those in the group: of
// those that require values the one whose first value fewest require, else one
// on how a value begins or ends; -1 when it has neither.
func (g *group) best(c *filter.Conjunct) int {
	best, least := -1, 0
	for i, p := range c.Preds {
		if p.Op != filter.In {
			continue
		}
		if n := g.by[requirement{p.Attr, p.Values[0], useAny}].len(); best < 0 || n < least {
			best, least = i, n
		}
	}
	if best >= 0 {
		return best
	}
	return slices.IndexFunc(c.Preds, func(p filter.Pred) bool { return p.Op == filter.Prefix || p.Op == filter.Suffix })
}

func (g *group) edgesOf(e edge) *edges {
	x := g.edges[e]
	if x == nil {
		if g.edges == nil {
			g.edges = map[edge]*edges{}
		}
		x = new(edges)
		g.edges[e] = x
	}
	return x
}

// unlist is the opposite of list.
func (g *group) unlist(in *covered) {
	g.all.remove(in)
	g.loose.remove(in)
	in.listed = false
	if in.best >= 0 {
		if p := in.conjunct.Preds[in.best]; p.Op != filter.In {
			g.edges[edge{p.Attr, p.Op}].file(len(p.Values[0]), -1)
		}
	}
	for r := range in.requirements() {
		if s := g.by[r]; s != nil {
			if s.remove(in); s.len() == 0 {
				delete(g.by, r)
			}
		}
	}
	for e, x := range g.edges {
		if x.order == nil {
			continue
		}
		if _, ok := e.value(&in.conjunct); ok {
			x.order.remove()
		}
	}
}

// requirements are those an interest is filed under.
func (in *covered) requirements() iter.Seq[requirement] {
	return func(yield func(requirement) bool) {
		for i, p := range in.conjunct.Preds {
			if p.Op != filter.In {
				if i == in.best && !yield(requirement{p.Attr, p.Values[0], useOf(p.Op)}) {
					return
				}
				continue
			}
			for _, v := range p.Values {
				if !yield(requirement{p.Attr, v, useAny}) || i == in.best && !yield(requirement{p.Attr, v, useBest}) {
					return
				}
			}
		}
	}
}

// coverer finds one that covers an interest. Each value that the coverer
// requires, the interest requires too, and what it requires a value to begin
// with, the interest's value begins with; so it is found by its best one.
func (g *group) coverer(in *covered) *covered {
	covers := func(s *set) *covered {
		for other := range s.each() {
			if other != in && len(other.conjunct.Preds) <= len(in.conjunct.Preds) && filter.Covers(other.conjunct, in.conjunct) {
				return other
			}
		}
		return nil
	}
	if other := covers(&g.loose); other != nil {
		return other
	}
	for _, p := range in.conjunct.Preds {
		if p.Op == filter.In {
			if other := covers(g.by[requirement{p.Attr, p.Values[0], useBest}]); other != nil {
				return other
			}
		}
		for _, op := range []filter.Op{filter.Prefix, filter.Suffix} {
			e := edge{p.Attr, op}
			x := g.edges[e]
			if x == nil || p.Op != filter.In && p.Op != op {
				continue
			}
			for _, n := range x.lengths {
				if n > len(p.Values[0]) {
					break
				}
				if other := covers(g.by[requirement{p.Attr, e.cut(p.Values[0], n), useOf(op)}]); other != nil {
					return other
				}
			}
		}
	}
	return nil
}

// covered lists those that an interest covers. Each requires what it requires;
// so they are found by the rarest of its values, or by how their values begin or
// end. One may be listed twice.
func (g *group) covered(in *covered) (list []*covered) {
	add := func(other *covered) {
		if other != in && len(other.conjunct.Preds) >= len(in.conjunct.Preds) && filter.Covers(in.conjunct, other.conjunct) {
			list = append(list, other)
		}
	}
	if p := slices.IndexFunc(in.conjunct.Preds, func(p filter.Pred) bool { return p.Op == filter.In }); p < 0 {
		if i := g.best(&in.conjunct); i >= 0 {
			e := edge{in.conjunct.Preds[i].Attr, in.conjunct.Preds[i].Op}
			g.ordered(e).begin(e.key(in.conjunct.Preds[i].Values[0]), add)
			return list
		}
	}
	from, least := []*set{&g.all}, g.all.len()
	for _, p := range in.conjunct.Preds {
		if p.Op != filter.In {
			continue
		}
		var sets []*set
		n := 0
		for _, v := range p.Values {
			if s := g.by[requirement{p.Attr, v, useAny}]; s != nil {
				sets = append(sets, s)
				n += s.len()
			}
		}
		if n < least {
			from, least = sets, n
		}
	}
	for _, s := range from {
		for other := range s.each() {
			add(other)
		}
	}
	return list
}

// ordered is the order by an edge, made when it is asked for first.
func (g *group) ordered(e edge) *order {
	x := g.edgesOf(e)
	if x.order == nil {
		x.order = new(order)
		for in := range g.all.each() {
			if v, ok := e.value(&in.conjunct); ok {
				x.order.fresh = append(x.order.fresh, ordered{e.key(v), in})
			}
		}
		x.order.merge()
	}
	return x.order
}

// maxFew is how many members a set keeps without a map.
const maxFew = 16

// set is a set of interests, small most of the time. A nil set is empty.
type set struct {
	few  []*covered
	many map[*covered]struct{} // instead of few
}

func (s *set) len() int {
	if s == nil {
		return 0
	}
	return len(s.few) + len(s.many)
}

// add adds what is not a member yet.
func (s *set) add(in *covered) {
	if s.many == nil && len(s.few) < maxFew {
		s.few = append(s.few, in)
		return
	}
	if s.many == nil {
		s.many = make(map[*covered]struct{}, 2*maxFew)
		for _, o := range s.few {
			s.many[o] = struct{}{}
		}
		s.few = nil
	}
	s.many[in] = struct{}{}
}

func (s *set) remove(in *covered) {
	delete(s.many, in)
	for i, o := range s.few {
		if o == in {
			last := len(s.few) - 1
			s.few[i], s.few[last] = s.few[last], nil
			s.few = s.few[:last]
			return
		}
	}
}

func (s *set) each() iter.Seq[*covered] {
	return func(yield func(*covered) bool) {
		if s == nil {
			return
		}
		for _, in := range s.few {
			if !yield(in) {
				return
			}
		}
		for in := range s.many {
			if !yield(in) {
				return
			}
		}
	}
}
