package fact

import (
	"encoding/binary"
	"math/bits"
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
	v0, v1 := k.k0^0x736f6d6570736575, k.k1^0x646f72616e646f6d
	v2, v3 := k.k0^0x6c7967656e657261, k.k1^0x7465646279746573
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	last := uint64(len(s)) << 56
	for ; len(s) >= 8; s = s[8:] {
		m := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		v3 ^= m
		round()
		round()
		v0 ^= m
	}
	for i := range len(s) {
		last |= uint64(s[i]) << (8 * i)
	}
	v3 ^= last
	round()
	round()
	v0 ^= last
	v2 ^= 0xff
	for range 4 {
		round()
	}
	return sum(v0 ^ v1 ^ v2 ^ v3)
}
