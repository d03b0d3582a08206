package routing

import (
	"cmp"
	"slices"
	"time"

	"github.com/skeinmesh/skein/routing/filter"
)

// review narrows what there is room for again, the worst offenders first, and
// swaps the worst against what is likely to be cheaper.
func (s *summary) review(now time.Time) {
	seconds := now.Sub(s.reviewed).Seconds()
	s.reviewed = now
	s.forget(now)
	list := make([]*widening, 0, len(s.widened))
	for _, w := range s.widened {
		n := w.blame.unwanted.Load()
		w.rate = float64(n-w.blame.seen) / seconds
		w.blame.seen = n
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
		room := s.budget*roomNum/roomDen - s.size
		swap := !swapped && w.rate > 0
		if least := s.standsFor(w); least > room && (!swap || least > s.budget) {
			continue // without looking at each of what may be very many
		}
		switch need := s.hidden(w); {
		case need <= room:
			s.narrow(w)
		case swap:
			swapped = s.swap(w, need, now)
		}
	}
	s.reviewPrints()
}

// reviewPrints has values said again, and whole fingerprints, where there is
// room, and says chunks anew; of the sets that were cut, those that brought most
// of what nobody wants come first.
func (s *summary) reviewPrints() {
	var list []*shape
	brought := map[*shape]uint64{}
	for _, sh := range s.shapes {
		if sh.prints != nil {
			n := sh.blame.unwanted.Load()
			brought[sh] = n - sh.blame.seen
			sh.blame.seen = n
			list = append(list, sh)
		}
	}
	slices.SortFunc(list, func(a, b *shape) int {
		return cmp.Or(cmp.Compare(brought[b], brought[a]), cmp.Compare(a.key, b.key))
	})
	for _, sh := range list {
		before := sh.bytes()
		p := sh.prints
		whole := printBytes(p.header, p.live, 0) - before
		switch n, fit := sh.members.len(), cutFor(p.live); {
		case sh.pressed && n < printsUntil && s.size < s.budget/2:
			s.spell(sh)
		case p.proto.Cut > 0 && (p.live < coarseFrom/2 || s.size+whole <= s.budget*roomNum/roomDen):
			s.cut(sh, 0)
		case p.proto.Cut > fit:
			s.cut(sh, fit) // it has become too large for its cut
		default:
			sh.pressed = sh.pressed && n < printsFrom
			p.fold()
		}
		s.size += sh.bytes() - before
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
		if c.press == nil && c.ns == worst.ns && related(c.conjunct.Type, worst.conjunct.Type) {
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
		s.adopt(c, now)
	}
	s.narrow(worst)
	return true
}

// related reports whether one of two patterns covers the other.
func related(a, b string) bool { return filter.PatternCovers(a, b) || filter.PatternCovers(b, a) }

// standsFor is how many interests come back when a widening goes.
func (s *summary) standsFor(w *widening) int {
	in := s.cover.all[w.entry]
	if in == nil || in.count > 1 || in.by != nil {
		return 0 // somebody wants just that, or it is not said at all
	}
	return in.covers.len()
}

// hidden estimates the bytes it takes to say what a widening stands for.
func (s *summary) hidden(w *widening) int {
	if s.standsFor(w) == 0 {
		return 0
	}
	in := s.cover.all[w.entry]
	type group struct{ header, prints, exact, members int }
	groups := map[string]*group{}
	for o := range in.covers.each() {
		key, base, attrs := shapeKey(o.ns, &o.conjunct)
		g := groups[key]
		if g == nil {
			g = &group{exact: len(key) / 2}
			if len(attrs) > 0 {
				g.header = printsHeader(o.ns, base, attrs)
			}
			groups[key] = g
		}
		g.members++
		g.exact += valueBytes(&o.conjunct)
		if g.header > 0 {
			tuples(s.key, &o.conjunct, func(uint32) { g.prints++ })
		}
	}
	total := 0
	for _, g := range groups {
		n := g.exact
		if g.header > 0 && g.members > 1 {
			n = min(n, printBytes(g.header, g.prints, 0))
			if g.prints >= coarseFrom {
				n = min(n, printBytes(g.header, g.prints, cutFor(g.prints)))
			}
		}
		total += n
	}
	return total
}
