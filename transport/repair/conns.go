package repair

import "encoding/binary"

const (
	// ConnIDLength is how many bytes the IDs have that both nodes give their QUIC
	// connections: in packets after the handshake they follow the first byte.
	ConnIDLength = 4
	mostConns    = 256  // that are remembered: many times as many as a link has
	firstSize    = 1280 // bytes: what a connection begins with
)

// conns knows the size that each of QUIC's connections to the peer has settled
// on: the most that its packets have, except those that try whether more pass.
type conns map[uint32]conn

type conn struct {
	size  int  // bytes that it has settled on
	sure  bool // it says so itself
	tried int  // bytes of the larger packet that was last taken for a try, when it does not
}

// look is the size that the connection of some packets has settled on, and
// whether they are one packet that tries a larger one. Where the kernel cuts
// QUIC's packets, each but a try comes with the size to cut at. Elsewhere the
// first packet of a size is taken for a try if it is larger than any before it,
// and the second one for what it has settled on.
func (c conns) look(packets []byte, cut int, l *ladder) (settled int, tries bool) {
	size := len(packets)
	if size <= ConnIDLength || packets[0]&0xc0 != 0x40 {
		return max(size, cut), false // of a handshake
	}
	id := binary.BigEndian.Uint32(packets[1:])
	was := c[id]
	is := was
	switch {
	case cut > 0:
		is = conn{size: cut, sure: true}
	case size <= is.size:
	case is.sure:
		return is.size, true
	case is.size > 0 && size > firstSize && is.tried != size && !l.fits(size):
		is.tried, tries = size, true
	default:
		is.size = size
	}
	if is != was {
		if len(c) >= mostConns {
			clear(c)
		}
		c[id] = is
	}
	return is.size, tries
}
