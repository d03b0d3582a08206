package filter

import (
	"slices"

	"github.com/skeinmesh/skein/routing/filter/cesql"
)

// sqlTerm parses a CESQL expression and keeps what an index may know of it.
func sqlTerm(text string) (*term, error) {
	x, err := cesql.Parse(text)
	if err != nil {
		return nil, err
	}
	return shapeTerm(x.Shape()), nil
}

// shapeTerm is an expression's shape as a term. Each shape means exactly what
// its part of the expression does, "true and no error", so the term does too.
func shapeTerm(s cesql.Shape) *term {
	switch s.Op {
	case cesql.And, cesql.Or:
		t := &term{op: opAll}
		if s.Op == cesql.Or {
			t.op = opAny
		}
		for _, a := range s.Args {
			t.args = append(t.args, shapeTerm(a))
		}
		return t
	case cesql.Not:
		return &term{op: opNot, args: []*term{shapeTerm(s.Args[0])}}
	case cesql.In:
		t := &term{op: opPred, pred: Pred{Attr: s.Attr, Op: In, Values: slices.Compact(slices.Sorted(slices.Values(s.Values)))}}
		if len(t.pred.Values) > MaxValues {
			return opaque(t)
		}
		return t
	case cesql.Prefix:
		return &term{op: opPred, pred: Pred{Attr: s.Attr, Op: Prefix, Values: s.Values[:1]}}
	case cesql.Exists:
		return &term{op: opPred, pred: Pred{Attr: s.Attr, Op: Exists}}
	case cesql.Const:
		if s.Values[0] == "true" {
			return &term{op: opAll}
		}
		return &term{op: opAny}
	}
	return &term{op: opOpaque, text: s.Text, match: s.Match}
}
