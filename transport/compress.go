package transport

import (
	"fmt"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/skeinmesh/skein/transport/wire"
)

const (
	// farAway is the round trip from which on a link is worth saving bytes on:
	// where it is shorter, compressing takes longer than sending.
	farAway = 2 * time.Millisecond
	// minPacked is the smallest batch that is tried, in bytes.
	minPacked = 256
	// worthwhile is how much smaller a batch must get, as a part of its size.
	worthwhile = 1.0 / 10
	// longestBreak is the most batches that pass uncompressed, after batches that
	// did not shrink, before one is tried again.
	longestBreak = 64
)

// packer compresses the batches of a lane while that pays. What does not shrink
// is tried less and less often, so data that is compressed or encrypted already
// costs next to nothing. The lane's writer owns it.
type packer struct {
	buf   []byte
	after int // batches that pass before the next attempt
	rest  int // of them, how many are still to come
}

// pack returns the frame of a batch, compressed if that pays.
func (p *packer) pack(frame []byte) []byte {
	if len(frame) < minPacked {
		return frame
	}
	if p.rest > 0 {
		p.rest--
		return frame
	}
	body := frame[1+lengthRoom:]
	if need := 1 + lengthRoom + s2.MaxEncodedLen(len(body)); cap(p.buf) < need {
		p.buf = make([]byte, need)
	}
	packed := s2.Encode(p.buf[1+lengthRoom:cap(p.buf)], body)
	if float64(len(packed)) > (1-worthwhile)*float64(len(body)) {
		p.after = min(max(2*p.after, 1), longestBreak)
		p.rest = p.after
		return frame
	}
	p.after = 0
	out := p.buf[:1+lengthRoom+len(packed)]
	out[0] = byte(wire.PackedBatch)
	wire.PutLength(out[1:1+lengthRoom], len(packed))
	if cap(p.buf) > 4*batchRoom { // one big event must not be paid for ever
		p.buf = nil
	}
	return out
}

// unpacker takes packed batches apart. Its result is valid until the next call.
type unpacker struct{ buf []byte }

// unpack returns the body of a batch that is no longer than limit bytes.
func (u *unpacker) unpack(body []byte, limit int) ([]byte, error) {
	size, err := s2.DecodedLen(body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: packed batch: %w", wire.ErrMalformed, err)
	case size > limit:
		return nil, fmt.Errorf("%w: batch of %d bytes, at most %d are allowed", wire.ErrTooLarge, size, limit)
	}
	if cap(u.buf) > 4*batchRoom && size < batchRoom {
		u.buf = nil
	}
	if u.buf, err = s2.Decode(u.buf[:cap(u.buf)], body); err != nil {
		return nil, fmt.Errorf("%w: packed batch: %w", wire.ErrMalformed, err)
	}
	return u.buf, nil
}

// far reports whether bytes to the peer are worth saving.
func (s *session) far() bool {
	return time.Duration(s.rtt.Load()) >= farAway && s.peer.Region != s.link.e.cfg.Self.Region
}
