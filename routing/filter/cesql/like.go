package cesql

import (
	"unicode/utf8"

	"github.com/skeinmesh/skein/transport/event"
)

// Wildcards of a compiled pattern; code points are never negative.
const (
	anyRunes rune = -1 // %
	oneRune  rune = -2 // _
)

// likePattern splits a pattern into code points and wildcards. A backslash
// before % or _ makes it literal, and stands for itself elsewhere.
func likePattern(s string) []rune {
	var p []rune
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\\' && i+1 < len(s) && (s[i+1] == '%' || s[i+1] == '_'):
			p = append(p, rune(s[i+1]))
			size = 2
		case r == '%':
			if len(p) == 0 || p[len(p)-1] != anyRunes {
				p = append(p, anyRunes)
			}
		case r == '_':
			p = append(p, oneRune)
		default:
			p = append(p, r)
		}
		i += size
	}
	return p
}

// prefixOf is the literal that a pattern is, when it is one with a single % at
// its end.
func prefixOf(p []rune) (string, bool) {
	if len(p) < 2 || p[len(p)-1] != anyRunes {
		return "", false
	}
	for _, r := range p[:len(p)-1] {
		if r < 0 {
			return "", false
		}
	}
	return string(p[:len(p)-1]), true
}

func like(arg evaluator, pattern string) evaluator {
	p := likePattern(pattern)
	return func(ev *event.Event) (Value, Class) {
		v, class := arg(ev)
		if class == "" {
			v, class = v.to(String)
		}
		if class != "" {
			return boolean(false), class
		}
		return boolean(matchLike(p, v.s)), ""
	}
}

// matchLike tries the shortest text for each %, going back to the last one
// only: what an earlier % took need not be looked at again, because the pattern
// between two of them matched at its first place. The time is at most the
// product of the lengths, and linear for patterns without % inside.
func matchLike(p []rune, s string) bool {
	at, mark, resume := 0, -1, 0
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case at < len(p) && p[at] == anyRunes:
			mark, resume = at, i
			at++
		case at < len(p) && (p[at] == oneRune || p[at] == r):
			at++
			i += size
		case mark >= 0:
			_, size := utf8.DecodeRuneInString(s[resume:])
			resume += size
			at, i = mark+1, resume
		default:
			return false
		}
	}
	for at < len(p) && p[at] == anyRunes {
		at++
	}
	return at == len(p)
}
