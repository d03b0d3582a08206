package routing

import (
	"time"

	"github.com/skeinmesh/skein/routing/match"
	"github.com/skeinmesh/skein/transport/event"
)

// SummaryBudget is how many bytes a region's summary may take on the wire, as
// estimated: the estimate is 10 to 20 % too large. It is enough for 100 000
// subscriptions that all differ.
const SummaryBudget = 512 << 10

// summary is what this node says that its region wants. It has four means to
// keep that small:
//
//   - an interest that another covers is not said (see cover);
//   - of interests that differ only in the values which they require,
//     fingerprints of these are said (see shape and printSet);
//   - when that takes more than the budget, fingerprints are cut, so that more
//     values share one;
//   - when that does not suffice, a wider interest is said in place of several
//     (see widening).
//
// Each is wider than the truth or the same, never narrower. The last two are
// undone when there is room.
//
// BenchmarkSummary measures what comes of it with subscriptions to two thousand
// types, nearly all to one value of an attribute or two, on 21 November 2026:
//
//	subscriptions   on the wire   as they are   unwanted events that come
//	        1 000         18 kB         51 kB       0 %
//	       10 000        103 kB        489 kB       0 %
//	      100 000        415 kB       4577 kB       0 %
//	    1 000 000        427 kB      41362 kB      77 %
type summary struct {
	key    match.Key
	budget int // bytes

	cover  *cover // of the truth and of what stands for parts of it
	said   *announcer
	shapes map[string]*shape
	fresh  map[*shape]struct{} // those with fingerprints to flush
	size   int                 // bytes of all shapes, as estimated

	widened  map[string]*widening               // by the entry of what is said instead
	blames   map[string]*match.Index[*offender] // by namespace: what may bring events that nobody wants
	tried    map[string]trial                   // by entry: what earlier widenings brought
	heard    map[string]float64                 // by entry: unwanted events a second that it brings to the region's other nodes
	shared   map[string]int                     // by entry: how many other gateways say it in place of others
	told     map[string]struct{}                // what this node tells its region of what widenings bring
	feedback *announcer                         // of told
	least    int                                // bytes below which widening did not come at the last try; 0 if it came to where it should
	reviewed time.Time
}

func newSummary() *summary {
	s := &summary{
		budget: SummaryBudget,
		said:   newAnnouncer(SummaryLinger),
		shapes: map[string]*shape{}, fresh: map[*shape]struct{}{},
		widened: map[string]*widening{}, blames: map[string]*match.Index[*offender]{},
		tried: map[string]trial{}, heard: map[string]float64{}, shared: map[string]int{},
		feedback: newAnnouncer(0), told: map[string]struct{}{},
	}
	s.said.limit = 4 * s.budget
	s.cover = newCover(s.set)
	return s
}

// set says an announced interest of the cover, or takes it back.
func (s *summary) set(in *covered, on bool) {
	sh := in.shape
	if on {
		sh = s.shape(in)
	}
	before := sh.bytes()
	if on {
		in.shape = sh
		sh.members.add(in)
		sh.exact += valueBytes(&in.conjunct)
		s.list(sh, in)
	} else {
		in.shape = nil
		sh.members.remove(in)
		sh.exact -= valueBytes(&in.conjunct)
		s.unlist(sh, in)
	}
	switch n := sh.members.len(); {
	case n == 0:
		s.spell(sh)
		delete(s.shapes, sh.key)
	case sh.prints == nil && len(sh.attrs) > 0 && n >= printsFrom:
		s.print(sh)
	case sh.prints != nil && n < printsUntil && !sh.pressed:
		s.spell(sh)
	}
	s.size += sh.bytes() - before
}

// shape finds or makes an interest's shape.
func (s *summary) shape(in *covered) *shape {
	key, base, attrs := shapeKey(in.ns, &in.conjunct)
	sh := s.shapes[key]
	if sh == nil {
		sh = &shape{key: key, ns: in.ns, base: base, attrs: attrs}
		s.shapes[key] = sh
	}
	return sh
}

// list says one more member of a shape.
func (s *summary) list(sh *shape, in *covered) {
	if sh.prints != nil {
		tuples(s.key, &in.conjunct, sh.prints.add)
		s.fresh[sh] = struct{}{}
		return
	}
	in.said = in.entry
	if s.widened[in.entry] != nil {
		in.said = encodeConjunct(kindWidened, in.ns, in.conjunct)
	}
	s.said.set(in.said, true)
}

func (s *summary) unlist(sh *shape, in *covered) {
	if sh.prints != nil {
		tuples(s.key, &in.conjunct, sh.prints.remove)
		return
	}
	s.said.set(in.said, false)
	in.said = ""
}

// print has a shape said in fingerprints.
func (s *summary) print(sh *shape) {
	for in := range sh.members.each() {
		s.unlist(sh, in)
	}
	sh.blame = new(offender)
	s.cut(sh, 0)
	s.blameFor(sh.ns).Add(sh.base, sh.blame)
}

// cut has a shape said in fingerprints that lack some bits.
func (s *summary) cut(sh *shape, bits uint8) {
	if sh.prints != nil {
		sh.prints.close()
	}
	sh.prints = newPrintSet(sh.ns, match.Prints{Base: sh.base, Attrs: sh.attrs, Key: s.key, Cut: bits}, s.said.set)
	sh.blame.prints = sh.prints
	for in := range sh.members.each() {
		tuples(s.key, &in.conjunct, sh.prints.add)
	}
	s.fresh[sh] = struct{}{}
}

// spell has a shape said as it is.
func (s *summary) spell(sh *shape) {
	if sh.prints == nil {
		return
	}
	sh.prints.close()
	sh.prints, sh.pressed = nil, false
	delete(s.fresh, sh)
	s.acquit(sh.ns, sh.base, sh.blame)
	sh.blame = nil
	for in := range sh.members.each() {
		s.list(sh, in)
	}
}

// drain is what is to be said now.
func (s *summary) drain(now time.Time) (adds, removes []string) {
	if s.reviewed.IsZero() {
		s.reviewed = now
	}
	if s.size > s.budget && s.size > s.least+s.least/32 {
		s.widen(now)
	}
	if now.Sub(s.reviewed) >= reviewEvery {
		s.least = 0
		s.review(now)
	}
	for sh := range s.fresh {
		sh.prints.flush()
	}
	clear(s.fresh)
	return s.said.drain(now)
}

// unwanted notes that an event came from another region and nobody in this one
// wanted it: what of the summary let it come is to blame. It reports whether
// anything is; else what let it come is over, or was said by another gateway.
// Any number of goroutines may call it while nothing else is called.
func (s *summary) unwanted(ns string, ev *event.Event, found *[]*offender) (blamed bool) {
	x := s.blames[ns]
	if x == nil {
		return false
	}
	*found = x.Match(ev, (*found)[:0])
	for _, o := range *found {
		if o.prints != nil {
			if fp, ok := s.key.OfEvent(ev, o.prints.proto.Attrs); !ok || !o.prints.has(fp) {
				continue
			}
		}
		o.unwanted.Add(1)
		blamed = true
	}
	return blamed
}
