package event

import (
	"net/http"
	"strings"
)

// The HTTP binding's binary mode: an attribute a header "ce-NAME", the media
// type in Content-Type, the data as the body.

// HasHTTP says whether any ce- header is there: whether a request that is
// neither structured nor a batch means to be an event at all.
func HasHTTP(h http.Header) bool {
	for key := range h {
		if isCE(key) {
			return true
		}
	}
	return false
}

func isCE(key string) bool {
	return len(key) >= 3 && key[2] == '-' && key[0]|0x20 == 'c' && key[1]|0x20 == 'e'
}

// AppendHTTP reads an event in binary mode. Every extension is a string there.
// In the ordinary case, with no value encoded, it allocates nothing but dst's
// growth. A body of no bytes is no data.
func (d Decoder) AppendHTTP(dst []byte, h http.Header, body []byte) ([]byte, error) {
	var room [10]attr
	b := Builder{attrs: room[:0]}
	var bad *InvalidError
	spec := ""
	for key, values := range h {
		if !isCE(key) {
			if len(key) != len("Content-Type") || !strings.EqualFold(key, "Content-Type") || len(values) == 0 {
				continue
			}
			if len(values) > 1 {
				bad = bad.add("datacontenttype", "has two Content-Type headers")
				continue
			}
			b.attrs = append(b.attrs, attr{name: "datacontenttype", value: StringValue(values[0])})
			continue
		}
		name, what := attrName(key[len("ce-"):])
		if len(values) != 1 {
			if len(values) > 1 {
				bad = bad.add(name, reasonTwice)
			}
			continue
		}
		value, plain, reason := headerValue(values[0])
		if reason != "" {
			bad = bad.add(name, reason)
			continue
		}
		into := &b.id
		switch what {
		case roleID:
		case roleSource:
			into = &b.source
		case roleType:
			into = &b.typ
		case roleSpec:
			into = &spec
		case roleMediaType:
			bad = bad.add(name, "must be in Content-Type, not in ce-datacontenttype")
			continue
		case roleDataSchema:
			b.attrs = append(b.attrs, attr{name: name, value: URIValue(value)})
			continue
		default:
			b.attrs = append(b.attrs, attr{name, StringValue(value), plain, what == roleKnown})
			continue
		}
		if *into != "" { // the same name in another case
			bad = bad.add(name, reasonTwice)
		}
		*into = value
	}
	if r := reasonSpec(spec); r != "" {
		bad = bad.add("specversion", r)
	}
	if len(body) > 0 {
		b.SetData(BinaryData, body)
	}
	return d.finish(dst, &b, bad)
}

// role is what a header's attribute is to the event.
type role uint8

const (
	roleExtension role = iota // of a name that nobody has checked
	roleKnown                 // of the core or a documented extension
	roleID
	roleSource
	roleType
	roleSpec
	roleMediaType
	roleDataSchema
)

// attrName is a header's name in lower case, and the attribute's role. For the
// names of the core and of documented extensions, as net/http writes them, it
// allocates nothing.
func attrName(s string) (name string, what role) {
	switch s {
	case "Id":
		return "id", roleID
	case "Source":
		return "source", roleSource
	case "Type":
		return "type", roleType
	case "Specversion":
		return "specversion", roleSpec
	case "Time":
		return "time", roleKnown
	case "Subject":
		return "subject", roleKnown
	case "Dataschema":
		return "dataschema", roleDataSchema
	case "Partitionkey":
		return "partitionkey", roleKnown
	case "Traceparent":
		return "traceparent", roleKnown
	case "Tracestate":
		return "tracestate", roleKnown
	case "Sequence":
		return "sequence", roleKnown
	case "Dataref":
		return "dataref", roleKnown
	case "Correlationid":
		return "correlationid", roleKnown
	case "Causationid":
		return "causationid", roleKnown
	case "Expirytime":
		return "expirytime", roleKnown
	case "Recordedtime":
		return "recordedtime", roleKnown
	}
	b := []byte(s)
	for i, c := range b {
		if c-'A' < 26 {
			b[i] = c | 0x20
		}
	}
	switch name = text(b); name { // written in another case
	case "id":
		return name, roleID
	case "source":
		return name, roleSource
	case "type":
		return name, roleType
	case "specversion":
		return name, roleSpec
	case "datacontenttype":
		return name, roleMediaType
	case "dataschema":
		return name, roleDataSchema
	}
	return name, roleExtension
}

// headerValue decodes a header's value: quoting first, then one round of
// percent-decoding. It returns s itself when there is neither; plain says that
// it is printable ASCII then.
func headerValue(s string) (value string, plain bool, reason string) {
	if plainHeader(s) {
		return s, true, ""
	}
	if strings.IndexByte(s, '"') >= 0 {
		var ok bool
		if s, ok = unquote(s); !ok {
			return "", false, "has a quote that never closes"
		}
	}
	if strings.IndexByte(s, '%') >= 0 {
		s = unescape(s)
	}
	return s, false, reasonText(s)
}

// unquote removes the quoting of RFC 9110 wherever in the value it stands.
func unquote(s string) (string, bool) {
	out := make([]byte, 0, len(s))
	in := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			in = !in
			continue
		case c == '\\' && in:
			if i++; i == len(s) {
				return "", false
			}
			c = s[i]
		}
		out = append(out, c)
	}
	return text(out), !in
}

// unescape decodes percent signs with two hex digits; others stay.
func unescape(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if isEscape(s[i:]) {
			out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return text(out)
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// SetHTTP writes the event's attributes to a header in binary mode and returns
// the body: the data, a view into the envelope. It replaces ce- headers of the
// same names and the Content-Type, which goes when the event has none; a
// caller whose server or client would guess one must see to that itself.
func (e *Event) SetHTTP(h http.Header) (body []byte) {
	h["Ce-Specversion"] = []string{SpecVersion}
	h["Ce-Id"] = []string{escapeHeader(e.ID())}
	h["Ce-Source"] = []string{escapeHeader(e.Source())}
	h["Ce-Type"] = []string{escapeHeader(e.Type())}
	delete(h, "Content-Type")
	body, _ = e.plainData(func(name string, v Value) {
		if name == "datacontenttype" {
			h["Content-Type"] = []string{strings.Clone(v.String())}
			return
		}
		h[headerName(name)] = []string{escapeHeader(v.String())}
	})
	return body
}

// headerName is an attribute's header as net/http writes it.
func headerName(name string) string {
	b := append([]byte("Ce-"), name...)
	if b[3] >= 'a' {
		b[3] -= 'a' - 'A'
	}
	return text(b)
}

// plainData calls each with every optional attribute, and returns the data, as
// they are where a google.protobuf.Any is unknown: its value is the data then.
func (e *Event) plainData(each func(name string, v Value)) ([]byte, DataForm) {
	data, form := e.Data()
	schema, media := false, false
	for name, v := range e.Attrs {
		schema = schema || name == "dataschema"
		media = media || name == "datacontenttype"
		each(name, v)
	}
	if form != ProtoData {
		return data, form
	}
	url, value, _ := readAny(data)
	if !media {
		each("datacontenttype", StringValue("application/protobuf"))
	}
	if !schema && url != "" {
		if scheme, _ := uriReference(url); !scheme {
			url = "https://" + url // what an Any's URL without a scheme stands for
		}
		if reasonURI(url) == "" {
			each("dataschema", URIValue(url))
		}
	}
	return value, form
}

// escapeHeader encodes an attribute's value for a header, in a copy.
func escapeHeader(s string) string {
	n := 0
	for i := 0; i < len(s); i++ {
		if mustEscape(s[i]) {
			n++
		}
	}
	if n == 0 {
		return strings.Clone(s)
	}
	const digits = "0123456789ABCDEF"
	out := make([]byte, 0, len(s)+2*n)
	for i := 0; i < len(s); i++ {
		if c := s[i]; mustEscape(c) {
			out = append(out, '%', digits[c>>4], digits[c&15])
		} else {
			out = append(out, c)
		}
	}
	return text(out)
}

func mustEscape(c byte) bool { return c <= 0x20 || c >= 0x7f || c == '"' || c == '%' }
