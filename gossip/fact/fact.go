package fact

import (
	"maps"
	"slices"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Bounds of what a fact remembers of its past, for deltas.
const (
	maxSteps     = 64
	maxStepBytes = 64 << 10
)

// fact is one owner's set on one topic, as far as this node knows it.
type fact struct {
	key
	region   string
	version  version
	sum      sum
	complete bool
	set      map[string]struct{}
	old      map[string]struct{} // told by an earlier incarnation, visible until this one is complete
	size     int                 // bytes of set

	stamp   sum // of what the next two say
	stamped version
	stampOf sum

	steps     []step // the latest changes, the last one ends at version
	stepBytes int

	relayed bool              // this node passes it on to its own region
	marks   map[peer.ID]*mark // what the peers it is passed to have; nil unless own or relayed
	told    uint64            // the spread that its owner was told on this link
	gone    time.Time         // when its owner was last seen alive; zero while it is
	at      time.Time         // when its version came, unless it is this node's own
}

// step is a change from one version to a later one.
type step struct {
	base, ver     uint64
	adds, removes []string
}

func (s *step) bytes() (n int) {
	for _, e := range s.adds {
		n += len(e) + 16
	}
	for _, e := range s.removes {
		n += len(e) + 16
	}
	return n
}

// mark is what one linked peer has of a fact, in the fact's incarnation.
type mark struct {
	inc    uint64
	sent   uint64 // the latest version that it was sent or offered
	have   uint64 // the latest it acknowledged
	spread uint64 // the latest it acknowledged for all linked peers of its region
	at     time.Time
}

// after is the sum and the size of the set once a change is applied to it.
func (f *fact) after(k hashKey, adds, removes []string) (s sum, size int) {
	s, size = f.sum, f.size
	for _, e := range adds {
		if _, has := f.set[e]; !has {
			s += k.hash(e)
			size += len(e)
		}
	}
	for _, e := range removes {
		if _, has := f.set[e]; has {
			s -= k.hash(e)
			size -= len(e)
		}
	}
	return s, size
}

// apply changes the set and returns what that changed of the visible one.
// No entry is both added and removed.
func (f *fact) apply(st step, s sum, size int, complete bool) (adds, removes []string) {
	for _, e := range st.adds {
		if _, has := f.set[e]; has {
			continue
		}
		f.set[e] = struct{}{}
		if _, seen := f.old[e]; !seen {
			adds = append(adds, e)
		}
	}
	for _, e := range st.removes {
		if _, has := f.set[e]; !has {
			continue
		}
		delete(f.set, e)
		if _, seen := f.old[e]; !seen {
			removes = append(removes, e)
		}
	}
	f.sum, f.size, f.version.ver = s, size, st.ver
	if complete && !f.complete {
		f.complete = true
		for e := range f.old {
			if _, has := f.set[e]; !has {
				removes = append(removes, e)
			}
		}
		f.old = nil
		slices.Sort(removes)
	}
	f.remember(st)
	return adds, removes
}

// replace puts a whole state in place of the present one.
func (f *fact) replace(h *head, set map[string]struct{}, size int) {
	switch {
	case h.complete:
		f.old = nil
	case h.version.inc != f.version.inc && (len(f.set) > 0 || len(f.old) > 0):
		if f.old == nil {
			f.old = f.set
		} else {
			maps.Copy(f.old, f.set)
		}
	}
	if h.version.inc != f.version.inc {
		f.marks, f.told = nil, 0
	}
	f.region, f.version, f.sum, f.complete = h.region, h.version, h.sum, h.complete
	f.set, f.size = set, size
	f.steps, f.stepBytes = nil, 0
}

// state is a hash of which state of which fact this is.
func (f *fact) state(k hashKey) sum {
	if f.stamped != f.version || f.stampOf != f.sum {
		h := head{key: f.key, version: f.version, sum: f.sum}
		f.stamp, f.stamped, f.stampOf = k.hash(string(appendHead(nil, &h))), f.version, f.sum
	}
	return f.stamp
}

// visible is what readers see, sorted.
func (f *fact) visible() []string {
	all := make([]string, 0, len(f.set)+len(f.old))
	all = slices.AppendSeq(all, maps.Keys(f.set))
	for e := range f.old {
		if _, has := f.set[e]; !has {
			all = append(all, e)
		}
	}
	slices.Sort(all)
	return all
}

func (f *fact) remember(st step) {
	f.steps = append(f.steps, st)
	f.stepBytes += st.bytes()
	drop := 0
	for len(f.steps)-drop > maxSteps || drop < len(f.steps) && f.stepBytes > maxStepBytes {
		f.stepBytes -= f.steps[drop].bytes()
		drop++
	}
	f.steps = slices.Delete(f.steps, 0, drop)
}

// since is the change that brings any version from base on to the present one.
// ok is false when the past that far is not remembered.
func (f *fact) since(base uint64) (st step, ok bool) {
	if len(f.steps) == 0 || base < f.steps[0].base || base >= f.version.ver {
		return step{}, false
	}
	i := len(f.steps) - 1
	for i > 0 && f.steps[i].base > base {
		i--
	}
	if i == len(f.steps)-1 {
		return f.steps[i], true
	}
	last := map[string]bool{}
	for _, s := range f.steps[i:] {
		for _, e := range s.adds {
			last[e] = true
		}
		for _, e := range s.removes {
			last[e] = false
		}
	}
	st = step{base: f.steps[i].base, ver: f.version.ver}
	for e, added := range last {
		if added {
			st.adds = append(st.adds, e)
		} else {
			st.removes = append(st.removes, e)
		}
	}
	slices.Sort(st.adds)
	slices.Sort(st.removes)
	return st, true
}

// mark is the mark of a peer, made when there is none.
func (f *fact) mark(id peer.ID) *mark {
	mk := f.marks[id]
	if mk == nil {
		if f.marks == nil {
			f.marks = map[peer.ID]*mark{}
		}
		mk = &mark{inc: f.version.inc}
		f.marks[id] = mk
	}
	return mk
}
