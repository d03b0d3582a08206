// Package filter turns what a subscriber asks for into one normal form: an OR
// of at most MaxConjuncts conjuncts, each a pattern on the event's type, a few
// attribute predicates that an index can use, and a compiled rest.
//
// Accepted are the dialects of the CloudEvents Subscriptions API (exact,
// prefix, suffix, all, any, not, sql), the dotted patterns of Skein on the
// type, and CESQL 1.0 expressions, which are lexed, parsed and compiled to
// closures here.
//
// Soundness, on which summaries rest: taking a predicate or the rest away from
// a conjunct, or adding a conjunct, only ever widens what a filter accepts.
package filter

import (
	"slices"
	"strings"

	"github.com/skeinmesh/skein/transport/event"
)

// MaxConjuncts bounds a normal form. A filter that would need more keeps what
// is too much in the Rest of a single wider conjunct.
const MaxConjuncts = 8

// MaxValues bounds the values of one predicate.
const MaxValues = 32

// Filter is a filter in normal form. The zero Filter accepts nothing; Everything
// accepts all. Filters are immutable and safe for concurrent use.
type Filter struct {
	Conjuncts []Conjunct
}

// Conjunct accepts an event if its type fits, every predicate holds and the
// rest, when there is one, is true.
type Conjunct struct {
	// Type is a pattern on the type: tokens split at dots, where "*" stands for
	// one token and a last ">" for one or more. Empty means any type.
	Type string
	// Preds are sorted by attribute, operator and values: equal conjuncts are
	// equal slices.
	Preds []Pred
	// Rest is what could not be indexed, nil when nothing is left. It must not
	// keep the event.
	Rest func(*event.Event) bool
	// RestText is the canonical text of Rest; with Type and Preds it is the
	// conjunct's identity.
	RestText string
}

// Op is what a predicate compares.
type Op uint8

const (
	In     Op = iota + 1 // the attribute's canonical string is one of Values (sorted, 1 to MaxValues)
	Prefix               // it begins with Values[0]
	Suffix               // it ends with Values[0]
	Exists               // the attribute is there; no Values
	Absent               // it is not there; no Values
)

// Pred is a predicate on one attribute, "type" included.
type Pred struct {
	Attr   string
	Op     Op
	Values []string
}

// Everything accepts every event.
func Everything() Filter { return Filter{Conjuncts: []Conjunct{{}}} }

// normalise brings a tree into normal form; it means the same.
func normalise(t *term) Filter {
	var f Filter
	for _, leaves := range disjuncts(positive(t, false)) {
		c, possible := conjunct(leaves)
		if !possible || slices.ContainsFunc(f.Conjuncts, func(o Conjunct) bool { return Covers(o, c) }) {
			continue
		}
		f.Conjuncts = slices.DeleteFunc(f.Conjuncts, func(o Conjunct) bool { return Covers(c, o) })
		f.Conjuncts = append(f.Conjuncts, c)
	}
	slices.SortFunc(f.Conjuncts, func(a, b Conjunct) int {
		if c := strings.Compare(string(AppendConjunct(nil, a)), string(AppendConjunct(nil, b))); c != 0 {
			return c
		}
		return strings.Compare(a.RestText, b.RestText)
	})
	f.Conjuncts = slices.CompactFunc(f.Conjuncts, func(a, b Conjunct) bool {
		return a.RestText == b.RestText && string(AppendConjunct(nil, a)) == string(AppendConjunct(nil, b))
	})
	return f
}

// positive pushes negations down to the leaves, where they become opaque
// unless their opposite can be indexed.
func positive(t *term, negate bool) *term {
	switch t.op {
	case opNot:
		return positive(t.args[0], !negate)
	case opAll, opAny:
		out := &term{op: t.op}
		if negate {
			out.op = opAll + opAny - t.op
		}
		for _, a := range t.args {
			out.args = append(out.args, positive(a, negate))
		}
		return out
	}
	if !negate {
		return t
	}
	if t.op == opPred && (t.pred.Op == Exists || t.pred.Op == Absent) {
		return &term{op: opPred, pred: Pred{Attr: t.pred.Attr, Op: Exists + Absent - t.pred.Op}}
	}
	return opaque(&term{op: opNot, args: []*term{t}})
}

// opaque hides a term's inside from the index.
func opaque(t *term) *term {
	if t.op == opOpaque {
		return t
	}
	return &term{op: opOpaque, text: t.String(), match: t.eval}
}

// disjuncts multiplies a tree without negations out to an OR of ANDs of leaves,
// at most MaxConjuncts; what would be more stays together as an opaque leaf.
func disjuncts(t *term) [][]*term {
	switch t.op {
	case opAny:
		var out [][]*term
		for _, a := range t.args {
			out = append(out, disjuncts(a)...)
			if len(out) > MaxConjuncts {
				return [][]*term{{opaque(t)}}
			}
		}
		return out
	case opAll:
		out := [][]*term{nil}
		for _, a := range t.args {
			d := disjuncts(a)
			if len(out)*len(d) > MaxConjuncts {
				d = [][]*term{{opaque(a)}}
			}
			next := make([][]*term, 0, len(out)*len(d))
			for _, x := range out {
				for _, y := range d {
					next = append(next, slices.Concat(x, y))
				}
			}
			out = next
		}
		return out
	}
	return [][]*term{{t}}
}

// conjunct puts leaves together; possible is false where they contradict.
func conjunct(leaves []*term) (c Conjunct, possible bool) {
	var rest []*term
	for _, l := range leaves {
		switch l.op {
		case opOpaque:
			rest = append(rest, l)
		case opPattern:
			switch {
			case PatternCovers(l.text, c.Type):
			case PatternCovers(c.Type, l.text):
				c.Type = l.text
			default:
				rest = append(rest, opaque(l))
			}
		case opPred:
			if !c.require(l.pred) {
				return c, false
			}
		}
	}
	if !c.literalType() {
		return c, false
	}
	c.Preds = sortPreds(c.Preds)
	if len(rest) > 0 {
		c.setRest(rest)
	}
	return c, true
}

// require adds a predicate; it reports false if that leaves nothing.
func (c *Conjunct) require(p Pred) bool {
	if p.Op == In {
		p.Values = slices.Compact(slices.Sorted(slices.Values(p.Values)))
		for i := range c.Preds {
			if q := &c.Preds[i]; q.Op == In && q.Attr == p.Attr {
				q.Values = slices.DeleteFunc(slices.Clone(q.Values), func(v string) bool { return !p.has(v) })
				return len(q.Values) > 0
			}
		}
	}
	c.Preds = append(c.Preds, p)
	return true
}

// literalType turns "the type is x" into the pattern x, where it can be one. It
// reports false if the pattern there is does not allow x.
func (c *Conjunct) literalType() bool {
	for i, p := range c.Preds {
		if p.Attr != "type" || p.Op != In {
			continue
		}
		p.Values = slices.DeleteFunc(slices.Clone(p.Values), func(v string) bool { return !MatchType(c.Type, v) })
		c.Preds[i].Values = p.Values
		if len(p.Values) == 0 {
			return false
		}
		if len(p.Values) == 1 && isLiteral(p.Values[0]) {
			c.Type = p.Values[0]
			c.Preds = slices.Delete(slices.Clone(c.Preds), i, i+1)
		}
		return true
	}
	return true
}

// setRest makes one closure of the opaque leaves.
func (c *Conjunct) setRest(rest []*term) {
	slices.SortFunc(rest, func(a, b *term) int { return strings.Compare(a.text, b.text) })
	rest = slices.CompactFunc(rest, func(a, b *term) bool { return a.text == b.text })
	texts := make([]string, len(rest))
	for i, r := range rest {
		texts[i] = r.text
	}
	c.RestText = strings.Join(texts, " and ")
	if len(rest) == 1 {
		c.Rest = rest[0].match
		return
	}
	all := &term{op: opAll, args: rest}
	c.Rest = all.eval
}

// sortPreds sorts predicates and drops those that others say already.
func sortPreds(preds []Pred) []Pred {
	preds = slices.Clone(preds)
	slices.SortFunc(preds, comparePreds)
	preds = slices.CompactFunc(preds, func(a, b Pred) bool { return comparePreds(a, b) == 0 })
	return slices.DeleteFunc(preds, func(p Pred) bool {
		return slices.ContainsFunc(preds, func(q Pred) bool { return comparePreds(p, q) != 0 && implied(p, q) })
	})
}

func comparePreds(a, b Pred) int {
	if c := strings.Compare(a.Attr, b.Attr); c != 0 {
		return c
	}
	if a.Op != b.Op {
		return int(a.Op) - int(b.Op)
	}
	return slices.Compare(a.Values, b.Values)
}
