package match

import "hash/maphash"

// sieve tells most keys that a table does not have from those it has, by one
// bit of memory that stays in the processor's cache, where asking the map of a
// large table would wait for main memory. What it lets through may still not be
// there; what it holds back is not. (A Bloom filter of one hash.)
type sieve struct {
	seed maphash.Seed
	bits []uint64 // a power of two of them; empty lets all through
	keys int      // that were set since it was made, those gone again included
}

// bitsPerKey, at least, lets through one in twelve of the keys not there.
const bitsPerKey = 12

// sieveFrom is how many keys a table has before a sieve pays.
const sieveFrom = 256

// may reports whether the key may be there.
func (s *sieve) may(key string) bool {
	if len(s.bits) == 0 {
		return true
	}
	h := maphash.String(s.seed, key)
	return s.bits[(h>>6)&uint64(len(s.bits)-1)]&(1<<(h&63)) != 0
}

// add lets a key through that is new in the table by.
func add[V any](s *sieve, by map[string]V, key string) {
	s.keys++
	if len(s.bits) == 0 && len(by) < sieveFrom {
		return
	}
	if s.keys*bitsPerKey <= len(s.bits)*64 {
		s.set(key)
		return
	}
	words := 64
	for words*64 < 2*bitsPerKey*len(by) {
		words *= 2
	}
	*s = sieve{seed: maphash.MakeSeed(), bits: make([]uint64, words), keys: len(by)}
	for k := range by {
		s.set(k)
	}
}

func (s *sieve) set(key string) {
	h := maphash.String(s.seed, key)
	s.bits[(h>>6)&uint64(len(s.bits)-1)] |= 1 << (h & 63)
}
