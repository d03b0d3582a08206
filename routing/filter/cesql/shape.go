package cesql

import (
	"slices"

	"github.com/skeinmesh/skein/transport/event"
)

// ShapeOp is what a shape is.
type ShapeOp uint8

const (
	And    ShapeOp = iota + 1 // of Args
	Or                        // of Args
	Not                       // of Args[0]
	In                        // Attr's canonical text is one of Values
	Prefix                    // it begins with Values[0]
	Exists                    // the event has Attr
	Const                     // Values[0] is "true" or "false"
	Opaque                    // Match says; Text is the canonical text
)

// Shape is what an index may know of an expression. Each is true exactly where
// its part of the expression is true without an error.
type Shape struct {
	Op     ShapeOp
	Attr   string
	Values []string
	Args   []Shape
	Text   string
	Match  func(*event.Event) bool
}

// Shape is the expression's shape.
func (x *Expr) Shape() Shape { return shape(x.root) }

func shape(n *node) Shape {
	switch n.kind {
	case nodeLiteral:
		return Shape{Op: Const, Values: []string{map[bool]string{true: "true", false: "false"}[n.value.kind == Boolean && n.value.b]}}
	case nodeExists:
		return Shape{Op: Exists, Attr: n.name}
	case nodeUnary:
		if n.name == "NOT" && n.args[0].kind == nodeExists {
			return Shape{Op: Not, Args: []Shape{shape(n.args[0])}}
		}
	case nodeLike:
		if n.args[0].kind == nodeAttribute {
			if p, err := parsePattern(n.value.s); err == nil {
				if prefix, ok := p.prefix(); ok {
					return Shape{Op: Prefix, Attr: n.args[0].name, Values: []string{prefix}}
				}
			}
		}
	case nodeIn:
		// The set is cast to the attribute's type: only where that is text for
		// certain do texts compare as they stand.
		if a := n.args[0]; a.kind == nodeAttribute && alwaysText(a.name) {
			if values, ok := texts(n.args[1:]); ok {
				return Shape{Op: In, Attr: a.name, Values: values}
			}
		}
	case nodeBinary:
		return binaryShape(n)
	}
	eval := compile(n)
	return Shape{Op: Opaque, Text: n.String(), Match: func(ev *event.Event) bool { return matches(eval, ev) }}
}

func binaryShape(n *node) Shape {
	a, b := n.args[0], n.args[1]
	switch n.name {
	case "AND":
		// A side that errs, decides or not, makes the whole not true.
		if logical(a) && logical(b) {
			return Shape{Op: And, Args: []Shape{shape(a), shape(b)}}
		}
	case "OR":
		// A left side that errs makes the whole err, whatever the right one is.
		if logical(a) && logical(b) && safe(a) {
			return Shape{Op: Or, Args: []Shape{shape(a), shape(b)}}
		}
	case "=":
		// The attribute is cast to text, as a literal on the right asks.
		if a.kind == nodeAttribute && b.kind == nodeLiteral && b.value.kind == String {
			return Shape{Op: In, Attr: a.name, Values: []string{b.value.s}}
		}
	}
	eval := compile(n)
	return Shape{Op: Opaque, Text: n.String(), Match: func(ev *event.Event) bool { return matches(eval, ev) }}
}

// logical reports whether a node's value is Boolean, so that no cast stands
// between it and AND or OR.
func logical(n *node) bool {
	switch n.kind {
	case nodeLiteral:
		return n.value.kind == Boolean
	case nodeExists, nodeLike, nodeIn:
		return true
	case nodeUnary:
		return n.name == "NOT"
	case nodeBinary:
		return slices.Contains([]string{"AND", "OR", "XOR", "=", "!=", "<", "<=", ">", ">="}, n.name)
	}
	return false
}

// safe reports whether a node cannot err, whatever the event is.
func safe(n *node) bool {
	switch n.kind {
	case nodeLiteral, nodeExists:
		return true
	case nodeAttribute:
		return required(n.name)
	case nodeLike:
		return safe(n.args[0])
	case nodeIn:
		_, ok := texts(n.args[1:])
		return ok && n.args[0].kind == nodeAttribute && required(n.args[0].name)
	case nodeUnary:
		return n.name == "NOT" && logical(n.args[0]) && safe(n.args[0])
	case nodeBinary:
		switch n.name {
		case "AND", "OR", "XOR":
			return logical(n.args[0]) && logical(n.args[1]) && safe(n.args[0]) && safe(n.args[1])
		case "=", "!=":
			return n.args[1].kind == nodeLiteral && n.args[1].value.kind == String && safe(n.args[0])
		}
	}
	return false
}

// required attributes are there in every event, and are text.
func required(name string) bool {
	return name == "id" || name == "source" || name == "type" || name == "specversion"
}

// alwaysText reports whether an attribute is text wherever it is there.
func alwaysText(name string) bool {
	return required(name) || name == "subject" || name == "time" || name == "datacontenttype" || name == "dataschema"
}

// texts are the values of literal texts, without repetitions.
func texts(list []*node) (values []string, ok bool) {
	for _, n := range list {
		if n.kind != nodeLiteral || n.value.kind != String {
			return nil, false
		}
		if !slices.Contains(values, n.value.s) {
			values = append(values, n.value.s)
		}
	}
	return values, true
}
