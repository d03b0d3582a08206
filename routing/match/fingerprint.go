package match

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/skeinmesh/skein/transport/event"
)

// Key makes fingerprints of attribute values: 32 bits that stand for a value
// and, without the key, neither tell it nor can be made to collide. Two values
// share a fingerprint with a chance of 1 in 2³².
type Key struct {
	ID     uint32 // names the key without telling it
	k0, k1 uint64
}

// NewKey derives a key from a secret of any length.
func NewKey(secret []byte) Key {
	sum := sha256.Sum256(secret)
	return Key{
		ID: binary.LittleEndian.Uint32(sum[16:]),
		k0: binary.LittleEndian.Uint64(sum[:]), k1: binary.LittleEndian.Uint64(sum[8:]),
	}
}

// Fingerprint stands for the values, in their order.
func (k Key) Fingerprint(values ...string) uint32 {
	h := uint64(0)
	for _, v := range values {
		h = k.mix(h, v)
	}
	return uint32(h)
}

// OfEvent is the fingerprint of an event's values of attributes, in the order
// of their names; ok is false when it lacks one.
func (k Key) OfEvent(ev *event.Event, attrs []string) (print uint32, ok bool) {
	h := uint64(0)
	for _, name := range attrs {
		v, there := ev.Attr(name)
		if !there {
			return 0, false
		}
		h = k.mix(h, v.String())
	}
	return uint32(h), true
}

// mix is the hash of one more value after those that h is of: SipHash-2-4
// (Aumasson and Bernstein, 2012) with h as part of its key.
func (k Key) mix(h uint64, s string) uint64 {
	k0 := k.k0 ^ h
	v0, v1 := k0^0x736f6d6570736575, k.k1^0x646f72616e646f6d
	v2, v3 := k0^0x6c7967656e657261, k.k1^0x7465646279746573
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
	return v0 ^ v1 ^ v2 ^ v3
}
