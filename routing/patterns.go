package routing

import (
	"iter"
	"strings"
)

// patterns holds the groups of a namespace by type pattern, so that those whose
// patterns cover one, or are covered by it, are found without looking at the
// others.
type patterns struct {
	any  *group // of the empty pattern, which is every type
	root patternNode
}

// patternNode is a place in the trie of the patterns' tokens.
type patternNode struct {
	exact map[string]*patternNode // by token
	star  *patternNode
	here  *group // of the pattern that ends here
	rest  *group // of the pattern that ends in ">" here
}

func (n *patternNode) empty() bool {
	return len(n.exact) == 0 && n.star == nil && n.here == nil && n.rest == nil
}

// at is where a pattern's group is kept; nil when there is no such place and
// none is to be made.
func (p *patterns) at(pattern string, create bool) **group {
	if pattern == "" {
		return &p.any
	}
	n := &p.root
	for more := true; more; {
		var token string
		token, pattern, more = strings.Cut(pattern, ".")
		if token == ">" {
			return &n.rest
		}
		next := n.star
		if token != "*" {
			next = n.exact[token]
		}
		if next == nil {
			if !create {
				return nil
			}
			next = new(patternNode)
			switch {
			case token == "*":
				n.star = next
			default:
				if n.exact == nil {
					n.exact = map[string]*patternNode{}
				}
				n.exact[token] = next
			}
		}
		n = next
	}
	return &n.here
}

// remove forgets a pattern's group.
func (p *patterns) remove(pattern string) {
	if at := p.at(pattern, false); at != nil {
		*at = nil
		p.root.prune(pattern)
	}
}

// prune drops what leads to nothing any more on the way to a pattern.
func (n *patternNode) prune(pattern string) {
	token, tail, more := strings.Cut(pattern, ".")
	next := n.star
	if token != "*" {
		next = n.exact[token]
	}
	if next == nil {
		return
	}
	if more {
		next.prune(tail)
	}
	if !next.empty() {
		return
	}
	if token == "*" {
		n.star = nil
	} else {
		delete(n.exact, token)
	}
}

// covering yields the groups whose patterns cover a pattern.
func (p *patterns) covering(pattern string) iter.Seq[*group] {
	return func(yield func(*group) bool) {
		if p.any != nil && !yield(p.any) {
			return
		}
		if pattern == "" {
			pattern = ">" // covers the empty one, too, and nothing else does
		}
		p.root.covering(pattern, yield)
	}
}

func (n *patternNode) covering(pattern string, yield func(*group) bool) bool {
	if n.rest != nil && !yield(n.rest) {
		return false
	}
	token, tail, more := strings.Cut(pattern, ".")
	if token == ">" {
		return true
	}
	for _, next := range []*patternNode{n.exact[token], n.star} {
		switch {
		case next == nil:
		case more:
			if !next.covering(tail, yield) {
				return false
			}
		case next.here != nil:
			if !yield(next.here) {
				return false
			}
		}
	}
	return true
}

// covered yields the groups whose patterns a pattern covers.
func (p *patterns) covered(pattern string) iter.Seq[*group] {
	return func(yield func(*group) bool) {
		if pattern == "" || pattern == ">" {
			if p.any == nil || yield(p.any) {
				p.root.below(yield)
			}
			return
		}
		p.root.covered(pattern, yield)
	}
}

func (n *patternNode) covered(pattern string, yield func(*group) bool) bool {
	token, tail, more := strings.Cut(pattern, ".")
	if token == ">" {
		return n.below(yield)
	}
	into := func(next *patternNode) bool {
		switch {
		case next == nil:
		case more:
			return next.covered(tail, yield)
		case next.here != nil:
			return yield(next.here)
		}
		return true
	}
	if token != "*" {
		return into(n.exact[token])
	}
	for _, next := range n.exact {
		if !into(next) {
			return false
		}
	}
	return into(n.star)
}

// below yields the groups of all patterns with one more token or several.
func (n *patternNode) below(yield func(*group) bool) bool {
	if n.rest != nil && !yield(n.rest) {
		return false
	}
	into := func(next *patternNode) bool {
		return next == nil || (next.here == nil || yield(next.here)) && next.below(yield)
	}
	for _, next := range n.exact {
		if !into(next) {
			return false
		}
	}
	return into(n.star)
}
