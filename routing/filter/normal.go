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

import "github.com/skeinmesh/skein/transport/event"

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
