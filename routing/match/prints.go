package match

import (
	"math/rand/v2"
	"slices"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/transport/event"
)

// Prints are the conjuncts that differ only in the values which they require of
// some attributes, with fingerprints in place of the values: an event is
// accepted when Base accepts it and the fingerprint of its values of Attrs is
// in the set.
type Prints struct {
	Base  filter.Conjunct // without Rest
	Attrs []string        // sorted, at least one
	Key   Key
	Cut   uint8 // low bits of each fingerprint that are left out, below 32
	Set   []uint32
}

// AddPrints adds a value for each fingerprint of a set. The same pair may be
// added more than once, and must be removed as often.
func (x *Index[T]) AddPrints(p Prints, v T) {
	if len(p.Set) == 0 {
		return
	}
	lf := x.leaf(p.Base.Type, true)
	t := lf.printed(&p)
	if t == nil {
		lf.printTables = append(lf.printTables, printTable[T]{attrs: slices.Clone(p.Attrs), key: p.Key, cut: p.Cut, seed: rand.Uint64() | 1})
		t = &lf.printTables[len(lf.printTables)-1]
		if c := newClass(p.Base, v); c.check != nil {
			t.check = c.check
		}
	}
	to := t.number(v)
	for _, fp := range p.Set {
		if t.add(fp, to) {
			x.count++
		}
	}
	t.release()
}

// RemovePrints takes the pairs away that are there.
func (x *Index[T]) RemovePrints(p Prints, v T) {
	lf := x.leaf(p.Base.Type, false)
	if lf == nil {
		return
	}
	t := lf.printed(&p)
	if t == nil {
		return
	}
	to := slices.Index(t.values, v)
	for _, fp := range p.Set {
		if to >= 0 && t.remove(fp, uint32(to)) {
			x.count--
		}
	}
	if t.release(); t.used == 0 && lf.empty() {
		x.prune(p.Base.Type)
	}
}

// printed finds the leaf's table for sets like p.
func (lf *leaf[T]) printed(p *Prints) *printTable[T] {
	for i := range lf.printTables {
		t := &lf.printTables[i]
		c := class[T]{check: t.check}
		if t.key == p.Key && t.cut == p.Cut && slices.Equal(t.attrs, p.Attrs) && c.is(&p.Base) {
			return t
		}
	}
	return nil
}

// printTable finds values by fingerprint. It is a hash table with linear
// probing whose slots have 8 bytes: there may be millions of them.
type printTable[T comparable] struct {
	attrs  []string
	key    Key
	cut    uint8
	check  *filter.Conjunct // what Base asks for beside the type; nil for nothing
	values []T              // by number; those of no slot are zero
	pairs  []int            // by number: slots
	seed   uint64           // odd; where a fingerprint's slots begin
	slots  []printSlot      // a power of two of them
	used   int
}

// printSlot is a fingerprint and a value; how is zero when the slot is free,
// else the value's number in the high bits and how often the pair was added in
// the low ones. A pair that was added maxAdded times stays for ever: that may
// be wider than the truth, never narrower.
type printSlot struct{ fp, how uint32 }

const (
	addedBits = 10
	maxAdded  = 1<<addedBits - 1
)

// number is the number of a value, given to it when it has none.
func (t *printTable[T]) number(v T) uint32 {
	for i, have := range t.values {
		if t.pairs[i] > 0 && have == v {
			return uint32(i)
		}
	}
	if i := slices.Index(t.pairs, 0); i >= 0 {
		t.values[i] = v
		return uint32(i)
	}
	t.values, t.pairs = append(t.values, v), append(t.pairs, 0)
	return uint32(len(t.values) - 1)
}

// release forgets the values that no slot has, and memory that is not needed.
func (t *printTable[T]) release() {
	for i, n := range t.pairs {
		if n == 0 {
			var none T
			t.values[i] = none
		}
	}
	if len(t.slots) > 64 && t.used*8 < len(t.slots) {
		t.resize(t.used)
	}
}

func (t *printTable[T]) home(fp uint32) int {
	return int(uint64(fp)*t.seed>>32) & (len(t.slots) - 1)
}

// find is the slot of a pair, or the free one where it belongs.
func (t *printTable[T]) find(fp, to uint32) int {
	i := t.home(fp)
	for t.slots[i].how != 0 && (t.slots[i].fp != fp || t.slots[i].how>>addedBits != to) {
		i = (i + 1) & (len(t.slots) - 1)
	}
	return i
}

// add reports whether the pair is new.
func (t *printTable[T]) add(fp, to uint32) bool {
	if (t.used+1)*4 > len(t.slots)*3 {
		t.resize(t.used + 1)
	}
	s := &t.slots[t.find(fp, to)]
	if s.how != 0 {
		if s.how&maxAdded < maxAdded {
			s.how++
		}
		return false
	}
	*s = printSlot{fp, to<<addedBits | 1}
	t.used++
	t.pairs[to]++
	return true
}

// remove reports whether the pair is gone.
func (t *printTable[T]) remove(fp, to uint32) bool {
	if t.used == 0 {
		return false
	}
	i := t.find(fp, to)
	switch n := t.slots[i].how & maxAdded; {
	case n == 0 || n == maxAdded:
		return false
	case n > 1:
		t.slots[i].how--
		return false
	}
	t.used--
	t.pairs[to]--
	// What was pushed behind the slot by what was in it moves up.
	for j, mask := i, len(t.slots)-1; ; {
		j = (j + 1) & mask
		if t.slots[j].how == 0 {
			break
		}
		if home := t.home(t.slots[j].fp); (j-home)&mask >= (j-i)&mask {
			t.slots[i], i = t.slots[j], j
		}
	}
	t.slots[i] = printSlot{}
	return true
}

// resize makes room for n pairs: a quarter of the slots are free then, or more.
func (t *printTable[T]) resize(n int) {
	size := 8
	for size*3 < n*4 {
		size *= 2
	}
	old := t.slots
	t.slots = make([]printSlot, size)
	for _, s := range old {
		if s.how != 0 {
			t.slots[t.find(s.fp, s.how>>addedBits)] = s
		}
	}
}

// match appends the values of those that accept an event of the table's type.
func (t *printTable[T]) match(ev *event.Event, dst []T) []T {
	if t.used == 0 {
		return dst
	}
	fp, ok := t.key.OfEvent(ev, t.attrs)
	if !ok {
		return dst
	}
	fp >>= t.cut
	verified := t.check == nil
	for i := t.home(fp); t.slots[i].how != 0; i = (i + 1) & (len(t.slots) - 1) {
		if t.slots[i].fp != fp {
			continue
		}
		if !verified && !t.check.Verify(ev) {
			return dst
		}
		verified = true
		dst = append(dst, t.values[t.slots[i].how>>addedBits])
	}
	return dst
}
