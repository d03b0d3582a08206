package routing

import (
	"cmp"
	"math/bits"
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
// the whole set, and one less costs nothing for a while. (An entry for each
// would cost every node of the mesh its place in several maps; a Bloom filter
// cannot be taken from, and would be sent whole for one more.)
//
// Of a set that is cut, fingerprints are as short as leaves them apart most of
// the time; chunks have those that begin alike, so that a difference takes a
// byte.
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
	over  int  // of set: those that do not count any more
	fresh bool // said apart from those that begin alike
}

func newPrintSet(ns string, proto match.Prints, say func(entry string, on bool)) *printSet {
	return &printSet{
		ns: ns, proto: proto, say: say, header: printsHeader(ns, proto.Base, proto.Attrs),
		at: map[uint32]print{}, chunks: map[*chunk]struct{}{},
	}
}

// bytes estimates what it takes to say the set.
func (s *printSet) bytes() int { return printBytes(s.header, s.live, s.proto.Cut) }

// printBytes estimates what it takes to say n fingerprints: entries are sent
// without what they begin with alike, which is half of a header or more, and
// fingerprints as differences.
func printBytes(header, n int, cut uint8) int {
	each := 4
	if apart := 1 << (32 - cut) / max(n, 1); cut > 0 && apart <= 2<<coarseBits {
		each = 1
	} else if cut > 0 && apart <= 1<<12 {
		each = 2
	}
	return header/2 + each*n + n/8 + 8*(n/chunkPrints+1)
}

// coarseBits is how many bits fingerprints that are cut have beyond those that
// number them: of the values that are not in the set, 1 in 2^coarseBits seems to
// be, when it is as large as it was cut for.
const coarseBits = 5

// coarseFrom is how many fingerprints are worth cutting.
const coarseFrom = 64

// cutFor is how much the fingerprints of a set of n may be cut.
func cutFor(n int) uint8 { return uint8(max(0, 32-coarseBits-bits.Len(uint(n)))) }

// printsHeader is what an entry takes beside its fingerprints.
func printsHeader(ns string, base filter.Conjunct, attrs []string) int {
	return len(encodePrints(ns, match.Prints{Base: base, Attrs: attrs}))
}

// add counts a fingerprint.
func (s *printSet) add(fp uint32) {
	fp >>= s.proto.Cut
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
	fp >>= s.proto.Cut
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
func (s *printSet) has(fp uint32) bool { return s.at[fp>>s.proto.Cut].in != nil }

// flush says what is new.
func (s *printSet) flush() {
	fresh := slices.DeleteFunc(s.fresh, func(fp uint32) bool { p := s.at[fp]; return p.count == 0 || p.in != nil })
	s.pack(fresh, len(s.chunks) > 0)
	s.fresh = nil
}

// pack says fingerprints that are in no chunk.
func (s *printSet) pack(set []uint32, fresh bool) {
	slices.Sort(set)
	set = slices.Compact(set)
	for len(set) > 0 {
		n := min(len(set), chunkPrints)
		if s.proto.Cut > 0 && !fresh {
			n, _ = slices.BinarySearchFunc(set, s.part(set[0]), func(fp, r uint32) int { return cmp.Compare(s.part(fp), r+1) })
			n = min(n, maxPrints)
		}
		s.chunk(set[:n], fresh)
		set = set[n:]
	}
}

func (s *printSet) chunk(part []uint32, fresh bool) {
	c := &chunk{set: slices.Clone(part), fresh: fresh}
	p := s.proto
	p.Set = c.set
	c.entry = encodePrints(s.ns, p)
	s.chunks[c] = struct{}{}
	for _, fp := range part {
		s.at[fp] = print{s.at[fp].count, c}
	}
	s.say(c.entry, true)
}

// part numbers the part of all fingerprints of a set that is cut which one is
// in: a part has about as many as a chunk.
func (s *printSet) part(fp uint32) uint32 {
	parts := bits.Len(uint(s.live / chunkPrints))
	return fp >> max(0, 32-int(s.proto.Cut)-parts)
}

// fold says anew, without what is over and in fewer chunks, the chunks where
// that is worth most.
func (s *printSet) fold() {
	var poor []*chunk
	over := 0
	for c := range s.chunks {
		small := len(c.set) < chunkPrints/2
		if s.proto.Cut > 0 {
			small = c.fresh
		}
		if c.over > 0 || small {
			poor = append(poor, c)
			over += c.over
		}
	}
	if len(poor) == 0 || over == 0 && len(poor) < 2 && s.proto.Cut == 0 {
		return
	}
	slices.SortFunc(poor, func(a, b *chunk) int {
		return cmp.Or(cmp.Compare(b.over, a.over), cmp.Compare(len(a.set), len(b.set)), cmp.Compare(a.entry, b.entry))
	})
	poor = poor[:min(len(poor), foldChunks)]
	if s.proto.Cut > 0 {
		poor = s.alike(poor)
	}
	// First off, then on: a chunk may come out as it was.
	live := s.drop(poor)
	s.pack(live, false)
}

// alike adds to chunks the others with fingerprints that begin as some of theirs.
func (s *printSet) alike(chunks []*chunk) []*chunk {
	ranges, in := map[uint32]bool{}, map[*chunk]bool{}
	for _, c := range chunks {
		in[c] = true
		for _, fp := range c.set {
			ranges[s.part(fp)] = true
		}
	}
	for c := range s.chunks {
		if !in[c] && !c.fresh && ranges[s.part(c.set[0])] {
			chunks = append(chunks, c)
		}
	}
	return chunks
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
