package event

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

// Builder collects an event's attributes and data and writes its envelope. Its
// zero value is ready; Reset makes it so again and keeps its memory. It does
// not check what it is given: Check does, on the finished Event.
type Builder struct {
	id, source, typ string
	attrs           []attr
	data            []byte
	form            DataForm
}

type attr struct {
	name  string
	value Value
}

// Reset empties the builder.
func (b *Builder) Reset() {
	clear(b.attrs)
	*b = Builder{attrs: b.attrs[:0]}
}

// Set sets an attribute, required ones included; the last value of a name wins.
func (b *Builder) Set(name string, v Value) *Builder {
	switch name {
	case "id":
		b.id = v.String()
	case "source":
		b.source = v.String()
	case "type":
		b.typ = v.String()
	case "specversion":
	default:
		for i := range b.attrs {
			if b.attrs[i].name == name {
				b.attrs[i].value = v
				return b
			}
		}
		b.attrs = append(b.attrs, attr{name, v})
	}
	return b
}

// SetString is Set with a String.
func (b *Builder) SetString(name, value string) *Builder { return b.Set(name, StringValue(value)) }

// SetTime sets the time attribute, as text with up to nanoseconds.
func (b *Builder) SetTime(t time.Time) *Builder {
	return b.SetString("time", t.Format(time.RFC3339Nano))
}

// SetData sets the data and how the envelope is to hold it. The builder keeps
// data until Append.
func (b *Builder) SetData(form DataForm, data []byte) *Builder {
	b.form, b.data = form, data
	return b
}

// Append writes the envelope at the end of dst.
func (b *Builder) Append(dst []byte) []byte {
	dst = appendBytes(dst, fieldID, b.id)
	dst = appendBytes(dst, fieldSource, b.source)
	dst = appendBytes(dst, fieldSpec, SpecVersion)
	dst = appendBytes(dst, fieldType, b.typ)
	slices.SortFunc(b.attrs, func(x, y attr) int { return strings.Compare(x.name, y.name) })
	for _, a := range b.attrs {
		dst = appendAttr(dst, a.name, a.value)
	}
	switch b.form {
	case BinaryData:
		dst = appendBytes(dst, fieldBinary, text(b.data))
	case TextData:
		dst = appendBytes(dst, fieldText, text(b.data))
	case ProtoData:
		dst = appendBytes(dst, fieldProto, text(b.data))
	}
	return dst
}

// Event is the finished event in an envelope of its own.
func (b *Builder) Event() (Event, error) {
	var e Event
	err := e.Scan(b.Append(nil))
	return e, err
}

func appendBytes(dst []byte, field int, s string) []byte {
	dst = append(dst, byte(field<<3|2))
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendAttr(dst []byte, name string, v Value) []byte {
	size := valueSize(v)
	entry := 1 + uvarintSize(uint64(len(name))) + len(name) + 1 + uvarintSize(uint64(size)) + size
	dst = append(dst, fieldAttributes<<3|2)
	dst = binary.AppendUvarint(dst, uint64(entry))
	dst = appendBytes(dst, 1, name)
	dst = append(dst, 2<<3|2)
	dst = binary.AppendUvarint(dst, uint64(size))
	return appendValue(dst, v)
}

// valueField is where CloudEventAttributeValue keeps a kind of text.
func valueField(k Kind) int {
	switch k {
	case Binary:
		return valueBytes
	case URI:
		return valueURI
	case URIRef:
		return valueURIRef
	}
	return valueString
}

func valueSize(v Value) int {
	switch v.kind {
	case Boolean:
		return 2
	case Integer:
		return 1 + uvarintSize(uint64(v.n))
	case Timestamp:
		n := timestampSize(v)
		return 1 + uvarintSize(uint64(n)) + n
	}
	return 1 + uvarintSize(uint64(len(v.s))) + len(v.s)
}

func appendValue(dst []byte, v Value) []byte {
	switch v.kind {
	case Boolean:
		return append(dst, valueBoolean<<3, byte(v.n))
	case Integer:
		return binary.AppendUvarint(append(dst, valueInteger<<3), uint64(v.n))
	case Timestamp:
		dst = append(dst, valueTimestamp<<3|2)
		dst = binary.AppendUvarint(dst, uint64(timestampSize(v)))
		if v.n != 0 {
			dst = binary.AppendUvarint(append(dst, 1<<3), uint64(v.n))
		}
		if v.ns != 0 {
			dst = binary.AppendUvarint(append(dst, 2<<3), uint64(v.ns))
		}
		return dst
	}
	return appendBytes(dst, valueField(v.kind), v.s)
}

func timestampSize(v Value) int {
	n := 0
	if v.n != 0 {
		n += 1 + uvarintSize(uint64(v.n))
	}
	if v.ns != 0 {
		n += 1 + uvarintSize(uint64(v.ns))
	}
	return n
}

func uvarintSize(x uint64) int {
	n := 1
	for ; x >= 0x80; x >>= 7 {
		n++
	}
	return n
}
