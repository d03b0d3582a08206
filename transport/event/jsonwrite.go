package event

import (
	"encoding/base64"
	"unicode/utf8"
)

// AppendJSON writes the event in JSON format. Data goes as the JSON value it is
// if the datacontenttype says so and it is one, as a string if it is text, else
// as data_base64. White space in a JSON value is kept, so the object may have
// several lines; AppendJSONLine is for formats of one event a line.
func (e *Event) AppendJSON(dst []byte) []byte { return e.appendJSON(dst, false) }

// AppendJSONLine is AppendJSON with spaces for the line ends inside the data's
// JSON, where they mean nothing: the object has no line end.
func (e *Event) AppendJSONLine(dst []byte) []byte { return e.appendJSON(dst, true) }

func (e *Event) appendJSON(dst []byte, line bool) []byte {
	dst = append(dst, `{"specversion":"`+SpecVersion+`","id":`...)
	dst = appendString(dst, e.ID())
	dst = append(dst, `,"source":`...)
	dst = appendString(dst, e.Source())
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, e.Type())
	media := noMedia
	data, form := e.plainData(func(name string, v Value) {
		if name == "datacontenttype" {
			media = mediaKindOf(v.s)
		}
		dst = append(dst, ',', '"')
		dst = append(dst, name...)
		dst = append(dst, '"', ':')
		if v.kind == Boolean || v.kind == Integer {
			dst = append(dst, v.String()...)
		} else {
			dst = appendString(dst, v.String())
		}
	})
	if form != NoData {
		dst = appendData(dst, data, form, media, line)
	}
	return append(dst, '}')
}

func appendData(dst, data []byte, form DataForm, media mediaKind, line bool) []byte {
	if media == jsonMedia {
		if raw, ok := isJSON(data); ok {
			dst = append(dst, `,"data":`...)
			start := len(dst)
			dst = append(dst, raw...)
			for i := start; line && i < len(dst); i++ {
				if dst[i] == '\n' || dst[i] == '\r' {
					dst[i] = ' '
				}
			}
			return dst
		}
	}
	if (media == textMedia || media == otherMedia && form == TextData) && utf8.Valid(data) {
		return appendString(append(dst, `,"data":`...), text(data))
	}
	dst = append(dst, `,"data_base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, data)
	return append(dst, '"')
}

// appendString writes valid UTF-8 as a JSON string.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(dst, s[start:]...), '"')
}

// AppendJSONBatch writes events as a JSON array.
func AppendJSONBatch(dst []byte, events []Event) []byte {
	dst = append(dst, '[')
	for i := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = events[i].AppendJSON(dst)
	}
	return append(dst, ']')
}
