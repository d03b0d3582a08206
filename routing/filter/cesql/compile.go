package cesql

import (
	"math"
	"strings"

	"github.com/skeinmesh/skein/transport/event"
)

// compile turns a tree into closures. What is constant is computed now.
func compile(n *node) evaluator {
	e := compileNode(n)
	if constant(n) {
		v, class := e(nil)
		return func(*event.Event) (Value, Class) { return v, class }
	}
	return e
}

// constant reports whether a tree does not look at the event.
func constant(n *node) bool {
	if n.kind == nodeAttribute || n.kind == nodeExists {
		return false
	}
	for _, a := range n.args {
		if !constant(a) {
			return false
		}
	}
	return true
}

func compileNode(n *node) evaluator {
	args := make([]evaluator, len(n.args))
	for i, a := range n.args {
		args[i] = compile(a)
	}
	switch n.kind {
	case nodeLiteral:
		v := n.value
		return func(*event.Event) (Value, Class) { return v, "" }
	case nodeAttribute:
		return attribute(n.name)
	case nodeExists:
		name := n.name
		return func(ev *event.Event) (Value, Class) {
			_, ok := ev.Attr(name)
			return boolean(ok), ""
		}
	case nodeUnary:
		if n.name == "NOT" {
			return not(args[0])
		}
		return negative(args[0])
	case nodeBinary:
		return binary(n.name, args[0], args[1])
	case nodeLike:
		return like(args[0], n.value.s)
	case nodeIn:
		return in(args[0], args[1:])
	}
	return function(n.name, args)
}

// attribute reads one: integers and booleans are what they are, all else is
// text. A missing one is an error, and its value is false.
func attribute(name string) evaluator {
	return func(ev *event.Event) (Value, Class) {
		v, ok := ev.Attr(name)
		if !ok {
			return boolean(false), MissingAttribute
		}
		switch v.Kind() {
		case event.Integer:
			return number(v.Int()), ""
		case event.Boolean:
			return boolean(v.Bool()), ""
		}
		return text(v.String()), ""
	}
}

func not(arg evaluator) evaluator {
	return func(ev *event.Event) (Value, Class) {
		v, class := arg(ev)
		if class != "" {
			return boolean(false), class
		}
		v, class = v.toBoolean()
		if class != "" {
			return boolean(false), class
		}
		return boolean(!v.b), ""
	}
}

func negative(arg evaluator) evaluator {
	return func(ev *event.Event) (Value, Class) {
		v, class := arg(ev)
		if class != "" {
			return number(0), class
		}
		if v, class = v.toInteger(); class != "" {
			return number(0), class
		}
		if v.n == math.MinInt32 {
			return number(0), MathError
		}
		return number(-v.n), ""
	}
}

func binary(op string, a, b evaluator) evaluator {
	switch op {
	case "AND", "OR":
		return shortCircuit(a, b, op == "OR")
	case "XOR":
		return func(ev *event.Event) (Value, Class) {
			x, y, class := both(ev, a, b, Value.toBoolean)
			return boolean(class == "" && x.b != y.b), class
		}
	case "=", "!=":
		return equals(a, b, op == "=")
	case "<", "<=", ">", ">=":
		return compare(op, a, b)
	}
	return arithmetic(op, a, b)
}

// shortCircuit is AND, or OR when decided is true: a left side that decides
// leaves the right one alone.
func shortCircuit(a, b evaluator, decided bool) evaluator {
	return func(ev *event.Event) (Value, Class) {
		for _, arg := range [...]evaluator{a, b} {
			v, class := arg(ev)
			if class == "" {
				v, class = v.toBoolean()
			}
			if class != "" {
				return boolean(false), class
			}
			if v.b == decided {
				return boolean(decided), ""
			}
		}
		return boolean(!decided), ""
	}
}

// both evaluates and casts two arguments.
func both(ev *event.Event, a, b evaluator, cast func(Value) (Value, Class)) (x, y Value, class Class) {
	if x, class = a(ev); class != "" {
		return x, y, class
	}
	if y, class = b(ev); class != "" {
		return x, y, class
	}
	if x, class = cast(x); class != "" {
		return x, y, class
	}
	y, class = cast(y)
	return x, y, class
}

// equals casts its left side to the type of the right one.
func equals(a, b evaluator, want bool) evaluator {
	return func(ev *event.Event) (Value, Class) {
		x, class := a(ev)
		if class != "" {
			return boolean(false), class
		}
		y, class := b(ev)
		if class != "" {
			return boolean(false), class
		}
		if x, class = x.to(y.kind); class != "" {
			return boolean(false), class
		}
		return boolean((x == y) == want), ""
	}
}

func compare(op string, a, b evaluator) evaluator {
	return func(ev *event.Event) (Value, Class) {
		x, y, class := both(ev, a, b, Value.toInteger)
		if class != "" {
			return boolean(false), class
		}
		switch op {
		case "<":
			return boolean(x.n < y.n), ""
		case "<=":
			return boolean(x.n <= y.n), ""
		case ">":
			return boolean(x.n > y.n), ""
		}
		return boolean(x.n >= y.n), ""
	}
}

func arithmetic(op string, a, b evaluator) evaluator {
	return func(ev *event.Event) (Value, Class) {
		x, y, class := both(ev, a, b, Value.toInteger)
		if class != "" {
			return number(0), class
		}
		var r int64
		switch op {
		case "+":
			r = int64(x.n) + int64(y.n)
		case "-":
			r = int64(x.n) - int64(y.n)
		case "*":
			r = int64(x.n) * int64(y.n)
		default:
			if y.n == 0 {
				return number(0), MathError
			}
			if r = int64(x.n) / int64(y.n); op == "%" {
				r = int64(x.n) % int64(y.n)
			}
		}
		if r < math.MinInt32 || r > math.MaxInt32 {
			return number(0), MathError
		}
		return number(int32(r)), ""
	}
}

// in casts each element of the set to the type of the left side, up to the
// first that is equal.
func in(a evaluator, set []evaluator) evaluator {
	return func(ev *event.Event) (Value, Class) {
		x, class := a(ev)
		if class != "" {
			return boolean(false), class
		}
		for _, e := range set {
			y, class := e(ev)
			if class == "" {
				y, class = y.to(x.kind)
			}
			if class != "" {
				return boolean(false), class
			}
			if x == y {
				return boolean(true), ""
			}
		}
		return boolean(false), ""
	}
}

// to casts a value.
func (v Value) to(k Kind) (Value, Class) {
	switch k {
	case Integer:
		return v.toInteger()
	case Boolean:
		return v.toBoolean()
	}
	if v.kind == String {
		return v, ""
	}
	return text(v.String()), ""
}

func (v Value) toInteger() (Value, Class) {
	switch v.kind {
	case Integer:
		return v, ""
	case Boolean:
		if v.b {
			return number(1), ""
		}
		return number(0), ""
	}
	n, ok := parseInt(v.s)
	if !ok {
		return number(0), CastError
	}
	return number(n), ""
}

func (v Value) toBoolean() (Value, Class) {
	switch v.kind {
	case Boolean:
		return v, ""
	case Integer:
		return boolean(v.n != 0), ""
	}
	switch {
	case strings.EqualFold(v.s, "true"):
		return boolean(true), ""
	case strings.EqualFold(v.s, "false"):
		return boolean(false), ""
	}
	return boolean(false), CastError
}

// parseInt reads an integer of 32 bits without allocating for an error.
func parseInt(s string) (int32, bool) {
	digits := strings.TrimPrefix(strings.TrimPrefix(s, "+"), "-")
	if digits == "" || len(s)-len(digits) > 1 {
		return 0, false
	}
	var n int64
	for i := range len(digits) {
		if !isDigit(digits[i]) {
			return 0, false
		}
		if n = n*10 + int64(digits[i]-'0'); n > math.MaxInt32+1 {
			return 0, false
		}
	}
	if s[0] == '-' {
		n = -n
	}
	return int32(n), n <= math.MaxInt32
}
