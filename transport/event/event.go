// Package event is the CloudEvent as Skein knows it: attributes, data, and the
// encodings that carry them.
//
// An event is encoded once, where it enters the mesh, as the protobuf message
// io.cloudevents.v1.CloudEvent (the envelope), and travels and is stored as
// those bytes. Nothing on its way decodes it: an Event is the envelope and a
// few offsets into it, and reads an attribute by walking the bytes. The Event
// is immutable, so one copy of the bytes serves every reader.
//
// The envelope that Skein writes is canonical: required attributes first, then
// the others sorted by name, then the data. Envelopes from outside are read in
// any order and written anew (see Decode functions), so two envelopes of the
// same event made by Skein are equal byte for byte.
package event

import (
	"errors"
	"fmt"
	"unsafe"
)

// Event is a CloudEvent: its envelope and views into it. The zero Event is
// empty. Events are small values; copies share the envelope, which nobody may
// change. Any number of goroutines may read one.
type Event struct {
	raw   []byte
	id    span
	src   span
	typ   span
	data  span
	attrs uint32 // where the first optional attribute's field begins; len(raw) when none
	form  DataForm
}

// span is a part of the envelope, by offset and length.
type span struct{ off, len uint32 }

// MaxEnvelope bounds an envelope's size in bytes, attributes included. Faces
// and links refuse more; a node's configured limit is lower (1 MiB by default).
const MaxEnvelope = 64 << 20

// DataForm is how an envelope holds the event's data.
type DataForm uint8

const (
	NoData     DataForm = iota // no data member at all
	BinaryData                 // bytes
	TextData                   // a string: valid UTF-8
	ProtoData                  // a google.protobuf.Any, as its encoded bytes
)

// ErrMalformed is wrapped by every error about an envelope that is no
// CloudEvent protobuf message.
var ErrMalformed = errors.New("event: malformed envelope")

// Field numbers of io.cloudevents.v1.CloudEvent.
const (
	fieldID         = 1
	fieldSource     = 2
	fieldSpec       = 3
	fieldType       = 4
	fieldAttributes = 5
	fieldBinary     = 6
	fieldText       = 7
	fieldProto      = 8
)

// Scan reads an envelope without copying or allocating: the Event keeps raw.
// It checks the structure and that the required attributes are there, not the
// attributes' values; envelopes from outside the mesh go through Decode.
func (e *Event) Scan(raw []byte) error {
	*e = Event{raw: raw}
	if len(raw) > MaxEnvelope {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMalformed, len(raw), MaxEnvelope)
	}
	e.attrs = uint32(len(raw))
	for at := 0; at < len(raw); {
		start := at
		tag, at0, end := field(raw, at)
		if end < 0 || tag&7 != 2 { // every field of the message is length-delimited
			return malformed(start)
		}
		at = end
		s := span{uint32(at0), uint32(end - at0)}
		switch tag >> 3 {
		case fieldAttributes:
			if int(e.attrs) == len(raw) {
				e.attrs = uint32(start)
			}
		case fieldID:
			e.id = s
		case fieldSource:
			e.src = s
		case fieldType:
			e.typ = s
		case fieldBinary:
			e.data, e.form = s, BinaryData
		case fieldText:
			e.data, e.form = s, TextData
		case fieldProto:
			e.data, e.form = s, ProtoData
		}
	}
	if e.id.len == 0 || e.src.len == 0 || e.typ.len == 0 {
		return fmt.Errorf("%w: id, source or type is missing", ErrMalformed)
	}
	return nil
}

// field reads a length-delimited field at an offset that is inside b: its tag,
// and where its content begins and ends. A negative end says that b is broken.
// Of another wire type only the tag is true.
func field(b []byte, at int) (tag uint64, begin, end int) {
	if at+1 < len(b) && b[at] < 0x80 && b[at+1] < 0x80 { // nearly always
		begin = at + 2
		if end = begin + int(b[at+1]); end <= len(b) {
			return uint64(b[at]), begin, end
		}
		return 0, 0, -1
	}
	return longField(b, at)
}

func longField(b []byte, at int) (tag uint64, begin, end int) {
	tag, n := uvarint(b[at:])
	if n <= 0 {
		return 0, 0, -1
	}
	size, m := uvarint(b[at+n:])
	if begin = at + n + m; m <= 0 || size > uint64(len(b)-begin) {
		return 0, 0, -1
	}
	return tag, begin, begin + int(size)
}

func malformed(at int) error { return fmt.Errorf("%w at byte %d", ErrMalformed, at) }

// Bytes is the envelope. Nobody may change it.
func (e *Event) Bytes() []byte { return e.raw }

// CopyTo appends the envelope to dst and returns the event as a view of the
// copy, and dst. Nothing is read again: views are offsets.
func (e *Event) CopyTo(dst []byte) (Event, []byte) {
	n := len(dst)
	dst = append(dst, e.raw...)
	c := *e
	c.raw = dst[n:len(dst):len(dst)]
	return c, dst
}

// Clone is the event in memory of its own.
func (e *Event) Clone() Event {
	c, _ := e.CopyTo(make([]byte, 0, len(e.raw)))
	return c
}

// ID, Source and Type are the required attributes.
func (e *Event) ID() string     { return e.view(e.id) }
func (e *Event) Source() string { return e.view(e.src) }
func (e *Event) Type() string   { return e.view(e.typ) }

// Data is the event's data and how the envelope holds it. Data of a NoData
// event is nil. Nobody may change the bytes.
func (e *Event) Data() ([]byte, DataForm) {
	if e.form == NoData {
		return nil, NoData
	}
	return e.raw[e.data.off : e.data.off+e.data.len : e.data.off+e.data.len], e.form
}

// Key is what order and placement go by: the partitionkey extension, else the
// source.
func (e *Event) Key() string {
	if v, ok := e.Attr("partitionkey"); ok && v.kind == String && v.s != "" {
		return v.s
	}
	return e.Source()
}

// view is a part of the envelope as a string that shares its bytes.
func (e *Event) view(s span) string { return text(e.raw[s.off : s.off+s.len]) }

// text is b as a string without a copy; envelopes never change.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// uvarint is binary.Uvarint for the common short case first.
func uvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	var x uint64
	for i := 0; i < len(b) && i < 10; i++ {
		c := b[i]
		if c < 0x80 {
			if i == 9 && c > 1 {
				return 0, -1
			}
			return x | uint64(c)<<(7*i), i + 1
		}
		x |= uint64(c&0x7f) << (7 * i)
	}
	return 0, -1
}
