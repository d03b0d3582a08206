// Package cesql evaluates CloudEvents SQL expressions (CESQL 1.0): a lexer, a
// recursive-descent parser and a compiler to closures.
//
// An expression is compiled once, when it is parsed, and evaluated on the event
// as it is, without decoding it. Text is counted in Unicode code points.
// Evaluation is total: an operator that meets an error has the zero value of
// its type as its result, and the first error is told beside it. What Match
// says is narrower: true, and no error at all.
//
// Where the specification leaves a choice: AND, OR and XOR are of one
// precedence and go from left to right; 4-1 is 3; identifiers, keywords and
// function names are read in any case.
package cesql

import (
	"fmt"
	"strconv"

	"github.com/skeinmesh/skein/transport/event"
)

// Bounds of an expression.
const (
	MaxLength = 16 << 10 // bytes
	MaxDepth  = 128      // of brackets, functions and operators in each other
)

// SyntaxError says where and why an expression does not parse.
type SyntaxError struct {
	Pos    int // byte, from 0
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("expression does not parse at byte %d: %s", e.Pos, e.Reason)
}

// Class is the kind of an evaluation's error.
type Class string

const (
	MathError          Class = "math"
	CastError          Class = "cast"
	MissingAttribute   Class = "missingAttribute"
	MissingFunction    Class = "missingFunction"
	FunctionEvaluation Class = "functionEvaluation"
)

// EvalError is an evaluation's first error. The value beside it stands.
type EvalError struct{ Class Class }

func (e *EvalError) Error() string { return "cesql: " + string(e.Class) + " error" }

// Kind is a value's type.
type Kind uint8

const (
	String Kind = iota + 1
	Integer
	Boolean
)

// Value is what an expression evaluates to.
type Value struct {
	kind Kind
	s    string
	n    int32
	b    bool
}

func text(s string) Value    { return Value{kind: String, s: s} }
func number(n int32) Value   { return Value{kind: Integer, n: n} }
func boolean(b bool) Value   { return Value{kind: Boolean, b: b} }
func (v Value) Kind() Kind   { return v.kind }
func (v Value) Int() int32   { return v.n }
func (v Value) Bool() bool   { return v.b }
func (v Value) Text() string { return v.s }

// Any is the value as a Go string, int32 or bool.
func (v Value) Any() any {
	switch v.kind {
	case Integer:
		return v.n
	case Boolean:
		return v.b
	}
	return v.s
}

// String is the value cast to a string.
func (v Value) String() string {
	switch v.kind {
	case Integer:
		return strconv.Itoa(int(v.n))
	case Boolean:
		return strconv.FormatBool(v.b)
	}
	return v.s
}

// Expr is a compiled expression. Any number of goroutines may use it.
type Expr struct {
	root *node
	eval evaluator
}

// evaluator computes a part of an expression; the class is that of the first
// error, empty when there is none.
type evaluator func(ev *event.Event) (Value, Class)

// Parse reads and compiles an expression. Its errors are *SyntaxError.
func Parse(s string) (*Expr, error) {
	if len(s) > MaxLength {
		return nil, &SyntaxError{0, fmt.Sprintf("%d bytes, at most %d are allowed", len(s), MaxLength)}
	}
	p := parser{lexer: lexer{src: s}}
	root, err := p.parse()
	if err != nil {
		return nil, err
	}
	return &Expr{root: root, eval: compile(root)}, nil
}

// Eval evaluates the expression. The error, if any, is an *EvalError, and the
// value is valid beside it.
func (x *Expr) Eval(ev *event.Event) (Value, error) {
	v, class := x.eval(ev)
	if class != "" {
		return v, &EvalError{class}
	}
	return v, nil
}

// Match reports whether the expression is Boolean true, without any error.
func (x *Expr) Match(ev *event.Event) bool { return matches(x.eval, ev) }

func matches(eval evaluator, ev *event.Event) bool {
	v, class := eval(ev)
	return class == "" && v.kind == Boolean && v.b
}

// String is the expression's canonical text.
func (x *Expr) String() string { return x.root.String() }
