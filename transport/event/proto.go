package event

import (
	"encoding/binary"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The protobuf format of CloudEvents, as others write and read it.
//
// Outside envelopes may have their fields in any order, unknown ones among them,
// which are dropped. What the mesh keeps is the canonical form.
//
// A time travels inside the mesh as it was given: text from JSON and HTTP, a
// timestamp from protobuf. The protobuf format knows times as timestamps only
// (readers such as the Go SDK silently drop others), so AppendProto writes text
// as a timestamp of the same instant; text that no timestamp can hold (a leap
// second, more than nanoseconds) stays a string.

// AppendFromProto reads an event in protobuf format, one
// io.cloudevents.v1.CloudEvent.
func (d Decoder) AppendFromProto(dst, body []byte) ([]byte, error) {
	var room [16]attr
	b := Builder{attrs: room[:0]}
	bad := readProto(&b, body)
	return d.finish(dst, &b, bad)
}

// DecodeProtoBatch reads an io.cloudevents.v1.CloudEventBatch: all of its events
// are valid, or none is returned.
func (d Decoder) DecodeProtoBatch(body []byte) ([]Event, error) {
	var all batch
	for index := 0; len(body) > 0; {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return nil, invalid(reasonProto)
		}
		m := protowire.ConsumeFieldValue(num, typ, body[n:])
		if m < 0 {
			return nil, invalid(reasonProto)
		}
		field := body[n : n+m]
		body = body[n+m:]
		if num != 1 {
			continue
		}
		one, k := protowire.ConsumeBytes(field)
		if typ != protowire.BytesType || k < 0 {
			return nil, invalid(reasonProto)
		}
		err := all.add(index, func(dst []byte) ([]byte, error) { return d.AppendFromProto(dst, one) })
		if err != nil {
			return nil, err
		}
		index++
	}
	return all.result()
}

// AppendProto writes the event in protobuf format for readers outside the mesh:
// the envelope, with the time as a timestamp.
func (e *Event) AppendProto(dst []byte) []byte {
	at, n, ts, ok := e.textTime()
	if !ok {
		return append(dst, e.raw...)
	}
	dst = append(dst, e.raw[:at]...)
	dst = appendAttr(dst, &attr{name: "time", value: ts})
	return append(dst, e.raw[at+n:]...)
}

// AppendProtoBatch writes events as an io.cloudevents.v1.CloudEventBatch.
func AppendProtoBatch(dst []byte, events []Event) []byte {
	var one []byte
	for i := range events {
		one = events[i].AppendProto(one[:0])
		dst = appendBytes(dst, 1, text(one))
	}
	return dst
}

// textTime finds a time that is text and can be a timestamp: its field in the
// envelope, and that timestamp.
func (e *Event) textTime() (at, n int, ts Value, ok bool) {
	for at = int(e.attrs); at < len(e.raw); at += n {
		var key, val []byte
		n, key, val, ok = e.entry(at)
		if n == 0 {
			break
		}
		if !ok || text(key) != "time" {
			continue
		}
		v, good := decodeValue(val)
		if !good || v.kind != String {
			break
		}
		ts, ok = timestampOf(v.s)
		return at, n, ts, ok
	}
	return 0, 0, Value{}, false
}

// timestampOf is the instant that RFC 3339 text names, if a timestamp can hold
// it whole.
func timestampOf(s string) (Value, bool) {
	if reasonTime(s) != "" {
		return Value{}, false
	}
	for i := 20; i < len(s) && s[i]-'0' <= 9; i++ {
		if s[19] == '.' && i > 28 && s[i] != '0' { // below nanoseconds
			return Value{}, false
		}
	}
	t, err := time.Parse(time.RFC3339Nano, upperTZ(s))
	if err != nil {
		return Value{}, false
	}
	v := TimestampValue(t)
	return v, reasonValue("time", &v) == ""
}

// upperTZ is RFC 3339 text with its T and Z as package time wants them.
func upperTZ(s string) string {
	b := []byte(s)
	b[10] &^= 0x20
	if last := len(b) - 1; b[last] == 'z' {
		b[last] = 'Z'
	}
	return string(b)
}

const reasonProto = "the body is no protobuf message of CloudEvents"

// readProto collects an outside envelope. The builder's parts are views into
// it. Fields may come in any order, each once at most.
func readProto(b *Builder, body []byte) (bad *InvalidError) {
	var seen [fieldProto + 1]bool
	spec := ""
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return bad.add("", reasonProto)
		}
		m := protowire.ConsumeFieldValue(num, typ, body[n:])
		if m < 0 {
			return bad.add("", reasonProto)
		}
		field := body[n : n+m]
		body = body[n+m:]
		if num > fieldProto {
			continue
		}
		val, k := protowire.ConsumeBytes(field)
		if typ != protowire.BytesType || k < 0 {
			return bad.add("", reasonProto)
		}
		slot := int(num)
		if num == fieldText || num == fieldProto {
			slot = fieldBinary
		}
		if num != fieldAttributes {
			if seen[slot] {
				bad = bad.add(protoFieldName(slot), reasonTwice)
				continue
			}
			seen[slot] = true
		}
		switch num {
		case fieldID:
			b.id = text(val)
		case fieldSource:
			b.source = text(val)
		case fieldSpec:
			spec = text(val)
		case fieldType:
			b.typ = text(val)
		case fieldAttributes:
			a, reason := readEntry(val)
			if reason != "" {
				bad = bad.add(a.name, reason)
				continue
			}
			b.attrs = append(b.attrs, a)
		case fieldBinary:
			b.SetData(BinaryData, val)
		case fieldText:
			b.SetData(TextData, val)
		case fieldProto:
			b.SetData(ProtoData, val)
		}
	}
	if r := reasonSpec(spec); r != "" {
		bad = bad.add("specversion", r)
	}
	return bad
}

func protoFieldName(field int) string {
	return [...]string{fieldID: "id", fieldSource: "source", fieldSpec: "specversion", fieldType: "type", fieldBinary: "data"}[field]
}

// reasonSpec is about the specversion.
func reasonSpec(s string) string {
	switch s {
	case SpecVersion:
		return ""
	case "":
		return reasonMissing
	}
	return "must be 1.0"
}

// readEntry reads an entry of the map of attributes.
func readEntry(b []byte) (a attr, reason string) {
	const broken = "is a broken entry of the attributes"
	var key, val []byte
	keys, vals := 0, 0
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return a, broken
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return a, broken
		}
		field := b[n : n+m]
		b = b[n+m:]
		if num > 2 {
			continue
		}
		part, k := protowire.ConsumeBytes(field)
		if typ != protowire.BytesType || k < 0 {
			return a, broken
		}
		if num == 1 {
			key, keys = part, keys+1
		} else {
			val, vals = part, vals+1
		}
	}
	a.name = text(key)
	if keys > 1 || vals > 1 {
		return a, broken
	}
	a.value, reason = readValue(val)
	if a.name == "dataschema" && a.value.kind == String {
		a.value.kind = URI // what the .proto says it is
	}
	return a, reason
}

// readValue reads a CloudEventAttributeValue: exactly one field of its oneof.
func readValue(b []byte) (v Value, reason string) {
	const broken = "has a broken value"
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return v, broken
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return v, broken
		}
		field := b[n : n+m]
		b = b[n+m:]
		if num > valueTimestamp {
			continue
		}
		if v.kind != 0 {
			return v, "has two values"
		}
		switch num {
		case valueBoolean, valueInteger:
			x, k := binary.Uvarint(field)
			if typ != protowire.VarintType || k <= 0 {
				return v, broken
			}
			if num == valueBoolean {
				v = BooleanValue(x != 0)
				continue
			}
			if int64(x) != int64(int32(x)) && x != uint64(uint32(x)) {
				return v, reasonInt32
			}
			v = IntegerValue(int32(x))
		default:
			part, k := protowire.ConsumeBytes(field)
			if typ != protowire.BytesType || k < 0 {
				return v, broken
			}
			switch num {
			case valueString:
				v = StringValue(text(part))
			case valueBytes:
				v = Value{kind: Binary, s: text(part)}
			case valueURI:
				v = URIValue(text(part))
			case valueURIRef:
				v = URIRefValue(text(part))
			case valueTimestamp:
				if v, reason = readTimestamp(part); reason != "" {
					return v, reason
				}
			}
		}
	}
	if v.kind == 0 {
		return v, "has no value of a known type"
	}
	return v, ""
}

const reasonInt32 = "is an integer beyond 32 bits"

// readTimestamp reads a google.protobuf.Timestamp.
func readTimestamp(b []byte) (v Value, reason string) {
	const broken = "has a broken timestamp"
	v.kind = Timestamp
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return v, broken
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return v, broken
		}
		if num <= 2 {
			x, k := binary.Uvarint(b[n:])
			if typ != protowire.VarintType || k <= 0 {
				return v, broken
			}
			if num == 1 {
				v.n = int64(x)
			} else {
				v.ns = int32(min(x, 1<<31-1))
			}
		}
		b = b[n+m:]
	}
	return v, reasonValue("", &v)
}

// readAny reads a google.protobuf.Any.
func readAny(b []byte) (url string, value []byte, ok bool) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return "", nil, false
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return "", nil, false
		}
		if num <= 2 {
			part, k := protowire.ConsumeBytes(b[n:])
			if typ != protowire.BytesType || k < 0 {
				return "", nil, false
			}
			if num == 1 {
				url = text(part)
			} else {
				value = part
			}
		}
		b = b[n+m:]
	}
	return url, value, utf8.ValidString(url)
}
