package event

import (
	"unicode/utf16"
	"unicode/utf8"
)

// tokens reads JSON by RFC 8259, strictly: package encoding/json folds the case
// of names, takes duplicates, and silently turns invalid UTF-8 and unpaired
// surrogates into U+FFFD, all of which an event's JSON must not have.
//
// Each method takes the next part of body at the offset at; white space before
// it is skipped. A non-empty reason ends the reading.
type tokens struct {
	body []byte
	at   int
	room []byte // where strings with escapes are decoded
}

// maxDepth bounds nested arrays and objects.
const maxDepth = 512

const (
	reasonCut     = "the JSON ends too early"
	reasonSyntax  = "the JSON has a syntax error"
	reasonDepth   = "the JSON is nested too deeply"
	reasonUTF8    = "the JSON is not valid UTF-8"
	reasonEscape  = "the JSON has a string with a bad escape"
	reasonSurr    = "the JSON has a string with an unpaired surrogate"
	reasonControl = "the JSON has a string with an unescaped control character"
	reasonNumber  = "the JSON has a number that is none"
)

// space skips white space and says what comes next, 0 at the end.
func (t *tokens) space() byte {
	for t.at < len(t.body) {
		switch c := t.body[t.at]; c {
		case ' ', '\t', '\n', '\r':
			t.at++
		default:
			return c
		}
	}
	return 0
}

// take takes one character of punctuation.
func (t *tokens) take(c byte) (reason string) {
	switch t.space() {
	case c:
		t.at++
		return ""
	case 0:
		if t.at == len(t.body) {
			return reasonCut
		}
	}
	return reasonSyntax
}

// str takes a string: decoded, a view into body when it has no escapes.
func (t *tokens) str() (s string, reason string) {
	if reason := t.take('"'); reason != "" {
		return "", reason
	}
	start := t.at
	for t.at < len(t.body) {
		switch c := t.body[t.at]; {
		case c == '"':
			t.at++
			return text(t.body[start : t.at-1]), ""
		case c == '\\':
			return t.escaped(start)
		case c < 0x20:
			return "", reasonControl
		case c < 0x80:
			t.at++
		default:
			r, n := utf8.DecodeRune(t.body[t.at:])
			if r == utf8.RuneError && n == 1 {
				return "", reasonUTF8
			}
			t.at += n
		}
	}
	return "", reasonCut
}

// escaped goes on with a string that began at start and has an escape at at.
func (t *tokens) escaped(start int) (s string, reason string) {
	if t.room == nil {
		t.room = make([]byte, 0, 256)
	}
	from := len(t.room)
	t.room = append(t.room, t.body[start:t.at]...)
	for t.at < len(t.body) {
		switch c := t.body[t.at]; {
		case c == '"':
			t.at++
			return text(t.room[from:]), ""
		case c == '\\':
			r, reason := t.escape()
			if reason != "" {
				return "", reason
			}
			t.room = utf8.AppendRune(t.room, r)
		case c < 0x20:
			return "", reasonControl
		default:
			r, n := utf8.DecodeRune(t.body[t.at:])
			if r == utf8.RuneError && n == 1 {
				return "", reasonUTF8
			}
			t.room = append(t.room, t.body[t.at:t.at+n]...)
			t.at += n
		}
	}
	return "", reasonCut
}

// escape takes one escape, or two that are a pair of surrogates.
func (t *tokens) escape() (r rune, reason string) {
	if t.at+1 >= len(t.body) {
		return 0, reasonCut
	}
	c := t.body[t.at+1]
	t.at += 2
	switch c {
	case '"', '\\', '/':
		return rune(c), ""
	case 'b':
		return '\b', ""
	case 'f':
		return '\f', ""
	case 'n':
		return '\n', ""
	case 'r':
		return '\r', ""
	case 't':
		return '\t', ""
	case 'u':
		r, ok := t.hex4()
		if !ok {
			return 0, reasonEscape
		}
		if !utf16.IsSurrogate(r) {
			return r, ""
		}
		if t.at+1 < len(t.body) && t.body[t.at] == '\\' && t.body[t.at+1] == 'u' {
			t.at += 2
			low, ok := t.hex4()
			if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
				return r, ""
			}
		}
		return 0, reasonSurr
	}
	return 0, reasonEscape
}

func (t *tokens) hex4() (r rune, ok bool) {
	if len(t.body)-t.at < 4 {
		return 0, false
	}
	for _, c := range t.body[t.at : t.at+4] {
		if classes[c]&clHex == 0 {
			return 0, false
		}
		r = r<<4 | rune(unhex(c))
	}
	t.at += 4
	return r, true
}

// number takes a number and returns its text.
func (t *tokens) number() (s string, reason string) {
	t.space()
	start := t.at
	if t.peek() == '-' {
		t.at++
	}
	switch {
	case t.peek() == '0':
		t.at++
	case !t.digits():
		return "", reasonNumber
	}
	if t.peek() == '.' {
		t.at++
		if !t.digits() {
			return "", reasonNumber
		}
	}
	if t.peek()|0x20 == 'e' {
		t.at++
		if c := t.peek(); c == '+' || c == '-' {
			t.at++
		}
		if !t.digits() {
			return "", reasonNumber
		}
	}
	return text(t.body[start:t.at]), ""
}

func (t *tokens) peek() byte {
	if t.at < len(t.body) {
		return t.body[t.at]
	}
	return 0
}

func (t *tokens) digits() bool {
	start := t.at
	for t.peek()-'0' <= 9 {
		t.at++
	}
	return t.at > start
}

// word takes true, false or null.
func (t *tokens) word(w string) (reason string) {
	t.space()
	if rest := t.body[t.at:]; len(rest) < len(w) || text(rest[:len(w)]) != w {
		return reasonSyntax
	}
	t.at += len(w)
	return ""
}

// value takes any value and returns its text, from its first byte to its last.
func (t *tokens) value(depth int) (raw []byte, reason string) {
	c := t.space()
	start := t.at
	switch c {
	case '{', '[':
		reason = t.nested(c, depth+1)
	case '"':
		room := len(t.room)
		_, reason = t.str()
		t.room = t.room[:room] // nobody keeps the string
	case 't':
		reason = t.word("true")
	case 'f':
		reason = t.word("false")
	case 'n':
		reason = t.word("null")
	case 0:
		if reason = reasonSyntax; t.at == len(t.body) {
			reason = reasonCut
		}
	default:
		if c != '-' && c-'0' > 9 {
			return nil, reasonSyntax
		}
		_, reason = t.number()
	}
	return t.body[start:t.at], reason
}

// nested takes the rest of an object or array.
func (t *tokens) nested(open byte, depth int) (reason string) {
	if depth > maxDepth {
		return reasonDepth
	}
	t.at++
	end := open + 2 // the closing bracket of either kind, in ASCII
	if t.space() == end {
		t.at++
		return ""
	}
	for {
		if open == '{' {
			room := len(t.room)
			if _, reason = t.str(); reason != "" {
				return reason
			}
			t.room = t.room[:room]
			if reason = t.take(':'); reason != "" {
				return reason
			}
		}
		if _, reason = t.value(depth); reason != "" {
			return reason
		}
		if t.space() == end {
			t.at++
			return ""
		}
		if reason = t.take(','); reason != "" {
			return reason
		}
	}
}

// end says why the body does not end here.
func (t *tokens) end() (reason string) {
	if t.space(); t.at < len(t.body) {
		return "there is more after the JSON"
	}
	return ""
}

// isJSON says whether b is one JSON value by these rules, and which part of b
// it is without white space around it.
func isJSON(b []byte) (raw []byte, ok bool) {
	t := tokens{body: b}
	raw, reason := t.value(0)
	return raw, reason == "" && t.end() == ""
}
