package transport

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/skeinmesh/skein/transport/wire"
)

const (
	// farAway is the round trip from which on a link is worth saving bytes on:
	// where it is shorter, compressing takes longer than sending.
	farAway = 2 * time.Millisecond
	// distant is the round trip from which on batches are compressed with what
	// went before in mind: it takes more time and memory, and makes a small batch
	// as much smaller as a large one.
	distant = 20 * time.Millisecond
	// streamWindow is how many bytes that is.
	streamWindow = 32 << 10
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
	buf    []byte
	after  int           // batches that pass before the next attempt
	rest   int           // of them, how many are still to come
	stream *zstd.Encoder // of all batches since the first distant one; nil before it
	out    bytes.Buffer  // where it writes to
}

// pack returns the frame of a batch, compressed if that pays. far is how far the
// peer is.
func (p *packer) pack(frame []byte, far time.Duration) []byte {
	if len(frame) < minPacked {
		return frame
	}
	if p.rest > 0 {
		p.rest--
		return frame
	}
	kind, body := wire.PackedBatch, frame[1+lengthRoom:]
	var packed []byte
	if far >= distant {
		kind, packed = wire.StreamBatch, p.add(body)
	} else {
		packed = p.block(body)
	}
	if float64(len(packed)) > (1-worthwhile)*float64(len(body)) {
		p.after = min(max(2*p.after, 1), longestBreak)
		p.rest = p.after
		if kind == wire.PackedBatch {
			return frame // a stream goes on from what the peer has, so it must have this
		}
	} else {
		p.after = 0
	}
	out := p.buf[:1+lengthRoom+len(packed)]
	out[0] = byte(kind)
	wire.PutLength(out[1:1+lengthRoom], len(packed))
	if cap(p.buf) > 4*batchRoom { // one big event must not be paid for ever
		p.buf = nil
	}
	return out
}

// room makes sure that buf has room for a frame with so many bytes of body.
func (p *packer) room(size int) []byte {
	if need := 1 + lengthRoom + size; cap(p.buf) < need {
		p.buf = make([]byte, need)
	}
	return p.buf[1+lengthRoom : cap(p.buf)]
}

// block compresses a body by itself.
func (p *packer) block(body []byte) []byte {
	return s2.Encode(p.room(s2.MaxEncodedLen(len(body))), body)
}

// add compresses a body as the continuation of those before:
//
//	size of the body (uvarint) | zstd, flushed
func (p *packer) add(body []byte) []byte {
	if p.stream == nil {
		p.stream, _ = zstd.NewWriter(&p.out, // fails only for options that cannot be
			zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(streamWindow), zstd.WithLowerEncoderMem(true))
	}
	p.out.Reset()
	p.out.Write(binary.AppendUvarint(p.out.AvailableBuffer(), uint64(len(body))))
	p.stream.Write(body) //nolint:errcheck // into memory
	p.stream.Flush()     //nolint:errcheck
	return append(p.room(p.out.Len())[:0], p.out.Bytes()...)
}

// close frees what the stream holds.
func (p *packer) close() {
	if p.stream != nil {
		p.stream.Reset(nil)
	}
}

// unpacker takes packed batches apart. Its result is valid until the next call.
// The lane's reader owns it, and closes it.
type unpacker struct {
	buf    []byte
	stream *zstd.Decoder
	in     bytes.Reader // where it reads from
}

// unpack returns the body of a batch of a kind that is no longer than limit bytes.
func (u *unpacker) unpack(kind wire.Kind, body []byte, limit int) ([]byte, error) {
	if kind == wire.StreamBatch {
		return u.next(body, limit)
	}
	size, err := s2.DecodedLen(body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: packed batch: %w", wire.ErrMalformed, err)
	case size > limit:
		return nil, fmt.Errorf("%w: batch of %d bytes, at most %d are allowed", wire.ErrTooLarge, size, limit)
	}
	u.room(size)
	if u.buf, err = s2.Decode(u.buf[:cap(u.buf)], body); err != nil {
		return nil, fmt.Errorf("%w: packed batch: %w", wire.ErrMalformed, err)
	}
	return u.buf, nil
}

// room makes sure that buf has room for so many bytes, and not for ever.
func (u *unpacker) room(size int) {
	if cap(u.buf) < size || cap(u.buf) > 4*batchRoom && size < batchRoom {
		u.buf = make([]byte, max(size, min(batchRoom, 2*size)))
	}
}

// next takes the next body of a stream.
func (u *unpacker) next(body []byte, limit int) ([]byte, error) {
	size, n := binary.Uvarint(body)
	switch {
	case n <= 0:
		return nil, fmt.Errorf("%w: a batch of a stream without its size", wire.ErrMalformed)
	case size > uint64(limit):
		return nil, fmt.Errorf("%w: batch of %d bytes, at most %d are allowed", wire.ErrTooLarge, size, limit)
	}
	u.in.Reset(body[n:])
	if u.stream == nil {
		var err error
		if u.stream, err = zstd.NewReader(&u.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(streamWindow)); err != nil {
			return nil, fmt.Errorf("%w: stream of batches: %w", wire.ErrMalformed, err)
		}
	}
	u.room(int(size))
	u.buf = u.buf[:size]
	if _, err := io.ReadFull(u.stream, u.buf); err != nil {
		return nil, fmt.Errorf("%w: stream of batches: %w", wire.ErrMalformed, err)
	}
	if u.in.Len() > 0 {
		return nil, fmt.Errorf("%w: %d bytes after a batch of a stream", wire.ErrMalformed, u.in.Len())
	}
	return u.buf, nil
}

// close frees what the stream holds.
func (u *unpacker) close() {
	if u.stream != nil {
		u.stream.Close()
	}
}

// far is how far a peer is that bytes are worth saving to, else 0.
func (s *session) far() time.Duration {
	rtt := time.Duration(s.rtt.Load())
	if rtt < farAway || s.peer.Region == s.link.e.cfg.Self.Region {
		return 0
	}
	return rtt
}
