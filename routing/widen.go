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
	guess    float64 // see candidate
	blame    *offender
	rate     float64 // unwanted events a second before it, that the region's nodes know of
}

// offender counts the events that came because of what a summary says and that
// nobody in the region wanted.
type offender struct {
	prints   *printSet // whose fingerprints must fit, too; nil for a widening
	unwanted atomic.Uint64
	seen     uint64 // of unwanted, at the last review
}

// trial remembers how a widening did.
type trial struct {
	rate float64 // unwanted events a second
	at   time.Time
}

// candidate is a way to make a summary smaller: to say an interest in place of
// several or, where press is not nil, fingerprints of few values, or shorter
// ones of many.
type candidate struct {
	press    *shape
	cut      uint8  // of its fingerprints
	entry    string // of the interest
	ns       string
	conjunct filter.Conjunct
	saved    int     // bytes
	guess    float64 // how much unwanted it brings, relative to other candidates
	loss     float64 // unwanted events a second to expect, by the guess or by experience
}

// Guesses count interests: who wants more of a type, or has more filters on it,
// is taken to have more events of it. A whole type instead of some of it, and
// all types that begin alike, bring so many times what the hull of one shape's
// interests does.
const (
	guessType  = 2
	guessTypes = 6
)

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
			s.adopt(c, now)
		}
		if s.size >= before {
			s.least = s.size // one entry a namespace, or so
			return
		}
	}
	s.least = 0
}

// candidates lists what could be said in place of several, cheapest first.
func (s *summary) candidates() []candidate {
	var list []candidate
	below := map[string]*candidate{} // by entry: all shapes that a pattern covers
	for _, sh := range s.shapes {
		saved, members := sh.bytes(), slices.Collect(sh.members.each())
		n := len(members)
		for _, in := range members {
			if s.widened[in.entry] != nil {
				n += in.covers.len()
			}
		}
		if len(members) > 1 {
			if sh.prints == nil && len(sh.attrs) > 0 {
				list = append(list, candidate{press: sh, entry: sh.key, saved: saved - printBytes(printsHeader(sh.ns, sh.base, sh.attrs), n, 0)})
			}
			if p := sh.prints; p != nil && p.proto.Cut == 0 && p.live >= coarseFrom {
				cut := cutFor(p.live)
				list = append(list, candidate{
					press: sh, cut: cut, entry: sh.key,
					saved: saved - printBytes(p.header, p.live, cut), guess: float64(n) / (1 << coarseBits),
				})
			}
			c, breadth := hull(members)
			c = interestIn(c)
			list = append(list, candidate{ns: sh.ns, conjunct: c, entry: EncodeEntry(sh.ns, c), saved: saved, guess: breadth * float64(n)})
		}
		for pattern := range wider(sh.base.Type) {
			c := filter.Conjunct{Type: pattern}
			entry := EncodeEntry(sh.ns, c)
			all := below[entry]
			if all == nil {
				all = &candidate{ns: sh.ns, conjunct: c, entry: entry}
				below[entry] = all
			}
			all.saved += saved
			if pattern == sh.base.Type {
				all.guess += guessType * float64(n)
			} else {
				all.guess += guessTypes * float64(n)
			}
		}
	}
	for _, c := range below {
		list = append(list, *c)
	}
	scale := s.scale()
	for i := range list {
		c := &list[i]
		if c.press == nil {
			c.saved -= len(c.entry) / 2
		}
		c.loss = s.expect(c, scale)
	}
	list = slices.DeleteFunc(list, func(c candidate) bool { return c.saved <= 0 })
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.loss/float64(a.saved), b.loss/float64(b.saved)), cmp.Compare(a.entry, b.entry))
	})
	return list
}

// expect is how many unwanted events a second a candidate brings: what it is
// known to bring, nothing if it is said anyway, else by the guess.
func (s *summary) expect(c *candidate, scale float64) float64 {
	before, known := s.tried[c.entry]
	heard, told := s.heard[c.entry]
	switch {
	case c.press == nil && (known || told):
		return max(before.rate, heard)
	case s.shared[c.entry] > 0:
		return 0
	}
	return c.guess * scale
}

// scale is how many unwanted events a second a guess of one stands for, as
// present widenings show.
func (s *summary) scale() float64 {
	rate, guess := 0.0, 0.0
	for _, w := range s.widened {
		rate += w.rate
		guess += w.guess
	}
	if rate == 0 || guess == 0 {
		return 1
	}
	return rate / guess
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

// adopt says a candidate in place of what it covers, unless something wider is
// said by now.
func (s *summary) adopt(c candidate, now time.Time) {
	if sh := c.press; sh != nil {
		before := sh.bytes()
		switch {
		case s.shapes[sh.key] != sh: // nothing is left of it
		case c.cut > 0 && sh.prints != nil:
			s.cut(sh, c.cut)
		case c.cut == 0 && sh.prints == nil:
			sh.pressed = true
			s.print(sh)
		}
		s.size += sh.bytes() - before
		return
	}
	if s.cover.covers(c.ns, c.conjunct) {
		return
	}
	w := &widening{entry: c.entry, ns: c.ns, conjunct: c.conjunct, since: now, guess: c.guess, blame: new(offender)}
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
