package event

import (
	"encoding/base64"
	"strconv"
)

// readValueJSON reads an attribute's value; null is the zero Value.
func readValueJSON(t *tokens) (v Value, problem, reason string) {
	switch c := t.space(); c {
	case '"':
		s, reason := t.str()
		return StringValue(s), "", reason
	case 't':
		return BooleanValue(true), "", t.word("true")
	case 'f':
		return BooleanValue(false), "", t.word("false")
	case 'n':
		return Value{}, "", t.word("null")
	case '{', '[':
		_, reason = t.value(0)
		return Value{}, "must be a string, boolean or integer", reason
	}
	raw, reason := t.value(0)
	if reason != "" {
		return Value{}, "", reason
	}
	for _, c := range raw {
		if c != '-' && c-'0' > 9 {
			return Value{}, "is a number that is no integer", ""
		}
	}
	n, err := strconv.ParseInt(text(raw), 10, 32)
	if err != nil {
		return Value{}, reasonInt32, ""
	}
	return IntegerValue(int32(n)), "", ""
}

// readData reads the member data or data_base64. What data is depends on the
// datacontenttype, which may stand behind it.
func (m *members) readData(t *tokens, is64 bool) (problem, reason string) {
	c := t.space()
	if is64 {
		if c == 'n' {
			return "", t.word("null")
		}
		if c != '"' {
			_, reason = t.value(0)
			return reasonString, reason
		}
		m.has64 = true
		m.str64, reason = t.str()
		return "", reason
	}
	m.hasData = true
	start := t.at
	if c != '"' {
		m.raw, reason = t.value(0)
		return "", reason
	}
	m.isStr = true
	m.str, reason = t.str()
	m.raw = t.body[start:t.at]
	return "", reason
}

// setData gives the builder the data, once all members are read, and says why
// there can be none.
func (m *members) setData(b *Builder) (problem string) {
	media := -1
	for i := range b.attrs {
		if b.attrs[i].name == "datacontenttype" && b.attrs[i].value.kind == String {
			media = i
		}
	}
	switch {
	case m.hasData && m.has64:
		return "and data_base64 exclude each other"
	case m.has64:
		data, err := decodeBase64(m.str64)
		if err != nil {
			return "is no Base64"
		}
		b.SetData(BinaryData, data)
	case m.hasData && media >= 0 && mediaKindOf(b.attrs[media].value.s) != jsonMedia:
		if !m.isStr {
			return "must be a string: the datacontenttype is not JSON"
		}
		b.SetData(BinaryData, []byte(m.str))
	case m.hasData:
		if media < 0 {
			b.attrs = append(b.attrs, attr{name: "datacontenttype", value: StringValue("application/json")})
		}
		b.SetData(BinaryData, m.raw)
	}
	return ""
}

// decodeBase64 reads RFC 4648 section 4, with padding and nothing else: the
// standard library would skip line ends.
func decodeBase64(s string) ([]byte, error) {
	for i := 0; i < len(s); i++ {
		if s[i] == '\r' || s[i] == '\n' {
			return nil, base64.CorruptInputError(i)
		}
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}
