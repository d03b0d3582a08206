package flow

import (
	"slices"
	"strings"
)

// Label is what is kept of a lost event: where and of what type it was.
type Label struct{ Namespace, Type string }

// MaxLabels is how many labels a gap tells apart.
const MaxLabels = 16

// maxType is the longest type, in bytes, that is kept as a label.
const maxType = 255

// Labels are the kinds of events that a gap stands for. The zero value is none.
type Labels struct {
	Any  bool    // of any kind: List is empty
	List []Label // distinct, at most MaxLabels
}

// add adds a label, which is copied; too many of them, or one too long, are Any.
func (l *Labels) add(namespace, typ string) {
	if l.Any {
		return
	}
	// The newest first: a run of losses is mostly of one kind.
	for i := len(l.List) - 1; i >= 0; i-- {
		if l.List[i].Type == typ && l.List[i].Namespace == namespace {
			return
		}
	}
	if len(l.List) == MaxLabels || len(typ) > maxType || len(namespace) > maxName {
		*l = Labels{Any: true}
		return
	}
	l.List = append(l.List, Label{strings.Clone(namespace), strings.Clone(typ)})
}

// merge adds all of another's labels.
func (l *Labels) merge(other Labels) {
	if other.Any {
		*l = Labels{Any: true}
	}
	for _, one := range other.List {
		l.add(one.Namespace, one.Type)
	}
}

// clone is l without views of somebody else's bytes.
func (l Labels) clone() Labels {
	c := Labels{Any: l.Any}
	if len(l.List) > 0 {
		c.List = slices.Clone(l.List)
		for i, one := range c.List {
			c.List[i] = Label{strings.Clone(one.Namespace), strings.Clone(one.Type)}
		}
	}
	return c
}
