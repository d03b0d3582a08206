package event

import (
	"fmt"
	"net/http"
	"slices"
)

// DefaultMaxEvent is the largest event taken when nothing else is said, in
// bytes of its envelope.
const DefaultMaxEvent = 1 << 20

// Decoder turns events from outside the mesh into canonical envelopes, or says
// why they are none: with an *InvalidError (of a batch also an
// *InvalidBatchError) or an error that wraps ErrTooLarge. Its limits are on the
// decoded event; faces bound the bodies they read themselves. The zero Decoder
// is ready, and safe for any number of goroutines.
//
// The Append methods put one envelope at the end of dst and return the extended
// slice, dst itself when they fail. They keep nothing of their input.
type Decoder struct {
	// MaxEvent is the largest envelope taken, in bytes: attributes and data,
	// whatever their share. Default DefaultMaxEvent.
	MaxEvent int
}

// AppendHTTP is Decoder.AppendHTTP with the default limit, and so on.
func AppendHTTP(dst []byte, h http.Header, body []byte) ([]byte, error) {
	return Decoder{}.AppendHTTP(dst, h, body)
}
func AppendFromJSON(dst, body []byte) ([]byte, error)  { return Decoder{}.AppendFromJSON(dst, body) }
func AppendFromProto(dst, body []byte) ([]byte, error) { return Decoder{}.AppendFromProto(dst, body) }
func DecodeJSONBatch(body []byte) ([]Event, error)     { return Decoder{}.DecodeJSONBatch(body) }
func DecodeProtoBatch(body []byte) ([]Event, error)    { return Decoder{}.DecodeProtoBatch(body) }

// finish checks what was collected, and appends it unless that or bad, what was
// found before, speaks against it.
func (d Decoder) finish(dst []byte, b *Builder, bad *InvalidError) ([]byte, error) {
	if err := b.check(bad); err != nil {
		return dst, err
	}
	most := d.MaxEvent
	if most <= 0 {
		most = DefaultMaxEvent
	}
	size := b.size()
	if size > min(most, MaxEnvelope) {
		return dst, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, size, min(most, MaxEnvelope))
	}
	return b.write(slices.Grow(dst, size)), nil
}

// blockSize is how many bytes of envelopes the events of a batch share at most,
// if they fit: a kept event keeps its block alive.
const blockSize = 16 << 10

// batch collects the events of a batch, all or none.
type batch struct {
	events []Event
	block  []byte
	bad    *InvalidBatchError
}

// add takes the next event's envelope, which decode appends, or the error
// about it. It returns an error only when the batch is to be given up.
func (b *batch) add(index int, decode func(dst []byte) ([]byte, error)) error {
	if cap(b.block)-len(b.block) < 512 {
		b.block = make([]byte, 0, blockSize)
	}
	start := len(b.block)
	out, err := decode(b.block)
	if err != nil {
		return b.refuse(index, err)
	}
	if b.bad != nil {
		return nil // only the errors count now
	}
	var e Event
	if cap(out) == cap(b.block) {
		b.block = out
	}
	if err := e.Scan(out[start:len(out):len(out)]); err != nil {
		return b.refuse(index, err)
	}
	b.events = append(b.events, e)
	return nil
}

func (b *batch) refuse(index int, err error) error {
	x, ok := err.(*InvalidError)
	if !ok {
		return fmt.Errorf("event %d of the batch: %w", index, err)
	}
	if b.bad == nil {
		b.bad = &InvalidBatchError{}
	}
	b.bad.Total++
	if len(b.bad.Events) < maxReported {
		x.Index = index
		b.bad.Events = append(b.bad.Events, x)
	}
	return nil
}

// result is the events, or the error about those that are wrong.
func (b *batch) result() ([]Event, error) {
	if b.bad != nil {
		return nil, b.bad
	}
	return b.events, nil
}
