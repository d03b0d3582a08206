package wire

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// How says what the receiver of a record is asked to do with its event.
type How uint8

const (
	// Deliver: you have subscribers; deliver to them, never forward.
	Deliver How = 1
	// Enter: you are the entry node of your region for this event; fan out in
	// your region.
	Enter How = 2
	// Relay: you are my region's sender towards the targets; send Enter to the
	// entry node of each.
	Relay How = 3
)

// DefaultNamespace is the namespace that is written as nothing.
const DefaultNamespace = "default"

// Bounds of a record.
const (
	MaxNamespace = 63   // bytes
	MaxRegion    = 63   // bytes of a target's name
	MaxTargets   = 1024 // regions
)

// Record is an event on its way, and what is to be done with it.
type Record struct {
	How       How
	Namespace string
	Lane      uint8    // which of the 16 slices of the keys the event belongs to
	Targets   []string // regions; only with Relay
	Envelope  []byte   // the event's bytes
}

// AppendRecord appends rec, which must keep the bounds above, to dst.
func AppendRecord(dst []byte, rec *Record) []byte {
	dst = append(dst, byte(rec.How))
	if rec.Namespace == DefaultNamespace {
		dst = append(dst, 0)
	} else {
		dst = appendText(dst, rec.Namespace)
	}
	dst = append(dst, rec.Lane)
	if rec.How == Relay {
		dst = binary.AppendUvarint(dst, uint64(len(rec.Targets)))
		for _, region := range rec.Targets {
			dst = appendText(dst, region)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(rec.Envelope)))
	return append(dst, rec.Envelope...)
}

// RecordSize is an upper bound of the bytes AppendRecord adds for rec.
func RecordSize(rec *Record) int {
	n := 3 + len(rec.Namespace) + binary.MaxVarintLen32 + len(rec.Envelope)
	if rec.How == Relay {
		n += binary.MaxVarintLen32
		for _, region := range rec.Targets {
			n += 1 + len(region)
		}
	}
	return n
}

// ReadRecord reads the record that b begins with and says how many bytes it
// takes. The record's text and envelope are views of b, which must not change
// afterwards; only the list of a Relay's targets is allocated.
func ReadRecord(b []byte) (Record, int, error) {
	var rec Record
	if len(b) == 0 {
		return rec, 0, ErrTruncated
	}
	rec.How = How(b[0])
	if rec.How < Deliver || rec.How > Relay {
		return rec, 0, fmt.Errorf("%w: record of kind %d", ErrMalformed, b[0])
	}
	at := 1
	ns, n, err := readText(b[at:], MaxNamespace)
	if err != nil {
		return rec, 0, err
	}
	at += n
	if rec.Namespace = ns; ns == "" {
		rec.Namespace = DefaultNamespace
	}
	if at == len(b) {
		return rec, 0, ErrTruncated
	}
	rec.Lane = b[at]
	at++
	if rec.How == Relay {
		if rec.Targets, n, err = readTargets(b[at:]); err != nil {
			return rec, 0, err
		}
		at += n
	}
	size, n, err := readLength(b[at:])
	if err != nil {
		return rec, 0, err
	}
	at += n
	if size > uint64(len(b)-at) {
		return rec, 0, ErrTruncated
	}
	end := at + int(size)
	rec.Envelope = b[at:end:end]
	return rec, end, nil
}

func readTargets(b []byte) ([]string, int, error) {
	count, at, err := readLength(b)
	if err != nil {
		return nil, 0, err
	}
	if count > MaxTargets {
		return nil, 0, fmt.Errorf("%w: record with %d targets, at most %d are allowed", ErrMalformed, count, MaxTargets)
	}
	targets := make([]string, 0, min(int(count), len(b)))
	for range count {
		region, n, err := readText(b[at:], MaxRegion)
		if err != nil {
			return nil, 0, err
		}
		at += n
		targets = append(targets, region)
	}
	return targets, at, nil
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

// ReadBatch splits the body of a Batch frame into the number of its records,
// as the sender counted them, and the records.
func ReadBatch(body []byte) (count uint64, records []byte, err error) {
	count, n, err := readLength(body)
	if err != nil {
		return 0, nil, err
	}
	return count, body[n:], nil
}
