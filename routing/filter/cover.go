package filter

import (
	"slices"
	"strings"
)

// Wider is the conjunct without its Rest: what an index, and a peer, can know
// of it. It accepts all that c accepts.
func (c Conjunct) Wider() Conjunct {
	c.Rest, c.RestText = nil, ""
	return c
}

// Covers reports whether a surely accepts all that b accepts: a has no Rest, its
// pattern covers b's, and each of its predicates follows from one of b's. That
// it says false does not mean that it is not so.
func Covers(a, b Conjunct) bool {
	if a.Rest != nil || !PatternCovers(a.Type, b.Type) {
		return false
	}
	for _, p := range a.Preds {
		if !slices.ContainsFunc(b.Preds, func(q Pred) bool { return implied(p, q) }) {
			return false
		}
	}
	return true
}

// implied reports whether p holds wherever q does.
func implied(p, q Pred) bool {
	if p.Attr != q.Attr {
		return false
	}
	switch p.Op {
	case Exists:
		return q.Op != Absent
	case Absent:
		return q.Op == Absent
	case In:
		return q.Op == In && !slices.ContainsFunc(q.Values, func(v string) bool { return !p.has(v) })
	case Prefix:
		switch q.Op {
		case Prefix:
			return strings.HasPrefix(q.Values[0], p.Values[0])
		case In:
			return !slices.ContainsFunc(q.Values, func(v string) bool { return !strings.HasPrefix(v, p.Values[0]) })
		}
	case Suffix:
		switch q.Op {
		case Suffix:
			return strings.HasSuffix(q.Values[0], p.Values[0])
		case In:
			return !slices.ContainsFunc(q.Values, func(v string) bool { return !strings.HasSuffix(v, p.Values[0]) })
		}
	}
	return false
}

// has reports whether a value is one of the predicate's.
func (p *Pred) has(v string) bool {
	if len(p.Values) == 1 {
		return p.Values[0] == v
	}
	_, found := slices.BinarySearch(p.Values, v)
	return found
}
