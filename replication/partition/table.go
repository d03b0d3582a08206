package partition

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// table finds the newest record with a key in a window. It does not keep the keys,
// which the window has: a slot is 8 bytes, and most keys that are new are told from
// the others without a look at any. That is what each record costs on each replica.
//
// It is an open hash table with linear probing, at most half full. Offsets are kept
// by their low 32 bits: a window is shorter than that.
type table struct {
	slots []slot // a power of two of them
	used  int
	seed  [2]uint64 // so that nobody can choose keys that collide
}

// slot is a record, or nothing if its hash is 0.
type slot struct{ hash, offset uint32 }

const leastSlots = 16

func newTable() table {
	return table{slots: make([]slot, leastSlots), seed: [2]uint64{rand.Uint64(), rand.Uint64()}}
}

func (t *table) hash(key *Key) uint32 {
	high, low := bits.Mul64(binary.LittleEndian.Uint64(key[:8])^t.seed[0], binary.LittleEndian.Uint64(key[8:])^t.seed[1])
	return uint32((high^low)>>32) | 1
}

// home is where the search for a hash begins: its upper bits, the lowest is not one.
func (t *table) home(hash uint32) int { return int(hash>>1) & (len(t.slots) - 1) }

// at is the slot of a key, or the free one where it belongs.
func (t *table) at(key *Key, hash uint32, keyOf func(offset uint32) *Key) *slot {
	for i := t.home(hash); ; i = (i + 1) & (len(t.slots) - 1) {
		if s := &t.slots[i]; s.hash == 0 || s.hash == hash && *keyOf(s.offset) == *key {
			return s
		}
	}
}

// find is the offset of the record with a key.
func (t *table) find(key *Key, keyOf func(offset uint32) *Key) (offset uint32, ok bool) {
	s := t.at(key, t.hash(key), keyOf)
	return s.offset, s.hash != 0
}

// set makes a record the one with its key.
func (t *table) set(key *Key, offset uint32, keyOf func(offset uint32) *Key) {
	hash := t.hash(key)
	s := t.at(key, hash, keyOf)
	if s.hash == 0 {
		if t.used++; 2*t.used > len(t.slots) {
			t.grow()
			s = t.at(key, hash, keyOf)
		}
	}
	*s = slot{hash, offset}
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]slot, 2*len(old))
	for _, s := range old {
		if s.hash == 0 {
			continue
		}
		i := t.home(s.hash)
		for t.slots[i].hash != 0 {
			i = (i + 1) & (len(t.slots) - 1)
		}
		t.slots[i] = s
	}
}

// remove forgets a record, unless there is a newer one with its key.
func (t *table) remove(key *Key, offset uint32) {
	hash, mask := t.hash(key), len(t.slots)-1
	i := t.home(hash)
	for t.slots[i] != (slot{hash, offset}) {
		if t.slots[i].hash == 0 {
			return
		}
		i = (i + 1) & mask
	}
	t.used--
	// Those behind it move up, so that no search ends before it finds them.
	for next := (i + 1) & mask; t.slots[next].hash != 0; next = (next + 1) & mask {
		if home := t.home(t.slots[next].hash); (next-home)&mask >= (next-i)&mask {
			t.slots[i] = t.slots[next]
			i = next
		}
	}
	t.slots[i] = slot{}
}
