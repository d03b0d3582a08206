package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of a filter in JSON.
const (
	MaxJSON   = 64 << 10 // bytes
	maxDepth  = 32       // of all, any and not
	maxTerms  = 1024     // dialects and attributes altogether
	maxListed = 120      // bytes of input that an error shows
)

// Error says why a filter is refused and where in it that is.
type Error struct {
	Path   string // as in filters[0].any[1].sql; empty for the whole
	Reason string
}

func (e *Error) Error() string {
	if e.Path == "" {
		return "filter: " + e.Reason
	}
	return "filter: " + e.Path + ": " + e.Reason
}

// Parse reads a filter: one object of the Subscriptions API's dialects (exact,
// prefix, suffix, all, any, not, sql) or of pattern, which is Skein's and is an
// object {"type": PATTERN}; or an array of such objects, all of which must be
// true. Its errors are *Error.
func Parse(data []byte) (Filter, error) {
	if len(data) > MaxJSON {
		return Filter{}, &Error{Reason: fmt.Sprintf("%d bytes, at most %d are allowed", len(data), MaxJSON)}
	}
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("[")) {
		return ParseDialects(data)
	}
	var p parser
	t, err := p.dialect(data, "", 0)
	if err != nil {
		return Filter{}, err
	}
	return normalise(t), nil
}

// ParseDialects reads the filters member of a subscription: an array of
// dialects, all of which must be true; an empty one accepts everything.
func ParseDialects(data []byte) (Filter, error) {
	if len(data) > MaxJSON {
		return Filter{}, &Error{Reason: fmt.Sprintf("%d bytes, at most %d are allowed", len(data), MaxJSON)}
	}
	var p parser
	args, err := p.list(data, "filters", 0)
	if err != nil {
		return Filter{}, err
	}
	return normalise(&term{op: opAll, args: args}), nil
}

// SQL is the filter that a CESQL expression makes: true only where the
// expression is Boolean true without an error. The error says where the
// expression does not parse.
func SQL(text string) (Filter, error) {
	t, err := sqlTerm(text)
	if err != nil {
		return Filter{}, err
	}
	return normalise(t), nil
}

// Exact is the filter on one attribute's value.
func Exact(attr, value string) (Filter, error) {
	if err := checkAttr(attr); err != nil {
		return Filter{}, err
	}
	if err := checkValue(value); err != nil {
		return Filter{}, err
	}
	return normalise(&term{op: opPred, pred: Pred{Attr: attr, Op: In, Values: []string{value}}}), nil
}

// And is the filter that accepts what all of the given ones accept.
func And(filters ...Filter) Filter {
	all := &term{op: opAll}
	for _, f := range filters {
		all.args = append(all.args, f.term())
	}
	return normalise(all)
}

// term is the filter as a tree again.
func (f Filter) term() *term {
	anyOf := &term{op: opAny}
	for _, c := range f.Conjuncts {
		all := &term{op: opAll}
		if c.Type != "" {
			all.args = append(all.args, &term{op: opPattern, text: c.Type})
		}
		for _, p := range c.Preds {
			all.args = append(all.args, &term{op: opPred, pred: p})
		}
		if c.Rest != nil {
			all.args = append(all.args, &term{op: opOpaque, text: c.RestText, match: c.Rest})
		}
		anyOf.args = append(anyOf.args, all)
	}
	return anyOf
}

// parser counts what it has read.
type parser struct{ terms int }

func (p *parser) count(path string, depth int) error {
	if p.terms++; p.terms > maxTerms {
		return &Error{path, fmt.Sprintf("more than %d dialects and attributes", maxTerms)}
	}
	if depth > maxDepth {
		return &Error{path, fmt.Sprintf("nested more than %d deep", maxDepth)}
	}
	return nil
}

// dialect reads an object with one member: the dialect.
func (p *parser) dialect(data []byte, path string, depth int) (*term, error) {
	if err := p.count(path, depth); err != nil {
		return nil, err
	}
	members, err := object(data)
	if err != nil {
		return nil, &Error{path, "a filter must be an object with one member, the dialect: " + err.Error()}
	}
	if len(members) != 1 {
		return nil, &Error{path, fmt.Sprintf("a filter must have one member, the dialect; this one has %d", len(members))}
	}
	name, value := members[0].name, members[0].value
	path = join(path, name)
	switch name {
	case "exact":
		return p.attributes(value, path, In)
	case "prefix":
		return p.attributes(value, path, Prefix)
	case "suffix":
		return p.attributes(value, path, Suffix)
	case "pattern":
		return p.patterns(value, path)
	case "all", "any":
		args, err := p.list(value, path, depth+1)
		if err != nil {
			return nil, err
		}
		if len(args) == 0 {
			return nil, &Error{path, "must name at least one filter"}
		}
		if name == "all" {
			return &term{op: opAll, args: args}, nil
		}
		return &term{op: opAny, args: args}, nil
	case "not":
		arg, err := p.dialect(value, path, depth+1)
		if err != nil {
			return nil, err
		}
		return &term{op: opNot, args: []*term{arg}}, nil
	case "sql", "cesql":
		var text string
		if json.Unmarshal(value, &text) != nil || !bytes.HasPrefix(value, []byte(`"`)) {
			return nil, &Error{path, "must be a string"}
		}
		t, err := sqlTerm(text)
		if err != nil {
			return nil, &Error{path, err.Error()}
		}
		return t, nil
	}
	return nil, &Error{path, fmt.Sprintf("unknown dialect %s: want exact, prefix, suffix, all, any, not, sql or pattern", show(name))}
}

// list reads an array of dialects.
func (p *parser) list(data []byte, path string, depth int) ([]*term, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(data, &items); err != nil || !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("[")) {
		return nil, &Error{path, "must be an array of filters"}
	}
	terms := make([]*term, len(items))
	for i, item := range items {
		t, err := p.dialect(item, fmt.Sprintf("%s[%d]", path, i), depth+1)
		if err != nil {
			return nil, err
		}
		terms[i] = t
	}
	return terms, nil
}

// attributes reads an object of attributes and strings, all of which must hold.
func (p *parser) attributes(data []byte, path string, op Op) (*term, error) {
	all := &term{op: opAll}
	err := p.strings(data, path, func(name, value string) error {
		if err := checkAttr(name); err != nil {
			return err
		}
		if err := checkValue(value); err != nil {
			return err
		}
		all.args = append(all.args, &term{op: opPred, pred: Pred{Attr: name, Op: op, Values: []string{value}}})
		return nil
	})
	return all, err
}

// patterns reads {"type": PATTERN}.
func (p *parser) patterns(data []byte, path string) (*term, error) {
	all := &term{op: opAll}
	err := p.strings(data, path, func(name, value string) error {
		if name != "type" {
			return fmt.Errorf("pattern is for the attribute type, not for %s", show(name))
		}
		all.args = append(all.args, &term{op: opPattern, text: value})
		return checkPattern(value)
	})
	return all, err
}

// strings reads an object of strings with at least one member.
func (p *parser) strings(data []byte, path string, each func(name, value string) error) error {
	members, err := object(data)
	if err != nil {
		return &Error{path, "must be an object of attributes and strings: " + err.Error()}
	}
	if len(members) == 0 {
		return &Error{path, "must name at least one attribute"}
	}
	for _, m := range members {
		at := join(path, m.name)
		if err := p.count(at, 0); err != nil {
			return err
		}
		var value string
		if json.Unmarshal(m.value, &value) != nil || !bytes.HasPrefix(m.value, []byte(`"`)) {
			return &Error{at, "must be a string"}
		}
		if err := each(m.name, value); err != nil {
			return &Error{at, strings.TrimPrefix(err.Error(), "filter: ")}
		}
	}
	return nil
}

// member is a member of a JSON object, in the order of the text.
type member struct {
	name  string
	value json.RawMessage
}

// object reads a JSON object; a name that comes twice is an error.
func object(data []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("no object")
	}
	var members []member
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{name: t.(string)} // a member's name: the decoder knows no other
		if slices.ContainsFunc(members, func(o member) bool { return o.name == m.name }) {
			return nil, fmt.Errorf("%s comes twice", show(m.name))
		}
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the object")
	}
	return members, nil
}

// checkAttr refuses what is no attribute's name.
func checkAttr(name string) error {
	if name == "" || len(name) > maxName || name == "data" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return fmt.Errorf("filter: %s is no attribute's name: want 1 to %d of a-z and 0-9, and not \"data\"", show(name), maxName)
	}
	return nil
}

func checkValue(v string) error {
	if v == "" || len(v) > maxPattern || !utf8.ValidString(v) {
		return fmt.Errorf("filter: a value must have 1 to %d bytes of UTF-8, this one has %d", maxPattern, len(v))
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return clip(name)
	}
	return path + "." + clip(name)
}

// clip bounds how much of the input an error shows.
func clip(s string) string {
	if len(s) > maxListed {
		return s[:maxListed] + "…"
	}
	return s
}

func show(s string) string { return fmt.Sprintf("%q", clip(s)) }
