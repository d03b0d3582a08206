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
// looked for where it is likely, not everywhere: what is missed is announced
// though it need not be.
type cover struct {
	all      map[string]*covered            // by entry
	byType   map[place]map[*covered]bool    // announced ones
	patterns map[string]map[string]struct{} // by namespace: patterns that are not one literal type, of announced ones
	announce func(entry string, on bool)
}

// place is where an interest is looked for.
type place struct{ ns, pattern string }

// covered is an interest in a cover.
type covered struct {
	entry    string
	at       place
	conjunct filter.Conjunct
	count    int
	by       *covered // nil when announced
	covers   map[*covered]bool
}

func newCover(announce func(entry string, on bool)) *cover {
	return &cover{all: map[string]*covered{}, byType: map[place]map[*covered]bool{}, patterns: map[string]map[string]struct{}{}, announce: announce}
}

// add adds an interest.
func (c *cover) add(entry, ns string, conj filter.Conjunct) {
	if in := c.all[entry]; in != nil {
		in.count++
		return
	}
	in := &covered{entry: entry, at: place{ns, conj.Type}, conjunct: conj, count: 1}
	c.all[entry] = in
	c.settle(in)
	if in.by != nil {
		return
	}
	// What the new one covers need not be announced any more.
	for _, at := range c.places(ns) {
		if !filter.PatternCovers(conj.Type, at.pattern) {
			continue
		}
		for other := range c.byType[at] {
			if other != in && len(other.conjunct.Preds) >= len(conj.Preds) && filter.Covers(conj, other.conjunct) {
				c.withdraw(other)
				c.put(other, in)
				for o := range other.covers {
					c.put(o, in)
				}
				other.covers = nil
			}
		}
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
		delete(in.by.covers, in)
		return
	}
	// Those it covered are announced before it is withdrawn: what is said is
	// never narrower than the truth. The widest of them go first.
	orphans := make([]*covered, 0, len(in.covers))
	for o := range in.covers {
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
	c.announce(in.entry, false)
}

// settle puts an interest below an announced one that covers it, or announces it.
func (c *cover) settle(in *covered) {
	try := func(at place) bool {
		for other := range c.byType[at] {
			if other != in && len(other.conjunct.Preds) <= len(in.conjunct.Preds) && filter.Covers(other.conjunct, in.conjunct) {
				c.put(in, other)
				return true
			}
		}
		return false
	}
	if try(in.at) {
		return
	}
	for pattern := range c.patterns[in.at.ns] {
		if pattern != in.at.pattern && filter.PatternCovers(pattern, in.at.pattern) && try(place{in.at.ns, pattern}) {
			return
		}
	}
	if c.byType[in.at] == nil {
		c.byType[in.at] = map[*covered]bool{}
	}
	c.byType[in.at][in] = true
	if !literal(in.at.pattern) {
		if c.patterns[in.at.ns] == nil {
			c.patterns[in.at.ns] = map[string]struct{}{}
		}
		c.patterns[in.at.ns][in.at.pattern] = struct{}{}
	}
	c.announce(in.entry, true)
}

func (c *cover) put(in, below *covered) {
	in.by = below
	if below.covers == nil {
		below.covers = map[*covered]bool{}
	}
	below.covers[in] = true
}

// withdraw takes an announced interest back.
func (c *cover) withdraw(in *covered) {
	c.unlist(in)
	c.announce(in.entry, false)
}

func (c *cover) unlist(in *covered) {
	delete(c.byType[in.at], in)
	if len(c.byType[in.at]) == 0 {
		delete(c.byType, in.at)
		delete(c.patterns[in.at.ns], in.at.pattern)
	}
}

// places lists where a namespace has announced interests.
func (c *cover) places(ns string) []place {
	var list []place
	for at := range c.byType {
		if at.ns == ns {
			list = append(list, at)
		}
	}
	return list
}

// literal reports whether a pattern stands for one type.
func literal(pattern string) bool {
	for i := range len(pattern) {
		if pattern[i] == '*' || pattern[i] == '>' {
			return false
		}
	}
	return pattern != ""
}
