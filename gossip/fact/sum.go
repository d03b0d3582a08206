package fact

import (
	"encoding/binary"
	"unsafe"

	"github.com/dchest/siphash"
)

// sum is the keyed hash of a set: the sum of its entries' hashes, so that an
// entry is added or taken away without looking at the others.
type sum uint64

// hashKey makes hashes that somebody without it cannot force to collide.
type hashKey struct{ k0, k1 uint64 }

// newHashKey uses the first 16 bytes of key, which may be shorter.
func newHashKey(secret []byte) hashKey {
	var key [16]byte
	copy(key[:], secret)
	return hashKey{binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])}
}

// hash is SipHash-2-4 (Aumasson and Bernstein, 2012) of an entry.
func (k hashKey) hash(s string) sum {
	return sum(siphash.Hash(k.k0, k.k1, unsafe.Slice(unsafe.StringData(s), len(s)))) // it only reads
}
