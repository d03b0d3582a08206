package event

import (
	"cmp"
	"errors"
)

// The JSON format of CloudEvents.
//
// What JSON does not tell and the event keeps: the type of an extension
// (boolean, integer or string), the text of a JSON value that is the data. What
// the data's JSON text has around it, white space, is not data.

// AppendFromJSON reads an event in JSON format: one object and nothing else.
func (d Decoder) AppendFromJSON(dst, body []byte) ([]byte, error) {
	t := tokens{body: body}
	out, reason, err := d.appendObject(dst, &t)
	if reason == "" && err == nil {
		reason = t.end()
	}
	if reason != "" {
		return dst, syntaxError(&t, reason)
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// DecodeJSONBatch reads a JSON array of events: all of them are valid, or none
// is returned.
func (d Decoder) DecodeJSONBatch(body []byte) ([]Event, error) {
	t := tokens{body: body}
	if t.space() != '[' {
		return nil, invalid("the body is no JSON array")
	}
	t.at++
	var all batch
	if t.space() == ']' {
		t.at++
	} else {
		for index := 0; ; index++ {
			reason := ""
			err := all.add(index, func(dst []byte) (out []byte, err error) {
				out, reason, err = d.appendObject(dst, &t)
				if reason != "" {
					err = errStop
				}
				return out, err
			})
			if reason != "" {
				return nil, syntaxError(&t, reason)
			}
			if err != nil {
				return nil, err
			}
			if t.space() == ']' {
				t.at++
				break
			}
			if reason := t.take(','); reason != "" {
				return nil, syntaxError(&t, reason)
			}
		}
	}
	if reason := t.end(); reason != "" {
		return nil, syntaxError(&t, reason)
	}
	return all.result()
}

// errStop is what a batch's item returns when the batch's text itself is broken.
var errStop = errors.New("event: the text is broken")

func syntaxError(t *tokens, reason string) error {
	return invalid("%s at byte %d of the body", reason, t.at)
}

// appendObject reads the next value as an event. A reason says that the text is
// no JSON; err that it is no event, and the text goes on behind it.
func (d Decoder) appendObject(dst []byte, t *tokens) (out []byte, reason string, err error) {
	if t.space() != '{' {
		if _, reason = t.value(0); reason != "" {
			return dst, reason, nil
		}
		return dst, "", invalid("the event is no JSON object")
	}
	t.at++
	var room [16]attr
	b := Builder{attrs: room[:0]}
	var m members
	var bad *InvalidError
	for more := t.space() != '}'; more; {
		name, reason := t.str()
		if reason == "" {
			reason = t.take(':')
		}
		if reason != "" {
			return dst, reason, nil
		}
		problem, reason := m.read(t, &b, name)
		if reason != "" {
			return dst, reason, nil
		}
		if problem != "" {
			bad = bad.add(name, problem)
		}
		if more = t.space() != '}'; more {
			if reason = t.take(','); reason != "" {
				return dst, reason, nil
			}
		}
	}
	t.at++
	if r := reasonSpec(m.spec); r != "" {
		bad = bad.add("specversion", r)
	}
	b.dropNulls()
	if r := m.setData(&b); r != "" {
		bad = bad.add("data", r)
	}
	out, err = d.finish(dst, &b, bad)
	return out, "", err
}

// members is what an object has had so far beside optional attributes.
type members struct {
	seen           [6]bool // by the index of memberNames
	spec           string
	raw            []byte // the text of data
	str            string // what data says, when it is a string
	isStr          bool
	str64          string // what data_base64 says
	hasData, has64 bool
}

// memberNames are the members with a place of their own.
var memberNames = [6]string{"id", "source", "type", "specversion", "data", "data_base64"}

// read reads a member's value. A problem is about the event, a reason about the
// text.
func (m *members) read(t *tokens, b *Builder, name string) (problem, reason string) {
	for i, known := range memberNames {
		if name != known {
			continue
		}
		if m.seen[i] {
			problem = reasonTwice
		}
		m.seen[i] = true
		if i < 4 {
			v, p, reason := readValueJSON(t)
			if p == "" && v.kind != 0 && v.kind != String {
				p = reasonString
			}
			if p != "" || reason != "" || problem != "" {
				return cmp.Or(problem, p), reason
			}
			*[...]*string{&b.id, &b.source, &b.typ, &m.spec}[i] = v.s
			return "", ""
		}
		p, reason := m.readData(t, i == 5)
		return cmp.Or(problem, p), reason
	}
	v, problem, reason := readValueJSON(t)
	if problem != "" || reason != "" {
		return problem, reason
	}
	if v.kind == 0 {
		problem = reasonName(name)
	}
	if name == "dataschema" && v.kind == String {
		v.kind = URI
	}
	b.attrs = append(b.attrs, attr{name: name, value: v}) // null as well: it counts when the name appears twice
	return problem, ""
}

// dropNulls removes attributes without a value, but for those that appear
// twice.
func (b *Builder) dropNulls() {
	sortAttrs(b.attrs)
	kept := b.attrs[:0]
	last := ""
	for i, a := range b.attrs {
		twice := i > 0 && a.name == last || i+1 < len(b.attrs) && a.name == b.attrs[i+1].name
		if last = a.name; a.value.kind != 0 || twice {
			kept = append(kept, a)
		}
	}
	b.attrs = kept
}
