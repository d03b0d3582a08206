package match

import (
	"crypto/sha256"
	"encoding/binary"
	"unsafe"

	"github.com/dchest/siphash"

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
	return siphash.Hash(k.k0^h, k.k1, unsafe.Slice(unsafe.StringData(s), len(s))) // it only reads
}
