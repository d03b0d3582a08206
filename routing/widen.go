package routing

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/match"
)

// When and how far a summary is brought back into its budget, and when it may
// grow again.
const (
	reviewEvery = 30 * time.Second // between looks at what may be narrowed
	forgetTrial = 30 * time.Minute // after which it is forgotten how a widening did

	lowNum, lowDen   = 9, 10 // of the budget: what widening aims at
	roomNum, roomDen = 3, 4  // of the budget: what narrowing fills
)

// widening is an interest that a summary says in place of several. To the cover
// it is one more interest: it hides those that it covers, and they are said
// again when it goes.
type widening struct {
	entry    string
	ns       string
	conjunct filter.Conjunct
	since    time.Time
	blame    *offender
	seen     uint64  // of blame's events, at the last review
	rate     float64 // unwanted events a second before it, that the region's nodes know of
}

// offender counts the events that came because of what a summary says and that
// nobody in the region wanted.
type offender struct {
	prints   *printSet // whose fingerprints must fit, too; nil for a widening
	unwanted atomic.Uint64
}

// trial remembers how a widening did.
type trial struct {
	rate float64 // unwanted events a second
	at   time.Time
}

// candidate is an interest that could be said in place of several.
type candidate struct {
	ns       string
	conjunct filter.Conjunct
	saved    int     // bytes
	loss     float64 // unwanted events a second to expect; where nothing is known, relative to others
}

// widen brings the summary below its budget: what costs the least selectivity
// for the bytes it saves goes first.
func (s *summary) widen(now time.Time) {
	s.forget(now)
	for target := s.budget * lowNum / lowDen; s.size > target; {
		before := s.size
		for _, c := range s.candidates() {
			if s.size <= target {
				break
			}
			if !s.cover.covers(c.ns, c.conjunct) {
				s.adopt(c, now)
			}
		}
		if s.size >= before {
			return // one entry a namespace is the least
		}
	}
}

// candidates lists what could be said in place of several, cheapest first.
func (s *summary) candidates() []candidate {
	var list []candidate
	below := map[string]*candidate{} // by entry: all shapes that a pattern covers
	for _, sh := range s.shapes {
		saved := sh.bytes()
		if sh.members.len() > 1 {
			c, breadth := hull(slices.Collect(sh.members.each()))
			list = append(list, candidate{ns: sh.ns, conjunct: interestIn(c), saved: saved, loss: breadth})
		}
		for pattern := range wider(sh.base.Type) {
			entry := EncodeEntry(sh.ns, filter.Conjunct{Type: pattern})
			all := below[entry]
			if all == nil {
				all = &candidate{ns: sh.ns, conjunct: filter.Conjunct{Type: pattern}}
				below[entry] = all
			}
			all.saved += saved
			// Of the same type more than was asked for, or of other types, too.
			if all.loss += 2; pattern != sh.base.Type {
				all.loss += 2
			}
		}
	}
	for _, c := range below {
		list = append(list, *c)
	}
	for i := range list {
		c := &list[i]
		entry := EncodeEntry(c.ns, c.conjunct)
		c.loss += max(s.tried[entry].rate, s.heard[entry])
		c.saved -= entryBytes(entry)
	}
	list = slices.DeleteFunc(list, func(c candidate) bool { return c.saved <= 0 })
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.loss/float64(a.saved), b.loss/float64(b.saved)),
			cmp.Compare(a.ns, b.ns), cmp.Compare(a.conjunct.String(), b.conjunct.String()))
	})
	return list
}

// wider yields a pattern and those that cover it and whole tails of types: of
// "a.b.c" these are "a.b.c", "a.b.>", "a.>" and "", which is every type.
func wider(pattern string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if pattern != "" && !yield(pattern) {
			return
		}
		for at := len(pattern); ; {
			if at = strings.LastIndexByte(pattern[:at], '.'); at < 0 {
				break
			}
			if w := pattern[:at] + ".>"; w != pattern && !yield(w) {
				return
			}
		}
		yield("")
	}
}

// adopt says a candidate in place of what it covers.
func (s *summary) adopt(c candidate, now time.Time) {
	w := &widening{entry: EncodeEntry(c.ns, c.conjunct), ns: c.ns, conjunct: c.conjunct, since: now, blame: new(offender)}
	if s.widened[w.entry] != nil {
		return
	}
	s.widened[w.entry] = w
	s.blameFor(w.ns).Add(w.conjunct, w.blame)
	s.cover.add(w.entry, w.ns, w.conjunct)
	var under []*widening // narrower ones, which have no use any more
	for in := range s.cover.all[w.entry].covers.each() {
		if narrower := s.widened[in.entry]; narrower != nil {
			under = append(under, narrower)
		}
	}
	for _, narrower := range under {
		s.narrow(narrower)
	}
}

// narrow says again what a widening stands for, and takes it back.
func (s *summary) narrow(w *widening) {
	delete(s.widened, w.entry)
	s.acquit(w.ns, w.conjunct, w.blame)
	s.cover.remove(w.entry)
}

// review narrows what there is room for again, the worst offenders first, and
// swaps the worst against what is likely to be cheaper.
func (s *summary) review(now time.Time) {
	seconds := now.Sub(s.reviewed).Seconds()
	s.reviewed = now
	s.forget(now)
	list := make([]*widening, 0, len(s.widened))
	for _, w := range s.widened {
		n := w.blame.unwanted.Load()
		w.rate = float64(n-w.seen) / seconds
		w.seen = n
		list = append(list, w)
	}
	s.tell(list)
	for _, w := range list {
		w.rate += s.heard[w.entry]
	}
	slices.SortFunc(list, func(a, b *widening) int {
		return cmp.Or(cmp.Compare(b.rate, a.rate), cmp.Compare(a.entry, b.entry))
	})
	swapped := false
	for _, w := range list {
		if now.Sub(w.since) < reviewEvery {
			continue
		}
		s.tried[w.entry] = trial{w.rate, now}
		need := s.hidden(w)
		switch {
		case s.size+need <= s.budget*roomNum/roomDen:
			s.narrow(w)
		case !swapped && w.rate > 0:
			swapped = s.swap(w, need, now)
		}
	}
}

// swap narrows a widening at the expense of others, if these are likely to bring
// fewer events that nobody wants. It reports whether it did.
func (s *summary) swap(worst *widening, need int, now time.Time) bool {
	free := s.budget*lowNum/lowDen - s.size
	loss := 0.0
	var instead []candidate
	for _, c := range s.candidates() {
		if free >= need {
			break
		}
		if related(c.conjunct.Type, worst.conjunct.Type) {
			continue
		}
		free += c.saved
		if loss += c.loss; loss >= worst.rate {
			return false
		}
		instead = append(instead, c)
	}
	if free < need {
		return false
	}
	for _, c := range instead {
		if !s.cover.covers(c.ns, c.conjunct) {
			s.adopt(c, now)
		}
	}
	s.narrow(worst)
	return true
}

// related reports whether one of two patterns covers the other.
func related(a, b string) bool { return filter.PatternCovers(a, b) || filter.PatternCovers(b, a) }

// hidden estimates the bytes it takes to say what a widening stands for, or
// more than the budget.
func (s *summary) hidden(w *widening) int {
	in := s.cover.all[w.entry]
	if in == nil || in.count > 1 {
		return 0 // somebody wants just that: nothing is said again
	}
	if in.by != nil {
		return 0 // not said at all
	}
	if in.covers.len()*4 > s.budget {
		return s.budget + 1
	}
	type group struct{ header, prints, exact, members int }
	groups := map[string]*group{}
	for o := range in.covers.each() {
		key, base, attrs := shapeKey(o.ns, &o.conjunct)
		g := groups[key]
		if g == nil {
			g = &group{header: len(encodePrints(o.ns, match.Prints{Base: base, Attrs: attrs}))}
			groups[key] = g
		}
		g.members++
		g.exact += entryBytes(o.entry)
		if g.prints >= 0 && len(attrs) > 0 {
			tuples(s.key, &o.conjunct, func(uint32) { g.prints++ })
		} else {
			g.prints = -1
		}
	}
	total := 0
	for _, g := range groups {
		if g.prints > 0 && g.members >= printsFrom {
			total += printBytes(g.header, g.prints)
		} else {
			total += g.exact
		}
	}
	return total
}

// forget drops what is too old to be judged by.
func (s *summary) forget(now time.Time) {
	for entry, t := range s.tried {
		if now.Sub(t.at) > forgetTrial {
			delete(s.tried, entry)
		}
	}
}

func (s *summary) blameFor(ns string) *match.Index[*offender] {
	x := s.blames[ns]
	if x == nil {
		x = match.New[*offender]()
		s.blames[ns] = x
	}
	return x
}

func (s *summary) acquit(ns string, c filter.Conjunct, o *offender) {
	x := s.blames[ns]
	if x.Remove(c, o); x.Len() == 0 {
		delete(s.blames, ns)
	}
}
