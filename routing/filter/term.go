package filter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skeinmesh/skein/transport/event"
)

// termOp is what a term of a filter's tree is.
type termOp uint8

const (
	opAll     termOp = iota // every argument; true without arguments
	opAny                   // one argument at least; false without arguments
	opNot                   // its one argument is false
	opPred                  // pred
	opPattern               // the type fits the pattern in text
	opOpaque                // match, which nothing more is known of; text is its identity
)

// term is a filter as it was asked for, before it is brought into normal form.
type term struct {
	op    termOp
	args  []*term
	pred  Pred
	text  string
	match func(*event.Event) bool
}

// eval is what the term means; the normal form must mean the same.
func (t *term) eval(ev *event.Event) bool {
	switch t.op {
	case opAll:
		return !slices.ContainsFunc(t.args, func(a *term) bool { return !a.eval(ev) })
	case opAny:
		return slices.ContainsFunc(t.args, func(a *term) bool { return a.eval(ev) })
	case opNot:
		return !t.args[0].eval(ev)
	case opPred:
		return t.pred.holds(ev)
	case opPattern:
		return MatchType(t.text, ev.Type())
	}
	return t.match(ev)
}

// String is the term's canonical text.
func (t *term) String() string {
	list := func() string {
		parts := make([]string, len(t.args))
		for i, a := range t.args {
			parts[i] = a.String()
		}
		return strings.Join(parts, ", ")
	}
	switch t.op {
	case opAll:
		return "all(" + list() + ")"
	case opAny:
		return "any(" + list() + ")"
	case opNot:
		return "not(" + list() + ")"
	case opPred:
		return t.pred.String()
	case opPattern:
		return "type ~ " + t.text
	}
	return t.text
}

// String is the predicate for people, and its canonical text.
func (p Pred) String() string {
	switch p.Op {
	case In:
		if len(p.Values) == 1 {
			return fmt.Sprintf("%s = %q", p.Attr, p.Values[0])
		}
		quoted := make([]string, len(p.Values))
		for i, v := range p.Values {
			quoted[i] = fmt.Sprintf("%q", v)
		}
		return p.Attr + " in " + strings.Join(quoted, " ")
	case Prefix:
		return fmt.Sprintf("%s begins %q", p.Attr, p.Values[0])
	case Suffix:
		return fmt.Sprintf("%s ends %q", p.Attr, p.Values[0])
	case Exists:
		return p.Attr + " exists"
	}
	return p.Attr + " absent"
}

// holds reports whether the predicate is true of an event: attributes compare
// by their canonical string, and an absent one makes all but Absent false.
func (p *Pred) holds(ev *event.Event) bool {
	v, ok := ev.Attr(p.Attr)
	if !ok {
		return p.Accepts("", false)
	}
	return p.Accepts(v.String(), true)
}

// Accepts reports whether the predicate is true of an attribute's canonical
// string, or of there being none: for who has looked the attribute up already.
func (p *Pred) Accepts(value string, there bool) bool {
	switch p.Op {
	case Exists:
		return there
	case Absent:
		return !there
	case In:
		return there && p.has(value)
	case Prefix:
		return there && strings.HasPrefix(value, p.Values[0])
	}
	return there && strings.HasSuffix(value, p.Values[0])
}

// Match reports whether a conjunct accepts an event. Any number of goroutines
// may call it.
func (c *Conjunct) Match(ev *event.Event) bool {
	if !MatchType(c.Type, ev.Type()) {
		return false
	}
	return c.Verify(ev)
}

// Verify is Match without the type: for who has checked that already.
func (c *Conjunct) Verify(ev *event.Event) bool {
	for i := range c.Preds {
		if !c.Preds[i].holds(ev) {
			return false
		}
	}
	return c.Rest == nil || c.Rest(ev)
}

// Match reports whether the filter accepts an event. Any number of goroutines
// may call it.
func (f Filter) Match(ev *event.Event) bool {
	for i := range f.Conjuncts {
		if f.Conjuncts[i].Match(ev) {
			return true
		}
	}
	return false
}

// String is the filter for people.
func (f Filter) String() string {
	if len(f.Conjuncts) == 0 {
		return "nothing"
	}
	parts := make([]string, len(f.Conjuncts))
	for i, c := range f.Conjuncts {
		parts[i] = c.String()
	}
	return strings.Join(parts, " or ")
}

// String is the conjunct for people.
func (c Conjunct) String() string {
	var parts []string
	if c.Type != "" {
		parts = append(parts, "type "+c.Type)
	}
	for _, p := range c.Preds {
		parts = append(parts, p.String())
	}
	if c.RestText != "" {
		parts = append(parts, c.RestText)
	}
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, " and ")
}

// Key is the filter's identity: equal normal forms have equal keys.
func (f Filter) Key() string {
	var b []byte
	for _, c := range f.Conjuncts {
		b = AppendConjunct(b, c)
		b = appendText(b, c.RestText)
	}
	return string(b)
}
