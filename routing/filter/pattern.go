package filter

import (
	"fmt"
	"strings"
)

// Bounds of what a subscriber may send.
const (
	maxPattern = 1024 // bytes of a pattern or an attribute's value
	maxName    = 256  // bytes of an attribute's name
)

// Pattern is the filter on the event's type: tokens split at dots, where "*"
// stands for one token and a last ">" for one or more.
func Pattern(pattern string) (Filter, error) {
	if err := checkPattern(pattern); err != nil {
		return Filter{}, err
	}
	return normalise(&term{op: opPattern, text: pattern}), nil
}

func checkPattern(p string) error {
	if p == "" || len(p) > maxPattern {
		return fmt.Errorf("filter: type pattern %.80q: want 1 to %d bytes", p, maxPattern)
	}
	rest := p
	for at := 0; ; {
		token, tail, more := strings.Cut(rest, ".")
		switch {
		case token == "":
			return fmt.Errorf("filter: type pattern %.80q: empty token at byte %d", p, at)
		case token == ">" && more:
			return fmt.Errorf("filter: type pattern %.80q: '>' at byte %d must be the last token", p, at)
		case len(token) > 1 && strings.ContainsAny(token, "*>"):
			return fmt.Errorf("filter: type pattern %.80q: token %.40q at byte %d: '*' and '>' stand alone between dots", p, token, at)
		}
		if !more {
			return nil
		}
		at += len(token) + 1
		rest = tail
	}
}

// isLiteral reports whether a type can stand in a pattern for itself alone.
func isLiteral(typ string) bool {
	return typ != "" && !strings.ContainsAny(typ, "*>") && checkPattern(typ) == nil
}

// MatchType reports whether a type fits a pattern; the empty pattern fits all.
func MatchType(pattern, typ string) bool {
	if pattern == "" {
		return true
	}
	for {
		p, prest, pmore := strings.Cut(pattern, ".")
		if p == ">" {
			return true
		}
		t, trest, tmore := strings.Cut(typ, ".")
		if p != "*" && p != t || pmore != tmore {
			return false
		}
		if !pmore {
			return true
		}
		pattern, typ = prest, trest
	}
}

// PatternCovers reports whether every type that fits b fits a.
func PatternCovers(a, b string) bool {
	if a == "" || a == ">" {
		return true // every type has at least one token
	}
	if b == "" {
		return false
	}
	for {
		p, prest, pmore := strings.Cut(a, ".")
		q, qrest, qmore := strings.Cut(b, ".")
		switch {
		case p == ">":
			return true
		case q == ">":
			return false
		case p != "*" && p != q:
			return false
		case pmore != qmore:
			return false
		case !pmore:
			return true
		}
		a, b = prest, qrest
	}
}
