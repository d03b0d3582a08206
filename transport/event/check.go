package event

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrTooLarge is wrapped by the error about an event that is larger than the
// limit it was decoded with.
var ErrTooLarge = errors.New("event: too large")

// Problem is one reason why an event is refused.
type Problem struct {
	Attr   string // the attribute, "data", or "" for the event or body as a whole
	Reason string // in words that follow the attribute's name: "is empty"
}

// InvalidError says what is wrong with an event. Its texts never hold more than
// 120 characters of input.
type InvalidError struct {
	Index    int // the event's place in its batch, from 0; -1 when there is no batch
	Problems []Problem
}

// Error is all problems in one line.
func (e *InvalidError) Error() string {
	var b strings.Builder
	b.WriteString("event: invalid")
	if e.Index >= 0 {
		fmt.Fprintf(&b, ": event %d of the batch", e.Index)
	}
	for i, p := range e.Problems {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		if p.Attr != "" {
			b.WriteString(p.Attr)
			b.WriteByte(' ')
		}
		b.WriteString(p.Reason)
	}
	return b.String()
}

// InvalidBatchError says which events of a batch are wrong. errors.As finds the
// first of them as an InvalidError.
type InvalidBatchError struct {
	Events []*InvalidError // in the order of the batch, at most maxReported
	Total  int             // how many are wrong
}

// maxReported bounds what one answer says about one event or one batch.
const maxReported = 100

// Error names the first wrong event and how many more there are.
func (e *InvalidBatchError) Error() string {
	if e.Total == 1 {
		return e.Events[0].Error()
	}
	return fmt.Sprintf("%v (and %d more events)", e.Events[0], e.Total-1)
}

// Unwrap gives the errors of the events.
func (e *InvalidBatchError) Unwrap() []error {
	errs := make([]error, len(e.Events))
	for i, x := range e.Events {
		errs[i] = x
	}
	return errs
}

// add notes another problem. The error may be nil before the first.
func (e *InvalidError) add(attr, reason string) *InvalidError {
	if e == nil {
		e = &InvalidError{Index: -1}
	}
	for _, p := range e.Problems {
		if p.Attr == attr && attr != "" {
			return e // one problem an attribute says enough
		}
	}
	if len(e.Problems) < maxReported {
		e.Problems = append(e.Problems, Problem{Attr: excerpt(attr), Reason: reason})
	}
	return e
}

// err is e as an error, without the trap of a typed nil.
func (e *InvalidError) err() error {
	if e == nil {
		return nil
	}
	return e
}

// invalid is an error about an event or body as a whole.
func invalid(format string, args ...any) *InvalidError {
	return (*InvalidError)(nil).add("", fmt.Sprintf(format, args...))
}

// excerpt is input as it may be repeated in an answer: short, printable, valid.
func excerpt(s string) string {
	const most = 40
	plain := len(s) <= most
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= 0x21 && s[i] < 0x7f
	}
	if plain {
		return strings.Clone(s)
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			b.WriteString("…")
			break
		}
		if r == utf8.RuneError || badRune(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// check finds what is wrong with the collected event, beside what was found
// while it was read. It sorts the attributes.
func (b *Builder) check(bad *InvalidError) error {
	if r := reasonRequired(b.id); r != "" {
		bad = bad.add("id", r)
	}
	if b.source == "" {
		bad = bad.add("source", reasonMissing)
	} else if _, r := uriReference(b.source); r != "" {
		bad = bad.add("source", r)
	}
	if r := reasonRequired(b.typ); r != "" {
		bad = bad.add("type", r)
	}
	sortAttrs(b.attrs)
	for i := range b.attrs {
		a := &b.attrs[i]
		if r := a.reasonName(); r != "" {
			bad = bad.add(a.name, r)
		} else if i > 0 && b.attrs[i-1].name == a.name {
			bad = bad.add(a.name, reasonTwice)
		} else if r := a.reasonValue(); r != "" {
			bad = bad.add(a.name, r)
		}
	}
	if r := reasonData(b.form, b.data); r != "" {
		bad = bad.add("data", r)
	}
	return bad.err()
}

const (
	reasonMissing = "is missing or empty"
	reasonEmpty   = "is empty"
	reasonTwice   = "appears twice"
	reasonString  = "must be a string"
)

// reasonData is why data does not suit its form, or "".
func reasonData(form DataForm, data []byte) string {
	switch form {
	case TextData:
		if !utf8.Valid(data) {
			return "is text that is not UTF-8"
		}
	case ProtoData:
		if _, _, ok := readAny(data); !ok {
			return "is no google.protobuf.Any"
		}
	}
	return ""
}

func reasonRequired(s string) string {
	if s == "" {
		return reasonMissing
	}
	return reasonText(s)
}

func (a *attr) reasonName() string {
	if a.known {
		return ""
	}
	return reasonName(a.name)
}

func (a *attr) reasonValue() string {
	if a.plain && !hasSyntax(a.name) {
		return ""
	}
	return reasonValue(a.name, &a.value)
}

// hasSyntax says whether an attribute's value must be more than a string.
func hasSyntax(name string) bool {
	switch name {
	case "subject", "time", "dataschema", "datacontenttype":
		return true
	}
	return false
}

// reasonName is why a name is none for an optional attribute, or "".
func reasonName(name string) string {
	if name == "" {
		return "is an attribute with an empty name"
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return "is no attribute name: only a-z and 0-9 are allowed"
		}
	}
	switch name {
	case "data":
		return "is no attribute name: the data is no attribute"
	case "id", "source", "type", "specversion":
		return reasonTwice
	}
	return ""
}

// reasonValue is why a value does not suit an optional attribute, or "".
func reasonValue(name string, v *Value) string {
	switch name {
	case "subject":
		if v.kind != String {
			return reasonString
		}
		if v.s == "" {
			return reasonEmpty
		}
	case "datacontenttype":
		if v.kind != String {
			return reasonString
		}
		return reasonMediaType(v.s)
	case "dataschema":
		if v.kind != URI {
			return "must be a URI"
		}
		return reasonURI(v.s)
	case "time":
		if v.kind == String {
			return reasonTime(v.s)
		}
		if v.kind != Timestamp {
			return "must be a timestamp"
		}
	}
	switch v.kind {
	case String:
		return reasonText(v.s)
	case URI:
		return reasonURI(v.s)
	case URIRef:
		_, r := uriReference(v.s)
		return r
	case Timestamp:
		if v.n < minSeconds || v.n > maxSeconds || v.ns < 0 || v.ns > 999_999_999 {
			return "is a timestamp outside the years 1 to 9999"
		}
	case 0:
		return "has no value"
	}
	return ""
}

// The seconds of 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const (
	minSeconds = -62135596800
	maxSeconds = 253402300799
)
