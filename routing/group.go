package routing

import (
	"iter"

	"github.com/skeinmesh/skein/routing/filter"
)

// group is the announced interests of one namespace and type pattern, by the
// values they require: so that who covers an interest, and whom it covers, is
// looked for among a few and not among all.
type group struct {
	all   set
	loose set // those that require no value
	by    map[requirement]*set
}

// requirement is an attribute's value that an interest requires. Each interest
// is filed under all of its values and, apart, under those of the one attribute
// that tells it best from the others.
type requirement struct {
	attr, value string
	best        bool
}

// list files an interest; it notes in it which attribute tells it apart.
func (g *group) list(in *covered) {
	g.all.add(in)
	in.best = -1
	least := 0
	for i, p := range in.conjunct.Preds {
		if p.Op != filter.In {
			continue
		}
		if n := g.by[requirement{p.Attr, p.Values[0], false}].len(); in.best < 0 || n < least {
			in.best, least = i, n
		}
	}
	if in.best < 0 {
		g.loose.add(in)
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
}

// unlist is the opposite of list.
func (g *group) unlist(in *covered) {
	g.all.remove(in)
	g.loose.remove(in)
	for r := range in.requirements() {
		if s := g.by[r]; s != nil {
			if s.remove(in); s.len() == 0 {
				delete(g.by, r)
			}
		}
	}
}

// requirements are those an interest is filed under.
func (in *covered) requirements() iter.Seq[requirement] {
	return func(yield func(requirement) bool) {
		for i, p := range in.conjunct.Preds {
			if p.Op != filter.In {
				continue
			}
			for _, v := range p.Values {
				if !yield(requirement{p.Attr, v, false}) || i == in.best && !yield(requirement{p.Attr, v, true}) {
					return
				}
			}
		}
	}
}

// coverer finds one that covers an interest. Each value that the coverer
// requires, the interest requires too; so it is found by its best one.
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
		if p.Op != filter.In {
			continue
		}
		if other := covers(g.by[requirement{p.Attr, p.Values[0], true}]); other != nil {
			return other
		}
	}
	return nil
}

// covered lists those that an interest covers. Each requires what it requires;
// so they are found by the rarest of its values. One may be listed twice.
func (g *group) covered(in *covered) (list []*covered) {
	from, least := []*set{&g.all}, g.all.len()
	for _, p := range in.conjunct.Preds {
		if p.Op != filter.In {
			continue
		}
		var sets []*set
		n := 0
		for _, v := range p.Values {
			if s := g.by[requirement{p.Attr, v, false}]; s != nil {
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
			if other != in && len(other.conjunct.Preds) >= len(in.conjunct.Preds) && filter.Covers(in.conjunct, other.conjunct) {
				list = append(list, other)
			}
		}
	}
	return list
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
