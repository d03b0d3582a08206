package routing

import (
	"slices"

	"github.com/skeinmesh/skein/routing/filter"
)

// cover is a set of interests that says of itself only what it must: an
// interest that another one covers is kept but not announced. When the wider
// one goes, those it covered are announced again.
//
// Entries are counted: what is added twice must be removed twice. Covering is
// pairwise: an interest that only several others together cover is announced
// though it need not be.
type cover struct {
	all      map[string]*covered  // by entry
	areas    map[string]*coverage // by namespace
	announce func(in *covered, on bool)
}

// coverage is the announced interests of one namespace.
type coverage struct {
	groups patterns
	count  int // of groups
}

// covered is an interest in a cover.
type covered struct {
	entry    string
	ns       string
	conjunct filter.Conjunct
	count    int
	by       *covered // nil when announced
	covers   set
	best     int  // see group; -1 for none
	listed   bool // in a group

	shape *shape // that a summary files it under while it is announced
	said  string // the entry that the summary says of it, unless in fingerprints
}

func newCover(announce func(in *covered, on bool)) *cover {
	return &cover{all: map[string]*covered{}, areas: map[string]*coverage{}, announce: announce}
}

// add adds an interest.
func (c *cover) add(entry, ns string, conj filter.Conjunct) {
	if in := c.all[entry]; in != nil {
		in.count++
		return
	}
	in := &covered{entry: entry, ns: ns, conjunct: conj, count: 1}
	c.all[entry] = in
	c.settle(in)
	if in.by != nil {
		return
	}
	// What the new one covers need not be announced any more.
	for _, other := range c.areas[ns].covered(in) {
		if other.by != nil {
			continue // listed twice
		}
		c.unlist(other)
		c.announce(other, false)
		put(other, in)
		for o := range other.covers.each() {
			put(o, in)
		}
		other.covers = set{}
	}
}

// remove takes an interest away again.
func (c *cover) remove(entry string) {
	in := c.all[entry]
	if in == nil {
		return
	}
	if in.count--; in.count > 0 {
		return
	}
	delete(c.all, entry)
	if in.by != nil {
		in.by.covers.remove(in)
		return
	}
	// Those it covered are announced before it is withdrawn: what is said is
	// never narrower than the truth. The widest of them go first.
	orphans := make([]*covered, 0, in.covers.len())
	for o := range in.covers.each() {
		o.by = nil
		orphans = append(orphans, o)
	}
	slices.SortFunc(orphans, func(a, b *covered) int {
		if d := len(a.conjunct.Preds) - len(b.conjunct.Preds); d != 0 {
			return d
		}
		return len(a.entry) - len(b.entry)
	})
	c.unlist(in)
	for _, o := range orphans {
		c.settle(o)
	}
	c.announce(in, false)
}

// covers reports whether an announced interest covers one that is not.
func (c *cover) covers(ns string, conj filter.Conjunct) bool {
	area := c.areas[ns]
	return area != nil && area.coverer(&covered{ns: ns, conjunct: conj}) != nil
}

// settle puts an interest below an announced one that covers it, or announces it.
func (c *cover) settle(in *covered) {
	area := c.areas[in.ns]
	if area == nil {
		area = new(coverage)
		c.areas[in.ns] = area
	}
	if by := area.coverer(in); by != nil {
		put(in, by)
		return
	}
	g := area.groups.at(in.conjunct.Type, true)
	if *g == nil {
		*g = new(group)
		area.count++
	}
	(*g).list(in)
	c.announce(in, true)
}

// unlist takes an announced interest out of its group.
func (c *cover) unlist(in *covered) {
	area, pattern := c.areas[in.ns], in.conjunct.Type
	g := *area.groups.at(pattern, false)
	if g.unlist(in); g.all.len() > 0 {
		return
	}
	area.groups.remove(pattern)
	if area.count--; area.count == 0 {
		delete(c.areas, in.ns)
	}
}

// coverer finds an announced interest that covers one that is not.
func (a *coverage) coverer(in *covered) *covered {
	for g := range a.groups.covering(in.conjunct.Type) {
		if by := g.coverer(in); by != nil {
			return by
		}
	}
	return nil
}

// covered lists the announced interests that one of them covers; one may be
// listed twice.
func (a *coverage) covered(in *covered) (list []*covered) {
	for g := range a.groups.covered(in.conjunct.Type) {
		list = append(list, g.covered(in)...)
	}
	return list
}

func put(in, below *covered) {
	in.by = below
	below.covers.add(in)
}
