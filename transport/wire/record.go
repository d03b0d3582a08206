package wire

import (
	"encoding/binary"
	"fmt"
	"iter"
	"unsafe"
)

// How says what the receiver of a record is asked to do with it.
type How uint8

const (
	// Deliver: a flow's frame from the entry node of our region: deliver its
	// events to your subscribers, never forward them.
	Deliver How = 1
	// Enter: a flow's frame on its way to its region. If that is yours, you are
	// its entry node; else send it on, to where it has not been.
	Enter How = 2
	// Told: you have now been told how far the flows have come that I am an
	// entry node of, on one slice of the keys: the body, one byte.
	Told How = 3
)

// DefaultNamespace is the namespace that is written as nothing.
const DefaultNamespace = "default"

// Bounds of names and lists.
const (
	MaxNamespace = 63 // bytes
	MaxRegion    = 63 // bytes of a region's name
	MaxVisited   = 16 // regions that a record may have passed
)

// RecordRoom is what a record takes in a batch besides its own bytes.
const RecordRoom = 4

// Record is what one node asks of another about a flow.
type Record struct {
	How     How
	Visited Visited // of Enter: the regions that it has passed, the origin's first
	Body    []byte  // the frame, which this package does not look at
}

// Visited is an encoded list of regions.
type Visited []byte

// And is the list with one region more; v stays as it is.
func (v Visited) And(region string) Visited {
	return appendText(append(make(Visited, 0, len(v)+1+len(region)), v...), region)
}

// All yields the regions, as views.
func (v Visited) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(v) > 0 {
			region, n, err := readText(v, MaxRegion)
			if err != nil || !yield(region) {
				return
			}
			v = v[n:]
		}
	}
}

// Size is an upper bound of the bytes that AppendTo adds.
func (rec *Record) Size() int { return HeadSize(rec.Visited) + len(rec.Body) }

// AppendTo appends the record, without its length, to dst.
func (rec *Record) AppendTo(dst []byte) []byte {
	return append(AppendHead(dst, rec.How, rec.Visited), rec.Body...)
}

// HeadSize is an upper bound of the bytes that AppendHead adds.
func HeadSize(visited Visited) int { return 3 + len(visited) }

// AppendHead appends all of a record but its body.
func AppendHead(dst []byte, how How, visited Visited) []byte {
	dst = append(dst, byte(how))
	if how == Enter {
		dst = append(dst, byte(len(visited)>>8), byte(len(visited)))
		dst = append(dst, visited...)
	}
	return dst
}

// BeginRecord and EndRecord frame what is appended between them as one record of
// a batch: EndRecord gets dst as BeginRecord did.
func BeginRecord(dst []byte) []byte { return append(dst, make([]byte, RecordRoom)...) }

func EndRecord(all []byte, begin int) {
	PutLength(all[begin:begin+RecordRoom], len(all)-begin-RecordRoom)
}

// ReadRecord reads the record that a batch's records b begin with and says how
// many bytes it takes. What it returns are views of b.
func ReadRecord(b []byte) (Record, int, error) {
	var rec Record
	size, n, err := readLength(b)
	if err != nil {
		return rec, 0, err
	}
	if size > uint64(len(b)-n) {
		return rec, 0, ErrTruncated
	}
	end := n + int(size)
	b = b[n:end:end]
	if len(b) == 0 {
		return rec, 0, fmt.Errorf("%w: an empty record", ErrMalformed)
	}
	rec.How = How(b[0])
	b = b[1:]
	switch rec.How {
	case Deliver:
	case Enter:
		if rec.Visited, b, err = readVisited(b); err != nil {
			return Record{}, 0, err
		}
	case Told:
		if len(b) != 1 {
			return Record{}, 0, fmt.Errorf("%w: a Told with a body of %d bytes, 1 is wanted", ErrMalformed, len(b))
		}
	default:
		return Record{}, 0, fmt.Errorf("%w: record of kind %d", ErrMalformed, rec.How)
	}
	rec.Body = b
	return rec, end, nil
}

func readVisited(b []byte) (v Visited, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, ErrTruncated
	}
	size := int(binary.BigEndian.Uint16(b))
	if size > len(b)-2 {
		return nil, nil, ErrTruncated
	}
	v, rest = Visited(b[2:2+size:2+size]), b[2+size:]
	at, count := 0, 0
	for at < len(v) {
		_, n, err := readText(v[at:], MaxRegion)
		if err != nil {
			return nil, nil, err
		}
		at += n
		if count++; count > MaxVisited {
			return nil, nil, fmt.Errorf("%w: a record that has passed more than %d regions", ErrMalformed, MaxVisited)
		}
	}
	return v, rest, nil
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// readText reads a length and a text of at most limit bytes, as a view of b.
func readText(b []byte, limit uint64) (string, int, error) {
	size, n, err := readLength(b)
	if err != nil {
		return "", 0, err
	}
	if size > limit {
		return "", 0, fmt.Errorf("%w: name of %d bytes, at most %d are allowed", ErrMalformed, size, limit)
	}
	if size > uint64(len(b)-n) {
		return "", 0, ErrTruncated
	}
	text := b[n : n+int(size)]
	return unsafe.String(unsafe.SliceData(text), len(text)), n + int(size), nil
}

// readLength is binary.Uvarint with errors, the common short case first.
func readLength(b []byte) (uint64, int, error) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1, nil
	}
	v, n := binary.Uvarint(b)
	switch {
	case n > 0:
		return v, n, nil
	case n == 0:
		return 0, 0, ErrTruncated
	}
	return 0, 0, fmt.Errorf("%w: a length overflows", ErrMalformed)
}

// ReadBatch splits the body of a Batch frame into the number of its events, as
// the sender counted them, and the records.
func ReadBatch(body []byte) (count uint64, records []byte, err error) {
	count, n, err := readLength(body)
	if err != nil {
		return 0, nil, err
	}
	return count, body[n:], nil
}
