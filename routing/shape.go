package routing

import (
	"strings"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/match"
)

// How many announced interests of one shape are said as fingerprints: from
// when on, and below how many not any more.
const (
	printsFrom  = 8
	printsUntil = 4
)

// maxTuples bounds the fingerprints of one interest.
const maxTuples = 32

// shape is the announced interests of a summary that differ only in the values
// that they require; or, of those that require none or too many, in the values
// of their predicates.
type shape struct {
	key     string
	ns      string
	base    filter.Conjunct // what they have in common; of the others the type only
	attrs   []string        // whose values they require; empty of the others
	members set
	exact   int       // what the members' entries take beyond what they have in common
	prints  *printSet // instead of the members' entries, if not nil
	pressed bool      // into fingerprints although they are few
	blame   *offender // of prints
}

// shapeKey is what an interest's shape is found by, and how it is said there:
// in how many fingerprints at most, zero for not at all.
func shapeKey(ns string, c *filter.Conjunct) (key string, base filter.Conjunct, attrs []string) {
	base.Type = c.Type
	tuples := 1
	for _, p := range c.Preds {
		switch {
		case p.Op != filter.In:
			base.Preds = append(base.Preds, p)
		case len(attrs) > 0 && attrs[len(attrs)-1] == p.Attr:
			tuples = maxTuples + 1 // two on one attribute
		default:
			attrs = append(attrs, p.Attr)
			tuples = min(tuples*len(p.Values), maxTuples+1)
		}
	}
	b := append([]byte{byte(len(ns))}, ns...)
	if len(attrs) > 0 && len(attrs) <= maxAttrs && tuples <= maxTuples {
		b = append(filter.AppendConjunct(b, base), '=')
		return string(append(b, strings.Join(attrs, "=")...)), base, attrs
	}
	base.Preds = nil
	b = append(filter.AppendConjunct(b, base), '~')
	for _, p := range c.Preds {
		b = append(append(b, byte(p.Op)), p.Attr...)
	}
	return string(b), base, nil
}

// tuples calls yield with the fingerprint of each combination of the values
// that an interest of a shape with attributes requires.
func tuples(k match.Key, c *filter.Conjunct, yield func(fp uint32)) {
	values := make([]string, 0, maxAttrs)
	var rest func(preds []filter.Pred)
	rest = func(preds []filter.Pred) {
		for i, p := range preds {
			if p.Op != filter.In {
				continue
			}
			for _, v := range p.Values {
				values = append(values, v)
				rest(preds[i+1:])
				values = values[:len(values)-1]
			}
			return
		}
		yield(k.Fingerprint(values...))
	}
	rest(c.Preds)
}

// bytes estimates what it takes to say the shape.
func (sh *shape) bytes() int {
	switch {
	case sh.prints != nil:
		return sh.prints.bytes()
	case sh.members.len() == 0:
		return 0
	}
	return len(sh.key)/2 + sh.exact
}

// valueBytes estimates what it takes to say one more interest of a shape:
// entries are sent without what they begin with alike.
func valueBytes(c *filter.Conjunct) int {
	n := 4
	for _, p := range c.Preds {
		for _, v := range p.Values {
			n += 1 + len(v)
		}
	}
	return n
}
