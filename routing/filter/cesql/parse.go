package cesql

import (
	"fmt"
	"strconv"
	"strings"
)

// nodeKind is what a node of the tree is.
type nodeKind uint8

const (
	nodeLiteral nodeKind = iota
	nodeAttribute
	nodeExists   // of the attribute in name
	nodeUnary    // name is NOT or -
	nodeBinary   // name is the operator
	nodeLike     // args[0] LIKE the pattern in value
	nodeIn       // args[0] IN args[1:]
	nodeFunction // name(args)
)

type node struct {
	kind  nodeKind
	name  string
	value Value
	args  []*node
}

// String is the canonical text: brackets around everything that is composed,
// attributes in lower case, the rest in upper case.
func (n *node) String() string {
	switch n.kind {
	case nodeLiteral:
		return literal(n.value)
	case nodeAttribute:
		return n.name
	case nodeExists:
		return "(EXISTS " + n.name + ")"
	case nodeUnary:
		if n.name == "-" { // a bare number behind it would be one with it
			return "(- (" + n.args[0].String() + "))"
		}
		return "(" + n.name + " " + n.args[0].String() + ")"
	case nodeBinary:
		return "(" + n.args[0].String() + " " + n.name + " " + n.args[1].String() + ")"
	case nodeLike:
		return "(" + n.args[0].String() + " LIKE " + literal(n.value) + ")"
	}
	parts := make([]string, len(n.args))
	for i, a := range n.args {
		parts[i] = a.String()
	}
	if n.kind == nodeIn {
		return "(" + parts[0] + " IN (" + strings.Join(parts[1:], ", ") + "))"
	}
	return n.name + "(" + strings.Join(parts, ", ") + ")"
}

func literal(v Value) string {
	if v.kind != String {
		return strings.ToUpper(v.String())
	}
	return "'" + strings.ReplaceAll(v.s, "'", `\'`) + "'"
}

// parser is a recursive-descent parser; each level is a precedence, the
// loosest first.
type parser struct {
	lexer
	tok   token
	depth int
}

func (p *parser) parse() (*node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.logic()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokenEnd {
		return nil, p.unexpected("the end or an operator")
	}
	return n, nil
}

func (p *parser) advance() (err error) {
	p.tok, err = p.next()
	return err
}

func (p *parser) unexpected(want string) error {
	if p.tok.kind == tokenEnd {
		return &SyntaxError{p.tok.pos, "it ends where " + want + " should follow"}
	}
	return &SyntaxError{p.tok.pos, fmt.Sprintf("unexpected %.40q, want %s", p.tok.text, want)}
}

// isWord reports whether the token is a keyword.
func (p *parser) isWord(words ...string) (string, bool) {
	if p.tok.kind == tokenWord {
		for _, w := range words {
			if strings.EqualFold(p.tok.text, w) {
				return w, true
			}
		}
	}
	return "", false
}

func (p *parser) isSign(signs ...string) (string, bool) {
	if p.tok.kind == tokenSign {
		for _, s := range signs {
			if p.tok.text == s {
				return s, true
			}
		}
	}
	return "", false
}

// take is isSign that goes on to the next token.
func (p *parser) take(sign string) error {
	if _, ok := p.isSign(sign); !ok {
		return p.unexpected(strconv.Quote(sign))
	}
	return p.advance()
}

// binary reads operands of a tighter level with operators between them, from
// left to right.
func (p *parser) binary(operand func() (*node, error), operator func() (string, bool)) (*node, error) {
	left, err := operand()
	for count := 0; err == nil; count++ {
		op, ok := operator()
		if !ok {
			return left, nil
		}
		if count >= MaxDepth {
			return nil, &SyntaxError{p.tok.pos, fmt.Sprintf("more than %d operators in a row: use brackets or IN", MaxDepth)}
		}
		if err = p.advance(); err != nil {
			return nil, err
		}
		var right *node
		if right, err = operand(); err == nil {
			left = &node{kind: nodeBinary, name: op, args: []*node{left, right}}
		}
	}
	return nil, err
}

func (p *parser) logic() (*node, error) {
	if p.depth++; p.depth > MaxDepth {
		return nil, &SyntaxError{p.tok.pos, fmt.Sprintf("nested more than %d deep", MaxDepth)}
	}
	defer func() { p.depth-- }()
	return p.binary(p.comparison, func() (string, bool) { return p.isWord("AND", "OR", "XOR") })
}

func (p *parser) comparison() (*node, error) {
	return p.binary(p.sum, func() (string, bool) {
		op, ok := p.isSign("=", "!=", "<>", "<", "<=", ">", ">=")
		if op == "<>" {
			op = "!="
		}
		return op, ok
	})
}

func (p *parser) sum() (*node, error) {
	return p.binary(p.product, func() (string, bool) { return p.isSign("+", "-") })
}

func (p *parser) product() (*node, error) {
	return p.binary(p.membership, func() (string, bool) { return p.isSign("*", "/", "%") })
}

// membership is operand [NOT] IN (…).
func (p *parser) membership() (*node, error) {
	n, err := p.exists()
	for err == nil {
		negate := false
		if _, not := p.isWord("NOT"); not {
			negate = true
			if err := p.advance(); err != nil {
				return nil, err
			}
			if _, in := p.isWord("IN"); !in {
				return nil, p.unexpected("IN or LIKE after NOT")
			}
		}
		if _, in := p.isWord("IN"); !in {
			return n, nil
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		var set []*node
		if set, err = p.arguments(); err != nil {
			return nil, err
		}
		if len(set) == 0 {
			return nil, p.unexpected("at least one value in IN's brackets before this")
		}
		n = maybeNot(&node{kind: nodeIn, args: append([]*node{n}, set...)}, negate)
	}
	return nil, err
}

func (p *parser) exists() (*node, error) {
	if _, ok := p.isWord("EXISTS"); !ok {
		return p.like()
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.kind != tokenWord || reserved(p.tok.text) {
		return nil, p.unexpected("an attribute's name")
	}
	n := &node{kind: nodeExists, name: strings.ToLower(p.tok.text)}
	return n, p.advance()
}

// like is operand [NOT] LIKE 'pattern'.
func (p *parser) like() (*node, error) {
	n, err := p.unary()
	for err == nil {
		before, tok := p.lexer, p.tok
		negate := false
		if _, not := p.isWord("NOT"); not {
			negate = true
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		if _, ok := p.isWord("LIKE"); !ok {
			p.lexer, p.tok = before, tok // NOT IN, perhaps
			return n, nil
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.tok.kind != tokenText {
			return nil, p.unexpected("a quoted pattern")
		}
		if _, err := parsePattern(p.tok.text); err != nil {
			return nil, &SyntaxError{p.tok.pos, err.Error()}
		}
		n = maybeNot(&node{kind: nodeLike, value: text(p.tok.text), args: []*node{n}}, negate)
		err = p.advance()
	}
	return nil, err
}

func maybeNot(n *node, negate bool) *node {
	if negate {
		return &node{kind: nodeUnary, name: "NOT", args: []*node{n}}
	}
	return n
}

// unary is NOT and minus, which bind tighter than all but functions; NOT
// EXISTS is what it seems all the same.
func (p *parser) unary() (*node, error) {
	op, ok := p.isWord("NOT")
	if !ok {
		if op, ok = p.isSign("-"); !ok {
			return p.primary()
		}
	}
	if p.depth++; p.depth > MaxDepth {
		return nil, &SyntaxError{p.tok.pos, fmt.Sprintf("nested more than %d deep", MaxDepth)}
	}
	defer func() { p.depth-- }()
	if err := p.advance(); err != nil {
		return nil, err
	}
	if op == "-" && p.tok.kind == tokenNumber {
		return p.integer(true)
	}
	operand := p.unary
	if _, ok := p.isWord("EXISTS"); ok {
		operand = p.exists
	}
	arg, err := operand()
	if err != nil {
		return nil, err
	}
	return &node{kind: nodeUnary, name: op, args: []*node{arg}}, nil
}

func (p *parser) integer(negative bool) (*node, error) {
	digits := p.tok.text
	if negative {
		digits = "-" + digits
	}
	v, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		return nil, &SyntaxError{p.tok.pos, fmt.Sprintf("%.40s is no integer of 32 bits", digits)}
	}
	return &node{kind: nodeLiteral, value: number(int32(v))}, p.advance()
}

func (p *parser) primary() (*node, error) {
	tok := p.tok
	switch tok.kind {
	case tokenNumber:
		return p.integer(false)
	case tokenText:
		return &node{kind: nodeLiteral, value: text(tok.text)}, p.advance()
	case tokenWord:
		return p.word()
	}
	if _, ok := p.isSign("("); !ok {
		return nil, p.unexpected("a value")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.logic()
	if err != nil {
		return nil, err
	}
	return n, p.take(")")
}

// word is a boolean, an attribute or a function.
func (p *parser) word() (*node, error) {
	tok := p.tok
	if b, ok := p.isWord("TRUE", "FALSE"); ok {
		return &node{kind: nodeLiteral, value: boolean(b == "TRUE")}, p.advance()
	}
	if reserved(tok.text) {
		return nil, p.unexpected("a value")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if _, call := p.isSign("("); call {
		args, err := p.arguments()
		if err != nil {
			return nil, err
		}
		return &node{kind: nodeFunction, name: strings.ToUpper(tok.text), args: args}, nil
	}
	if strings.Contains(tok.text, "_") {
		return nil, &SyntaxError{tok.pos, fmt.Sprintf("%.40q is no attribute's name: want letters and digits", tok.text)}
	}
	return &node{kind: nodeAttribute, name: strings.ToLower(tok.text)}, nil
}

// arguments is ( expression, … ), possibly empty.
func (p *parser) arguments() ([]*node, error) {
	if err := p.take("("); err != nil {
		return nil, err
	}
	var args []*node
	if _, ok := p.isSign(")"); ok {
		return nil, p.advance()
	}
	for {
		a, err := p.logic()
		if err != nil {
			return nil, err
		}
		args = append(args, a)
		if _, ok := p.isSign(","); !ok {
			return args, p.take(")")
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
}

// reserved reports whether a word can name nothing.
func reserved(word string) bool {
	switch strings.ToUpper(word) {
	case "AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE":
		return true
	}
	return false
}
