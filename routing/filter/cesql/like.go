package cesql

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/skeinmesh/skein/transport/event"
)

// maxWild bounds, in code points, a part of a LIKE pattern between two % that
// holds a _: such a part is searched for at every place, the others in linear
// time.
const maxWild = 64

// oneRune stands for _ in a part; code points are never negative.
const oneRune rune = -1

// pattern is a LIKE pattern, split at its %.
type pattern struct {
	parts []part // one more than there are %
}

// part is what stands between two %.
type part struct {
	text  string // when it has no _
	runes []rune // when it has
}

// parsePattern splits a pattern. A backslash before % or _ makes it literal,
// and stands for itself elsewhere.
func parsePattern(s string) (pattern, error) {
	var p pattern
	var runes []rune
	wild := false
	end := func() {
		if wild {
			p.parts = append(p.parts, part{runes: runes})
		} else {
			p.parts = append(p.parts, part{text: string(runes)})
		}
		runes, wild = nil, false
	}
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\\' && i+1 < len(s) && (s[i+1] == '%' || s[i+1] == '_'):
			runes = append(runes, rune(s[i+1]))
			size = 2
		case r == '%':
			end()
		case r == '_':
			runes, wild = append(runes, oneRune), true
		default:
			runes = append(runes, r)
		}
		i += size
	}
	end()
	for i, q := range p.parts {
		if i > 0 && i < len(p.parts)-1 && len(q.runes) > maxWild {
			return p, fmt.Errorf("a part with _ between two %% may have %d characters at most", maxWild)
		}
	}
	return p, nil
}

// prefix is the text that the pattern asks for at the beginning, when that is
// all it asks for.
func (p pattern) prefix() (string, bool) {
	ok := len(p.parts) == 2 && p.parts[0].text != "" && p.parts[1].text == "" && p.parts[1].runes == nil
	return p.parts[0].text, ok
}

// match takes the first part at the beginning, the last at the end, and each of
// the others at the first place where it fits: a later place would leave less
// for those that follow.
func (p pattern) match(s string) bool {
	last := len(p.parts) - 1
	n, ok := p.parts[0].at(s)
	if !ok {
		return false
	}
	if last == 0 {
		return n == len(s)
	}
	s = s[n:]
	for _, q := range p.parts[1:last] {
		end := q.find(s)
		if end < 0 {
			return false
		}
		s = s[end:]
	}
	return p.parts[last].ends(s)
}

// at reports whether the part fits at the beginning, and how far it reaches.
func (q part) at(s string) (int, bool) {
	if q.runes == nil {
		return len(q.text), strings.HasPrefix(s, q.text)
	}
	n := 0
	for _, want := range q.runes {
		if n == len(s) {
			return 0, false
		}
		r, size := utf8.DecodeRuneInString(s[n:])
		if want != oneRune && want != r {
			return 0, false
		}
		n += size
	}
	return n, true
}

// find is the end of the first place where the part fits, or -1.
func (q part) find(s string) int {
	if q.runes == nil {
		if i := strings.Index(s, q.text); i >= 0 {
			return i + len(q.text)
		}
		return -1
	}
	for i := 0; i < len(s); {
		if n, ok := q.at(s[i:]); ok {
			return i + n
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		i += size
	}
	return -1
}

// ends reports whether the part fits at the end.
func (q part) ends(s string) bool {
	if q.runes == nil {
		return strings.HasSuffix(s, q.text)
	}
	n := len(s)
	for i := len(q.runes) - 1; i >= 0; i-- {
		if n == 0 {
			return false
		}
		r, size := utf8.DecodeLastRuneInString(s[:n])
		if q.runes[i] != oneRune && q.runes[i] != r {
			return false
		}
		n -= size
	}
	return true
}

func like(arg evaluator, text string) evaluator {
	p, err := parsePattern(text)
	if err != nil {
		p = pattern{parts: []part{{text: text}}} // the parser has refused it
	}
	return func(ev *event.Event) (Value, Class) {
		v, class := arg(ev)
		if class == "" {
			v, class = v.to(String)
		}
		if class != "" {
			return boolean(false), class
		}
		return boolean(p.match(v.s)), ""
	}
}
