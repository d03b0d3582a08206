package routing

import (
	"slices"
	"unicode/utf8"

	"github.com/skeinmesh/skein/routing/filter"
)

// hull is an interest that covers all of a list, which have one type pattern in
// common; it is as narrow as a predicate on each attribute can say. breadth,
// from 0 to 1, guesses how much of what it accepts none of them wants.
func hull(list []*covered) (c filter.Conjunct, breadth float64) {
	first := &list[0].conjunct
	c.Type, breadth = first.Type, 1
	for i, p := range first.Preds {
		if i > 0 && first.Preds[i-1].Attr == p.Attr {
			continue // looked at together
		}
		if q, wide, ok := common(list, p.Attr); ok {
			c.Preds = append(c.Preds, q)
			breadth = min(breadth, wide)
		}
	}
	return c, breadth
}

// common is the narrowest predicate on an attribute found that follows from each
// of a list of interests, and a guess of how much too wide it is.
func common(list []*covered, attr string) (p filter.Pred, wide float64, ok bool) {
	var values []string // that are required, until they are too many
	var prefix string
	begun := false
	begins := func(s string) {
		if begun {
			s = commonPrefix(prefix, s)
		}
		prefix, begun = s, true
	}
	for _, in := range list {
		for _, q := range in.conjunct.Preds {
			switch {
			case q.Attr != attr:
			case q.Op == filter.Prefix:
				begins(q.Values[0])
			case q.Op == filter.In:
				for _, v := range q.Values {
					begins(v)
					if at, has := slices.BinarySearch(values, v); !has && len(values) <= filter.MaxValues {
						values = slices.Insert(values, at, v)
					}
				}
			}
		}
	}
	follows := func() bool {
		c := filter.Conjunct{Preds: []filter.Pred{p}}
		return !slices.ContainsFunc(list, func(in *covered) bool { return !filter.Covers(c, in.conjunct) })
	}
	if len(values) > 0 && len(values) <= filter.MaxValues {
		if p = (filter.Pred{Attr: attr, Op: filter.In, Values: values}); follows() {
			return p, 0.2, true
		}
	}
	if prefix != "" {
		if p = (filter.Pred{Attr: attr, Op: filter.Prefix, Values: []string{prefix}}); follows() {
			return p, 0.6, true
		}
	}
	for _, q := range list[0].conjunct.Preds {
		if p = q; q.Attr == attr && q.Op != filter.In && q.Op != filter.Prefix && follows() {
			return p, 0.8, true
		}
	}
	p = filter.Pred{Attr: attr, Op: filter.Exists}
	return p, 1, follows()
}

// commonPrefix is what two strings begin with alike, in whole characters.
func commonPrefix(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(a) && !utf8.RuneStart(a[n]) {
		n--
	}
	return a[:n]
}
