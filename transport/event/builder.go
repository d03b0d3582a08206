package event

import (
	"encoding/binary"
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
	plain bool // the value is known to be printable ASCII
	known bool // the name is known to be one of the core's or an extension's
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
		b.attrs = append(b.attrs, attr{name: name, value: v})
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
	sortAttrs(b.attrs)
	return b.write(dst)
}

// write is Append when the attributes are sorted.
func (b *Builder) write(dst []byte) []byte {
	dst = appendBytes(dst, fieldID, b.id)
	dst = appendBytes(dst, fieldSource, b.source)
	dst = appendBytes(dst, fieldSpec, SpecVersion)
	dst = appendBytes(dst, fieldType, b.typ)
	for i := range b.attrs {
		dst = appendAttr(dst, &b.attrs[i])
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

// size is how many bytes Append writes.
func (b *Builder) size() int {
	n := fieldSize(len(b.id)) + fieldSize(len(b.source)) + fieldSize(len(SpecVersion)) + fieldSize(len(b.typ))
	for i := range b.attrs {
		n += fieldSize(entrySize(&b.attrs[i]))
	}
	if b.form != NoData {
		n += fieldSize(len(b.data))
	}
	return n
}

// load collects what a scanned event holds. The builder's parts are views into
// its envelope.
func (b *Builder) load(e *Event) error {
	b.id, b.source, b.typ = e.ID(), e.Source(), e.Type()
	b.data, b.form = e.Data()
	for at := int(e.attrs); at < len(e.raw); {
		n, key, val, ok := e.entry(at)
		if n == 0 {
			return malformed(at)
		}
		at += n
		if !ok {
			continue
		}
		v, _ := decodeValue(val)
		b.attrs = append(b.attrs, attr{name: text(key), value: v})
	}
	return nil
}

// Event is the finished event in an envelope of its own.
func (b *Builder) Event() (Event, error) {
	var e Event
	err := e.Scan(b.Append(make([]byte, 0, b.size())))
	return e, err
}

// sortAttrs sorts by name without letting attrs escape. For the few attributes
// of nearly every event it is an insertion sort; a hostile number of them costs
// a Shell sort's n^1.5.
func sortAttrs(attrs []attr) {
	gap := 1
	for gap < len(attrs)/9 {
		gap = 3*gap + 1
	}
	for ; gap > 0; gap /= 3 {
		for i := gap; i < len(attrs); i++ {
			if attrs[i-gap].name <= attrs[i].name {
				continue
			}
			a, j := attrs[i], i
			for ; j >= gap && a.name < attrs[j-gap].name; j -= gap {
				attrs[j] = attrs[j-gap]
			}
			attrs[j] = a
		}
	}
}

func appendBytes(dst []byte, field int, s string) []byte {
	dst = append(dst, byte(field<<3|2))
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// fieldSize is the size of a length-delimited field of n bytes, whose number is
// below 16.
func fieldSize(n int) int { return 1 + uvarintSize(uint64(n)) + n }

// entrySize is the size of an attribute's map entry.
func entrySize(a *attr) int {
	if n := len(a.name) + len(a.value.s); n < 0x80-8 && a.value.kind.isText() {
		return n + 6
	}
	return fieldSize(len(a.name)) + fieldSize(valueSize(&a.value))
}

func appendAttr(dst []byte, a *attr) []byte {
	if n := len(a.name) + len(a.value.s); n < 0x80-8 && a.value.kind.isText() { // nearly always: all lengths are one byte
		size := len(a.value.s) + 2
		dst = append(dst, fieldAttributes<<3|2, byte(n+6), 1<<3|2, byte(len(a.name)))
		dst = append(dst, a.name...)
		dst = append(dst, 2<<3|2, byte(size), byte(valueField(a.value.kind)<<3|2), byte(len(a.value.s)))
		return append(dst, a.value.s...)
	}
	dst = append(dst, fieldAttributes<<3|2)
	dst = binary.AppendUvarint(dst, uint64(entrySize(a)))
	dst = appendBytes(dst, 1, a.name)
	dst = append(dst, 2<<3|2)
	dst = binary.AppendUvarint(dst, uint64(valueSize(&a.value)))
	return appendValue(dst, &a.value)
}

// isText says whether a kind's value is kept as text, or bytes.
func (k Kind) isText() bool { return k == String || k == URI || k == URIRef || k == Binary }

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

func valueSize(v *Value) int {
	switch v.kind {
	case Boolean:
		return 2
	case Integer:
		return 1 + uvarintSize(uint64(v.n))
	case Timestamp:
		n := timestampSize(v)
		return 1 + uvarintSize(uint64(n)) + n
	}
	return fieldSize(len(v.s))
}

func appendValue(dst []byte, v *Value) []byte {
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

func timestampSize(v *Value) int {
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
