package event

import (
	"encoding/base64"
	"strconv"
	"time"
)

// Kind is the CloudEvents type of an attribute's value.
type Kind uint8

const (
	String Kind = iota + 1
	Boolean
	Integer // 32 bits, signed
	Binary
	URI
	URIRef
	Timestamp
)

// Value is an attribute's value. The zero Value stands for an absent attribute.
type Value struct {
	s    string // String, URI, URIRef; Binary's bytes
	n    int64  // Integer; Boolean as 0 or 1; Timestamp's seconds
	ns   int32  // Timestamp's nanoseconds
	kind Kind
}

// StringValue and its siblings make values.
func StringValue(s string) Value { return Value{kind: String, s: s} }
func URIValue(s string) Value    { return Value{kind: URI, s: s} }
func URIRefValue(s string) Value { return Value{kind: URIRef, s: s} }
func BinaryValue(b []byte) Value { return Value{kind: Binary, s: string(b)} }
func IntegerValue(n int32) Value { return Value{kind: Integer, n: int64(n)} }
func BooleanValue(b bool) Value {
	if b {
		return Value{kind: Boolean, n: 1}
	}
	return Value{kind: Boolean}
}
func TimestampValue(t time.Time) Value {
	return Value{kind: Timestamp, n: t.Unix(), ns: int32(t.Nanosecond())}
}

// Kind is the value's type; 0 for the zero Value.
func (v Value) Kind() Kind { return v.kind }

// Int is an Integer's number, Bool a Boolean's, Bytes a Binary's bytes, Time a
// Timestamp's time in UTC; of other kinds they are zero.
func (v Value) Int() int32 {
	if v.kind != Integer {
		return 0
	}
	return int32(v.n)
}
func (v Value) Bool() bool { return v.kind == Boolean && v.n != 0 }
func (v Value) Bytes() []byte {
	if v.kind != Binary {
		return nil
	}
	return []byte(v.s)
}
func (v Value) Time() time.Time {
	if v.kind != Timestamp {
		return time.Time{}
	}
	return time.Unix(v.n, int64(v.ns)).UTC()
}

// String is the value's canonical text by the CloudEvents type system: what
// binary HTTP headers carry and what filters compare. It allocates nothing for
// the kinds that are text already.
func (v Value) String() string {
	switch v.kind {
	case String, URI, URIRef:
		return v.s
	case Boolean:
		if v.n != 0 {
			return "true"
		}
		return "false"
	case Integer:
		return strconv.FormatInt(v.n, 10)
	case Binary:
		return base64.StdEncoding.EncodeToString([]byte(v.s))
	case Timestamp:
		return v.Time().Format(time.RFC3339Nano)
	}
	return ""
}

// Field numbers of CloudEvent.CloudEventAttributeValue.
const (
	valueBoolean   = 1
	valueInteger   = 2
	valueString    = 3
	valueBytes     = 4
	valueURI       = 5
	valueURIRef    = 6
	valueTimestamp = 7
)

// Attr is the value of the attribute of that name, required ones and
// specversion included, and whether the event has it.
func (e *Event) Attr(name string) (Value, bool) {
	switch name {
	case "id":
		return StringValue(e.ID()), e.id.len > 0
	case "source":
		return URIRefValue(e.Source()), e.src.len > 0
	case "type":
		return StringValue(e.Type()), e.typ.len > 0
	case "specversion":
		return StringValue(SpecVersion), len(e.raw) > 0
	}
	for at := int(e.attrs); at < len(e.raw); {
		n, key, val, ok := e.entry(at)
		if n == 0 {
			break
		}
		at += n
		if ok && text(key) == name {
			return decodeValue(val)
		}
	}
	return Value{}, false
}

// SpecVersion is the version of CloudEvents that Skein speaks.
const SpecVersion = "1.0"

// Attrs calls yield with each optional attribute and extension in the order of
// the envelope (sorted by name in Skein's own envelopes), until it says false.
func (e *Event) Attrs(yield func(name string, v Value) bool) {
	for at := int(e.attrs); at < len(e.raw); {
		n, key, val, ok := e.entry(at)
		if n == 0 {
			return
		}
		at += n
		if !ok {
			continue
		}
		if v, good := decodeValue(val); good && !yield(text(key), v) {
			return
		}
	}
}

// entry reads the field at an offset; ok says that it is an attribute. The
// structure was checked by Scan; n is 0 where it is broken all the same.
func (e *Event) entry(at int) (n int, key, val []byte, ok bool) {
	tag, begin, end := field(e.raw, at)
	if end < 0 {
		return 0, nil, nil, false
	}
	if tag != fieldAttributes<<3|2 {
		return end - at, nil, nil, false
	}
	b := e.raw[:end]
	for i := begin; i < end; { // a map entry: the key is field 1, the value field 2
		tag, from, to := field(b, i)
		if to < 0 {
			return 0, nil, nil, false
		}
		switch tag {
		case 1<<3 | 2:
			key = b[from:to]
		case 2<<3 | 2:
			val = b[from:to]
		}
		i = to
	}
	return end - at, key, val, true
}

// decodeValue reads a CloudEventAttributeValue: one field of a oneof.
func decodeValue(b []byte) (Value, bool) {
	tag, n := uvarint(b)
	if n <= 0 {
		return Value{}, false
	}
	x, m := uvarint(b[n:])
	if m <= 0 {
		return Value{}, false
	}
	if tag&7 == 0 {
		switch tag >> 3 {
		case valueBoolean:
			return BooleanValue(x != 0), true
		case valueInteger:
			return IntegerValue(int32(x)), true
		}
		return Value{}, false
	}
	if tag&7 != 2 || x > uint64(len(b)-n-m) {
		return Value{}, false
	}
	s := text(b[n+m : n+m+int(x)])
	switch tag >> 3 {
	case valueString:
		return Value{kind: String, s: s}, true
	case valueBytes:
		return Value{kind: Binary, s: s}, true
	case valueURI:
		return Value{kind: URI, s: s}, true
	case valueURIRef:
		return Value{kind: URIRef, s: s}, true
	case valueTimestamp:
		return decodeTimestamp([]byte(s))
	}
	return Value{}, false
}

// decodeTimestamp reads a google.protobuf.Timestamp.
func decodeTimestamp(b []byte) (Value, bool) {
	v := Value{kind: Timestamp}
	for len(b) > 0 {
		tag, n := uvarint(b)
		if n <= 0 || tag&7 != 0 {
			return Value{}, false
		}
		x, m := uvarint(b[n:])
		if m <= 0 {
			return Value{}, false
		}
		switch tag >> 3 {
		case 1:
			v.n = int64(x)
		case 2:
			v.ns = int32(x)
		}
		b = b[n+m:]
	}
	return v, true
}
