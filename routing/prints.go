package routing

import (
	"cmp"
	"slices"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/match"
)

// Bounds of how fingerprints are said.
const (
	chunkPrints = 128 // fingerprints of a chunk that is full
	foldChunks  = 64  // chunks of one printSet that are said anew at a time
)

// printSet says a set of fingerprints in chunks, an entry each. What is new is
// a chunk of its own at once; small chunks, and those with fingerprints that are
// over, are said anew when fold is called. So one more costs a few bytes and not
// the whole set, and one less costs nothing for a while.
type printSet struct {
	ns     string
	proto  match.Prints // without Set
	say    func(entry string, on bool)
	header int // bytes of an entry without fingerprints

	at     map[uint32]print
	live   int      // of at: those that count
	fresh  []uint32 // some that may be in no chunk
	chunks map[*chunk]struct{}
}

// print is a fingerprint of a printSet: it counts while count is above zero, and
// is said while it is in a chunk.
type print struct {
	count uint32
	in    *chunk
}

// chunk is a part of a printSet that is said.
type chunk struct {
	entry string
	set   []uint32
	over  int // of set: those that do not count any more
}

func newPrintSet(ns string, proto match.Prints, say func(entry string, on bool)) *printSet {
	return &printSet{
		ns: ns, proto: proto, say: say, header: printsHeader(ns, proto.Base, proto.Attrs),
		at: map[uint32]print{}, chunks: map[*chunk]struct{}{},
	}
}

// bytes estimates what it takes to say the set.
func (s *printSet) bytes() int { return printBytes(s.header, s.live) }

// printBytes estimates what it takes to say n fingerprints: their differences
// have 3 to 5 bytes, and entries are sent without what they begin with alike.
func printBytes(header, n int) int { return header + 4*n + 8*(n/chunkPrints+1) }

// printsHeader is what an entry takes beside its fingerprints.
func printsHeader(ns string, base filter.Conjunct, attrs []string) int {
	return len(encodePrints(ns, match.Prints{Base: base, Attrs: attrs}))
}

// add counts a fingerprint.
func (s *printSet) add(fp uint32) {
	p := s.at[fp]
	if p.count++; p.count == 1 {
		s.live++
		if p.in != nil {
			p.in.over--
		} else {
			s.fresh = append(s.fresh, fp)
		}
	}
	s.at[fp] = p
}

// remove takes back one add.
func (s *printSet) remove(fp uint32) {
	p := s.at[fp]
	if p.count--; p.count == 0 {
		s.live--
		if p.in == nil {
			delete(s.at, fp)
			return
		}
		p.in.over++
	}
	s.at[fp] = p
}

// has reports whether a fingerprint is said.
func (s *printSet) has(fp uint32) bool { return s.at[fp].in != nil }

// flush says what is new.
func (s *printSet) flush() {
	fresh := slices.DeleteFunc(s.fresh, func(fp uint32) bool { p := s.at[fp]; return p.count == 0 || p.in != nil })
	s.pack(fresh)
	s.fresh = nil
}

// pack says fingerprints that are in no chunk.
func (s *printSet) pack(set []uint32) {
	slices.Sort(set)
	set = slices.Compact(set)
	for part := range slices.Chunk(set, chunkPrints) {
		c := &chunk{set: slices.Clone(part)}
		p := s.proto
		p.Set = c.set
		c.entry = encodePrints(s.ns, p)
		s.chunks[c] = struct{}{}
		for _, fp := range part {
			s.at[fp] = print{s.at[fp].count, c}
		}
		s.say(c.entry, true)
	}
}

// fold says anew, without what is over and in fewer chunks, the chunks where
// that is worth most.
func (s *printSet) fold() {
	var poor []*chunk
	over := 0
	for c := range s.chunks {
		if c.over > 0 || len(c.set) < chunkPrints/2 {
			poor = append(poor, c)
			over += c.over
		}
	}
	if over == 0 && len(poor) < 2 {
		return
	}
	slices.SortFunc(poor, func(a, b *chunk) int {
		return cmp.Or(cmp.Compare(b.over, a.over), cmp.Compare(len(a.set), len(b.set)), cmp.Compare(a.entry, b.entry))
	})
	// First off, then on: a chunk may come out as it was.
	live := s.drop(poor[:min(len(poor), foldChunks)])
	s.pack(live)
}

// drop takes chunks back and returns those of their fingerprints that count.
func (s *printSet) drop(chunks []*chunk) (live []uint32) {
	for _, c := range chunks {
		delete(s.chunks, c)
		s.say(c.entry, false)
		for _, fp := range c.set {
			if p := s.at[fp]; p.count > 0 {
				s.at[fp] = print{count: p.count}
				live = append(live, fp)
			} else {
				delete(s.at, fp)
			}
		}
	}
	return live
}

// close says nothing any more.
func (s *printSet) close() {
	for c := range s.chunks {
		s.say(c.entry, false)
	}
}
