package cesql

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// tokenKind is what a token is. Operators and brackets are their own text.
type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenNumber
	tokenText
	tokenSign
)

type token struct {
	kind tokenKind
	pos  int
	text string // of a text: what it stands for
}

// lexer splits an expression into tokens.
type lexer struct {
	src string
	at  int
}

// signs are the operators and brackets, longer ones first.
var signs = [...]string{"!=", "<>", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ","}

func (l *lexer) next() (token, error) {
	for l.at < len(l.src) && strings.IndexByte(" \t\r\n", l.src[l.at]) >= 0 {
		l.at++
	}
	start := l.at
	if start == len(l.src) {
		return token{kind: tokenEnd, pos: start}, nil
	}
	c := l.src[start]
	switch {
	case isLetter(c):
		for l.at < len(l.src) && (isLetter(l.src[l.at]) || isDigit(l.src[l.at]) || l.src[l.at] == '_') {
			l.at++
		}
		return token{tokenWord, start, l.src[start:l.at]}, nil
	case isDigit(c):
		for l.at < len(l.src) && isDigit(l.src[l.at]) {
			l.at++
		}
		if l.at < len(l.src) && (isLetter(l.src[l.at]) || l.src[l.at] == '_') {
			// An attribute's name may begin with a digit.
			for l.at < len(l.src) && (isLetter(l.src[l.at]) || isDigit(l.src[l.at])) {
				l.at++
			}
			return token{tokenWord, start, l.src[start:l.at]}, nil
		}
		return token{tokenNumber, start, l.src[start:l.at]}, nil
	case c == '\'' || c == '"':
		return l.quoted(c)
	}
	for _, s := range signs {
		if strings.HasPrefix(l.src[start:], s) {
			if s == "-" && strings.HasPrefix(l.src[start:], "-- ") {
				break // looks like a comment of other SQLs
			}
			l.at += len(s)
			return token{tokenSign, start, s}, nil
		}
	}
	r, _ := utf8.DecodeRuneInString(l.src[start:])
	return token{}, &SyntaxError{start, fmt.Sprintf("unexpected %q", r)}
}

// quoted reads a text; inside it a backslash before its quote makes the quote
// one of the text, and stands for itself before anything else.
func (l *lexer) quoted(quote byte) (token, error) {
	start := l.at
	var b strings.Builder
	for l.at++; l.at < len(l.src); l.at++ {
		c := l.src[l.at]
		switch {
		case c == '\\' && l.at+1 < len(l.src) && l.src[l.at+1] == quote:
			l.at++
			b.WriteByte(quote)
		case c == quote:
			l.at++
			if !utf8.ValidString(b.String()) {
				return token{}, &SyntaxError{start, "the text is no valid UTF-8"}
			}
			return token{tokenText, start, b.String()}, nil
		default:
			b.WriteByte(c)
		}
	}
	return token{}, &SyntaxError{start, "a quote that never closes"}
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
