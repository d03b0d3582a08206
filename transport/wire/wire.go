// Package wire is the bytes of a link: frames, and the event records inside a
// lane's batches. It knows no sockets and no clocks.
//
// Every stream, of links and of native clients alike, is a sequence of frames:
//
//	frame:  kind (1) | length (uvarint) | body (length bytes)
//
// A lane's batch is a frame whose body begins with the number of its events,
// for counting only, and goes on with records, each of them a flow's frame:
//
//	batch:   count (uvarint) | record …       all of it one S2 block in a PackedBatch
//	record:  length (uvarint) | how (1) | visited (Enter only) | frame
//	visited: length (2, big endian) | region … region: length (uvarint) | bytes
//	frame:   see package flow
//
// Between its batches a lane says which slices of the keys come to it and which
// leave it, see Shift; on the control connection, who has not dialled a link says
// how many lanes it needs:
//
//	move, moved: slice (1) | the other lane (1) | epoch (uvarint)
//	lanes:       1 to 16 (1)
//
// Lengths are uvarints as encoding/binary writes them; a padded one is read
// too, so that a writer may reserve room for a length it does not know yet.
// Nothing here trusts a length before the bytes it speaks of are there: a
// frame's buffer grows as its bytes arrive.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Kind says what a frame carries. Its values are part of the protocol.
type Kind uint8

// Kinds below FirstControl belong to package transport. Those from FirstControl
// to LastControl are handed to the endpoint's Handler as they come; those above
// belong to the native client protocol.
const (
	Hello   Kind = 0x01 // both ways, first on every connection: who is there
	Ping    Kind = 0x02 // a heartbeat, drawn at session.ping in package transport
	Pong    Kind = 0x03 // native protocol only: returns a Ping's body
	Batch   Kind = 0x04 // a lane's records
	Call    Kind = 0x05 // kind (1) | timeout in ms (uvarint) | request
	Reply   Kind = 0x06 // the answer to a Call
	Failure Kind = 0x07 // why there is no answer, in words
	Layer   Kind = 0x08 // the name of a private layer; its bytes follow, unframed

	PackedBatch Kind = 0x09 // a Batch's body as a block of S2
	StreamBatch Kind = 0x0d // a Batch's body as the next part of a lane's zstd stream
	Move        Kind = 0x0a // on a lane: a slice of the keys leaves it
	Moved       Kind = 0x0b // on a lane: a slice of the keys comes to it
	Lanes       Kind = 0x0c // on a control stream: how many lanes the peer needs

	FirstControl Kind = 0x20
	LastControl  Kind = 0x3f
)

// MaxFrame bounds a frame's body unless the reader says otherwise: an event of
// 1 MiB and room for what is around it.
const MaxFrame = 1<<20 + 64<<10

// MaxHeader is the most that kind and length of a frame take up, in bytes.
const MaxHeader = 1 + binary.MaxVarintLen32

// Errors of readers. They are wrapped with what was found.
var (
	ErrTooLarge  = errors.New("wire: frame is too large")
	ErrTruncated = errors.New("wire: ends in the middle")
	ErrMalformed = errors.New("wire: malformed")
)

// AppendFrame appends a frame to dst.
func AppendFrame(dst []byte, kind Kind, body []byte) []byte {
	dst = append(dst, byte(kind))
	dst = binary.AppendUvarint(dst, uint64(len(body)))
	return append(dst, body...)
}

// PutLength writes v into all of b as a uvarint padded to len(b) bytes, for a
// length whose room was reserved before it was known. v must be below
// 1<<(7*len(b)).
func PutLength(b []byte, v int) {
	for i := range b {
		b[i] = byte(v)&0x7f | 0x80
		v >>= 7
	}
	b[len(b)-1] &= 0x7f
}

// ReadFrame reads one frame and not a byte more, so that what follows on r may
// be something else than frames. The body is the caller's.
// io.EOF means that r ended before the frame began.
func ReadFrame(r io.Reader, limit int) (Kind, []byte, error) {
	var head [1]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	kind := Kind(head[0])
	var size uint64
	for shift := 0; ; shift += 7 {
		if shift > 28 {
			return kind, nil, fmt.Errorf("%w: length of a frame of kind %#x", ErrMalformed, kind)
		}
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return kind, nil, truncated(err)
		}
		size |= uint64(head[0]&0x7f) << shift
		if head[0] < 0x80 {
			break
		}
	}
	if size > uint64(limit) {
		return kind, nil, tooLarge(kind, size, limit)
	}
	body, err := readBody(r, nil, nil, int(size))
	return kind, body, err
}

// Reader reads the frames of a stream through a buffer of its own. One
// goroutine may use it.
type Reader struct {
	Limit int // bytes of a body; 0 means MaxFrame

	src  io.Reader
	most int    // bytes of buf
	buf  []byte // read ahead: buf[at:end]
	at   int
	end  int
	brim bool // the last read filled it
}

// firstBuffer is what a Reader begins with, in bytes: most streams are idle most
// of the time.
const firstBuffer = 4 << 10

// NewReader reads frames from src, which it reads in pieces of up to size bytes.
// Next copies no frame that is smaller than that. The buffer grows to it with
// what comes.
func NewReader(src io.Reader, size int) *Reader {
	size = max(size, 2*MaxHeader)
	return &Reader{src: src, most: size, buf: make([]byte, min(size, firstBuffer))}
}

// Next is the next frame. Its body is valid until the next call. io.EOF means
// that the stream ended between two frames.
func (r *Reader) Next() (Kind, []byte, error) {
	kind, size, err := r.header()
	if err != nil {
		return kind, nil, err
	}
	if size <= r.most { // the common case: a view, no copy
		for r.end-r.at < size {
			if err := r.fill(size); err != nil {
				return kind, r.buf[r.at:r.end], truncated(err)
			}
		}
		body := r.buf[r.at : r.at+size : r.at+size]
		r.at += size
		return kind, body, nil
	}
	body, err := r.read(nil, size) // one big frame must not be paid for ever
	return kind, body, err
}

// NextOwned is Next with a body that is the caller's to keep; it is appended to
// dst, whose memory is used as far as it goes.
func (r *Reader) NextOwned(dst []byte) (Kind, []byte, error) {
	kind, size, err := r.header()
	if err != nil {
		return kind, dst, err
	}
	body, err := r.read(dst, size)
	return kind, body, err
}

// read appends size bytes of the stream to dst, those read ahead first.
func (r *Reader) read(dst []byte, size int) ([]byte, error) {
	ahead := r.buf[r.at:min(r.end, r.at+size)]
	r.at += len(ahead)
	return readBody(r.src, dst, ahead, size)
}

// header reads a frame's kind and length.
func (r *Reader) header() (Kind, int, error) {
	for {
		if r.end > r.at {
			kind := Kind(r.buf[r.at])
			size, n := binary.Uvarint(r.buf[r.at+1 : min(r.end, r.at+MaxHeader)])
			switch limit := r.limit(); {
			case n > 0 && size > uint64(limit):
				return kind, 0, tooLarge(kind, size, limit)
			case n > 0:
				r.at += 1 + n
				return kind, int(size), nil
			case n < 0 || r.end-r.at >= MaxHeader:
				return kind, 0, fmt.Errorf("%w: length of a frame of kind %#x", ErrMalformed, kind)
			}
		}
		if err := r.fill(MaxHeader); err != nil {
			if r.end > r.at {
				err = truncated(err)
			}
			return 0, 0, err
		}
	}
}

// fill reads more of the stream behind what is read ahead, which it moves to
// the front only where size bytes would not fit. The buffer grows when they
// would not fit at all, and when the last read left no room in it.
func (r *Reader) fill(size int) error {
	switch {
	case len(r.buf) < r.most && (size > len(r.buf) || r.brim):
		buf := make([]byte, min(max(2*len(r.buf), 2*size), r.most))
		r.end = copy(buf, r.buf[r.at:r.end])
		r.at, r.buf = 0, buf
	case r.at == r.end:
		r.at, r.end = 0, 0
	case r.at+size > len(r.buf):
		r.end = copy(r.buf, r.buf[r.at:r.end])
		r.at = 0
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	r.brim = r.end == len(r.buf)
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

func (r *Reader) limit() int {
	if r.Limit > 0 {
		return r.Limit
	}
	return MaxFrame
}

// step is the most that is allocated for a body on the word of its length.
const step = 256 << 10

// readBody appends ahead and then, from src, what is missing to size bytes.
func readBody(src io.Reader, dst, ahead []byte, size int) ([]byte, error) {
	dst = append(slices.Grow(dst, min(size, step)), ahead...)
	for len(dst) < size {
		n := len(dst)
		dst = slices.Grow(dst, min(size-n, step))
		dst = dst[:min(size, cap(dst))]
		if m, err := io.ReadFull(src, dst[n:]); err != nil {
			return dst[:n+m], truncated(err)
		}
	}
	return dst, nil
}

// truncated says that a stream ended within a frame. Other errors stay.
func truncated(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTruncated
	}
	return err
}

func tooLarge(kind Kind, size uint64, limit int) error {
	return fmt.Errorf("%w: %d bytes of kind %#x, at most %d are allowed", ErrTooLarge, size, kind, limit)
}
