package event

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// The syntaxes of attribute values. Each reason function says in words why a
// text is not of its syntax; "" means it is. They do not allocate.

// class tells what an ASCII character may be part of.
type class uint8

const (
	clPath  class = 1 << iota // pchar and "/", RFC 3986, without "%"
	clHost                    // unreserved and sub-delims, without "%"
	clToken                   // tchar, RFC 9110
	clAlnum                   // ALPHA and DIGIT
	clHex                     // HEXDIG in either case
)

// classes is filled from the character lists of the RFCs.
var classes = func() (t [256]class) {
	mark := func(cl class, chars string) {
		for i := 0; i < len(chars); i++ {
			t[chars[i]] |= cl
		}
	}
	const alnum = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	mark(clAlnum|clToken|clHost|clPath, alnum)
	mark(clHost|clPath, "-._~!$&'()*+,;=")
	mark(clPath, ":@/")
	mark(clToken, "!#$%&'*+-.^_`|~")
	mark(clHex, "0123456789abcdefABCDEF")
	return t
}()

const (
	eachLow  = 0x0101010101010101 // 1 in each byte of a word
	eachHigh = 0x8080808080808080
)

// odd has a bit for bytes outside 0x20-0x7e. A byte may be marked wrongly, but
// only behind one that is marked rightly.
func odd(w uint64) uint64 { return (w | (w - 0x20*eachLow) | (w + eachLow)) & eachHigh }

// zero has a bit for bytes that are 0, with the same reserve.
func zero(w uint64) uint64 { return (w - eachLow) & ^w & eachHigh }

// asciiText says whether s is printable ASCII throughout: what nearly every
// attribute is. It reads eight bytes at a time, the last eight twice.
func asciiText(s string) bool {
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	if len(b) < 8 {
		for _, c := range b {
			if c-0x20 >= 0x5f {
				return false
			}
		}
		return true
	}
	bits := odd(binary.LittleEndian.Uint64(b[len(b)-8:]))
	for ; len(b) >= 8; b = b[8:] {
		bits |= odd(binary.LittleEndian.Uint64(b))
	}
	return bits == 0
}

// plainHeader says whether s is printable ASCII without quotes and percent
// signs: a header's value that stands for itself.
func plainHeader(s string) bool {
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	if len(b) < 8 {
		for _, c := range b {
			if c-0x20 >= 0x5f || c == '"' || c == '%' {
				return false
			}
		}
		return true
	}
	w := binary.LittleEndian.Uint64(b[len(b)-8:])
	bits := odd(w) | zero(w^'"'*eachLow) | zero(w^'%'*eachLow)
	for ; len(b) >= 8; b = b[8:] {
		w = binary.LittleEndian.Uint64(b)
		bits |= odd(w) | zero(w^'"'*eachLow) | zero(w^'%'*eachLow)
	}
	return bits == 0
}

// badRune says whether a CloudEvents string must not hold r: controls and
// noncharacters.
func badRune(r rune) bool {
	return r < 0x20 || r >= 0x7f && r <= 0x9f || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
}

// reasonText is about the String of the CloudEvents type system.
func reasonText(s string) string {
	if asciiText(s) {
		return ""
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return "is not valid UTF-8"
		}
		if badRune(r) {
			if r > 0x9f {
				return "holds a Unicode noncharacter"
			}
			return "holds a control character"
		}
		i += n
	}
	return ""
}

const reasonNoTime = "is no RFC 3339 time"

// reasonTime is about RFC 3339's date-time: a second of 60 is taken.
func reasonTime(s string) string {
	if s == "" {
		return reasonEmpty
	}
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return reasonNoTime
	}
	year, ok := digits(s[0:4])
	month, ok1 := digits(s[5:7])
	day, ok2 := digits(s[8:10])
	hour, ok3 := digits(s[11:13])
	minute, ok4 := digits(s[14:16])
	second, ok5 := digits(s[17:19])
	if !ok || !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return reasonNoTime
	}
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return reasonNoTime + ": there is no such day"
	}
	if hour > 23 || minute > 59 || second > 60 {
		return reasonNoTime + ": there is no such time of day"
	}
	rest := s[19:]
	if rest[0] == '.' {
		n := 1
		for n < len(rest) && rest[n]-'0' <= 9 {
			n++
		}
		if n == 1 {
			return reasonNoTime
		}
		rest = rest[n:]
	}
	if rest == "Z" || rest == "z" {
		return ""
	}
	if len(rest) != len("+00:00") || rest[0] != '+' && rest[0] != '-' || rest[3] != ':' {
		return reasonNoTime + ": it ends in neither Z nor an offset like +01:00"
	}
	hour, ok = digits(rest[1:3])
	minute, ok1 = digits(rest[4:6])
	if !ok || !ok1 || hour > 23 || minute > 59 {
		return reasonNoTime + ": there is no such offset"
	}
	return ""
}

func digits(s string) (n int, ok bool) {
	for i := 0; i < len(s); i++ {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = n*10 + int(d)
	}
	return n, true
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

const reasonNoMediaType = "is no media type like text/plain"

// reasonMediaType is about RFC 9110's media-type.
func reasonMediaType(s string) string {
	if s == "" {
		return reasonEmpty
	}
	if r := reasonText(s); r != "" {
		return r
	}
	rest, ok := token(s)
	if !ok || rest == "" || rest[0] != '/' {
		return reasonNoMediaType
	}
	if rest, ok = token(rest[1:]); !ok {
		return reasonNoMediaType
	}
	for rest != "" {
		rest = trimSpace(rest)
		if rest == "" || rest[0] != ';' {
			return reasonNoMediaType
		}
		rest = trimSpace(rest[1:])
		if rest == "" || rest[0] == ';' { // an empty parameter
			continue
		}
		if rest, ok = token(rest); !ok || rest == "" || rest[0] != '=' {
			return reasonNoMediaType
		}
		rest = rest[1:]
		if rest != "" && rest[0] == '"' {
			rest, ok = quoted(rest)
		} else {
			rest, ok = token(rest)
		}
		if !ok {
			return reasonNoMediaType
		}
	}
	return ""
}

// token takes a token off the front of s.
func token(s string) (rest string, ok bool) {
	n := 0
	for n < len(s) && classes[s[n]]&clToken != 0 {
		n++
	}
	return s[n:], n > 0
}

// quoted takes a quoted-string off the front of s.
func quoted(s string) (rest string, ok bool) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[i+1:], true
		}
	}
	return "", false
}

func trimSpace(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	return s
}

// mediaKind is what the encodings ask of a media type.
type mediaKind uint8

const (
	noMedia mediaKind = iota // no media type at all
	otherMedia
	jsonMedia // */json and */*+json
	textMedia // text/*, XML and forms
)

// mediaKindOf classes a valid media type.
func mediaKindOf(s string) mediaKind {
	if end := strings.IndexAny(s, "; \t"); end >= 0 {
		s = s[:end]
	}
	top, sub, _ := strings.Cut(s, "/")
	switch {
	case strings.EqualFold(sub, "json") || hasSuffixFold(sub, "+json"):
		return jsonMedia
	case strings.EqualFold(top, "text"), strings.EqualFold(sub, "xml"), hasSuffixFold(sub, "+xml"),
		strings.EqualFold(s, "application/javascript"), strings.EqualFold(s, "application/yaml"), strings.EqualFold(s, "application/x-www-form-urlencoded"):
		return textMedia
	}
	return otherMedia
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}
