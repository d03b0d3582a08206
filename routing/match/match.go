// Package match finds, among very many filters, those that accept an event.
//
// A conjunct hangs in a trie at its type pattern. There it is found by the
// value of one attribute that it requires (the access predicate), so that only
// the few that ask for what the event has are looked at; their other
// predicates and their rest are then verified. Where a conjunct requires no
// value, a prefix of one serves, and what has neither is verified one by one.
// (Access predicates: Fabret et al., Filtering algorithms and implementation
// for very fast publish/subscribe systems, SIGMOD 2001.)
//
// Equal conjuncts are one class with many values. The leaves of the trie that
// a type leads to are remembered, since types are few and events many.
package match

import (
	"slices"
	"strings"
	"sync"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/transport/event"
)

// maxCached bounds how many types' leaves are remembered; when there are more,
// remembering begins anew.
const maxCached = 8192

// Index finds values by the conjuncts they were added with. Any number of
// goroutines may call Match at a time, but none while Add or Remove runs: the
// owner's lock sees to that. Make it with New.
type Index[T comparable] struct {
	root  node[T]
	any   *leaf[T] // of conjuncts without a pattern
	count int

	mu    sync.RWMutex // guards the field below, which Match changes
	cache map[string][]*leaf[T]
}

// New makes an empty index.
func New[T comparable]() *Index[T] { return &Index[T]{} }

// node is a place in the trie of type patterns.
type node[T comparable] struct {
	exact map[string]*node[T] // by token
	star  *node[T]            // any one token
	here  *leaf[T]            // patterns that end here
	rest  *leaf[T]            // patterns that end in ">" here
}

// leaf holds the conjuncts of one pattern.
type leaf[T comparable] struct {
	values   []table[T]  // by the value of an attribute
	prefixes []table[T]  // by a prefix of it
	scan     []*class[T] // the others

	printTables []printTable[T] // those that say fingerprints, not values
}

// table finds classes by an attribute.
type table[T comparable] struct {
	attr    string
	by      map[string]*class[T]
	sieve   sieve // of the keys, when they are values
	lengths []int // of the keys, when they are prefixes: distinct, sorted
}

// class is a conjunct, less its pattern and access predicate, and its values.
type class[T comparable] struct {
	check *filter.Conjunct // what is left to verify; nil when nothing is
	first T
	more  []T
	next  *class[T] // of the same key
}

// Len is the number of values in the index.
func (x *Index[T]) Len() int { return x.count }

// Add adds a value for a conjunct. The same pair may be added once only.
func (x *Index[T]) Add(c filter.Conjunct, v T) {
	lf := x.leaf(c.Type, true)
	for _, a := range lf.access(c, true) {
		a.add(lf, v)
	}
	x.count++
}

// Remove takes the pair away, if it is there.
func (x *Index[T]) Remove(c filter.Conjunct, v T) {
	lf := x.leaf(c.Type, false)
	if lf == nil {
		return
	}
	removed := false
	for _, a := range lf.access(c, false) {
		if a.remove(lf, v) {
			removed = true
		}
	}
	if removed {
		x.count--
		if lf.empty() {
			x.prune(c.Type)
		}
	}
}

// Match appends to dst the values of all conjuncts that accept the event.
func (x *Index[T]) Match(ev *event.Event, dst []T) []T {
	if x.count == 0 {
		return dst
	}
	for _, lf := range x.leaves(ev.Type()) {
		dst = lf.match(ev, dst)
	}
	return dst
}

func (lf *leaf[T]) match(ev *event.Event, dst []T) []T {
	for i := range lf.values {
		t := &lf.values[i]
		v, ok := ev.Attr(t.attr)
		if !ok {
			continue
		}
		value := v.String()
		if !t.sieve.may(value) {
			continue
		}
		for c := t.by[value]; c != nil; c = c.next {
			dst = c.verify(ev, dst)
		}
	}
	for i := range lf.prefixes {
		t := &lf.prefixes[i]
		v, ok := ev.Attr(t.attr)
		if !ok {
			continue
		}
		s := v.String()
		for _, n := range t.lengths {
			if n > len(s) {
				break
			}
			for c := t.by[s[:n]]; c != nil; c = c.next {
				dst = c.verify(ev, dst)
			}
		}
	}
	for i := range lf.printTables {
		dst = lf.printTables[i].match(ev, dst)
	}
	return lf.matchRest(ev, dst)
}

// matchRest verifies what no table finds. Many of them ask for the same
// attribute first: it is looked up once.
func (lf *leaf[T]) matchRest(ev *event.Event, dst []T) []T {
	var attr, value string
	there := false
	for _, c := range lf.scan {
		if c.check != nil && len(c.check.Preds) > 0 {
			p := &c.check.Preds[0]
			if p.Attr != attr {
				var v event.Value
				attr, value = p.Attr, ""
				if v, there = ev.Attr(attr); there {
					value = v.String()
				}
			}
			if !p.Accepts(value, there) {
				continue
			}
		}
		dst = c.verify(ev, dst)
	}
	return dst
}

func (c *class[T]) verify(ev *event.Event, dst []T) []T {
	if c.check != nil && !c.check.Verify(ev) {
		return dst
	}
	dst = append(dst, c.first)
	if len(c.more) == 0 {
		return dst
	}
	return append(dst, c.more...)
}

// leaves are the leaves that a type leads to.
func (x *Index[T]) leaves(typ string) []*leaf[T] {
	x.mu.RLock()
	found, ok := x.cache[typ]
	x.mu.RUnlock()
	if ok {
		return found
	}
	if x.any != nil {
		found = append(found, x.any)
	}
	found = x.root.walk(typ, found)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cache == nil || len(x.cache) >= maxCached {
		x.cache = map[string][]*leaf[T]{}
	}
	x.cache[strings.Clone(typ)] = found // typ is a view of an envelope
	return found
}

// walk collects the leaves below a node for the tokens that are left.
func (n *node[T]) walk(typ string, found []*leaf[T]) []*leaf[T] {
	if n.rest != nil {
		found = append(found, n.rest)
	}
	token, tail, more := strings.Cut(typ, ".")
	for _, next := range []*node[T]{n.exact[token], n.star} {
		switch {
		case next == nil:
		case more:
			found = next.walk(tail, found)
		case next.here != nil:
			found = append(found, next.here)
		}
	}
	return found
}

// leaf finds or, when asked to, makes the leaf of a pattern.
func (x *Index[T]) leaf(pattern string, create bool) *leaf[T] {
	if pattern == "" {
		return x.ensure(&x.any, create)
	}
	n := &x.root
	for more := true; more; {
		var token string
		token, pattern, more = strings.Cut(pattern, ".")
		if token == ">" {
			return x.ensure(&n.rest, create)
		}
		next := n.star
		if token != "*" {
			next = n.exact[token]
		}
		if next == nil {
			if !create {
				return nil
			}
			next = new(node[T])
			if token == "*" {
				n.star = next
			} else {
				if n.exact == nil {
					n.exact = map[string]*node[T]{}
				}
				n.exact[strings.Clone(token)] = next
			}
		}
		n = next
	}
	return x.ensure(&n.here, create)
}

// ensure makes a leaf where there is none; what types lead to has then changed.
func (x *Index[T]) ensure(at **leaf[T], create bool) *leaf[T] {
	if *at == nil && create {
		*at = new(leaf[T])
		x.forget()
	}
	return *at
}

// forget drops what is remembered of types: what they lead to has changed.
func (x *Index[T]) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cache = nil
}

// prune removes the leaf of a pattern, which is empty, and the nodes that lead
// to nothing else.
func (x *Index[T]) prune(pattern string) {
	if pattern == "" {
		x.any = nil
	} else {
		x.root.prune(pattern)
	}
	x.forget()
}

// prune reports whether the node leads to nothing any more.
func (n *node[T]) prune(pattern string) bool {
	token, tail, more := strings.Cut(pattern, ".")
	next := n.star
	switch token {
	case ">":
		n.rest = nil
		return n.empty()
	case "*":
	default:
		next = n.exact[token]
	}
	if !more {
		next.here = nil
	}
	if more && next.prune(tail) || !more && next.empty() {
		if token == "*" {
			n.star = nil
		} else {
			delete(n.exact, token)
		}
	}
	return n.empty()
}

func (n *node[T]) empty() bool {
	return len(n.exact) == 0 && n.star == nil && n.here == nil && n.rest == nil
}

// empty reports whether nothing hangs at the leaf; tables without keys go.
func (lf *leaf[T]) empty() bool {
	unused := func(t table[T]) bool { return len(t.by) == 0 }
	lf.values = slices.DeleteFunc(lf.values, unused)
	lf.prefixes = slices.DeleteFunc(lf.prefixes, unused)
	lf.printTables = slices.DeleteFunc(lf.printTables, func(t printTable[T]) bool { return t.used == 0 })
	return len(lf.values)+len(lf.prefixes)+len(lf.scan)+len(lf.printTables) == 0
}

// entry is one way by which a conjunct is found in a leaf: its access predicate
// with one value, a prefix, or neither (attr is empty).
type entry[T comparable] struct {
	attr   string
	key    string
	prefix bool
	left   filter.Conjunct // what is to be verified
}

// access chooses how a conjunct is found: by the required value whose attribute
// tells most conjuncts of the leaf apart, else by a prefix. When it is not for
// adding, it names the ways that the conjunct may have been added by.
func (lf *leaf[T]) access(c filter.Conjunct, adding bool) []entry[T] {
	best, bestRank := -1, -1
	var choices []int
	for i, p := range c.Preds {
		if p.Op != filter.In {
			continue
		}
		choices = append(choices, i)
		if r := lf.rank(p.Attr); r > bestRank {
			best, bestRank = i, r
		}
	}
	if adding && best >= 0 {
		choices = []int{best}
	}
	var entries []entry[T]
	for _, i := range choices {
		p := c.Preds[i]
		for _, v := range p.Values {
			entries = append(entries, entry[T]{attr: p.Attr, key: v, left: without(c, i)})
		}
	}
	if len(entries) > 0 {
		return entries
	}
	for i, p := range c.Preds {
		if p.Op == filter.Prefix {
			return []entry[T]{{attr: p.Attr, key: p.Values[0], prefix: true, left: without(c, i)}}
		}
	}
	return []entry[T]{{left: c}}
}

// rank says how well an attribute's values tell conjuncts apart: by those that
// are there, and where they are equally many by how it is with most events.
func (lf *leaf[T]) rank(attr string) int {
	n := 0
	for i := range lf.values {
		if lf.values[i].attr == attr {
			n = len(lf.values[i].by)
		}
	}
	order := []string{"source", "partitionkey", "subject"}
	return n*4 + slices.Index(order, attr) + 1
}

func without(c filter.Conjunct, pred int) filter.Conjunct {
	c.Type = ""
	c.Preds = slices.Delete(slices.Clone(c.Preds), pred, pred+1)
	if len(c.Preds) == 0 {
		c.Preds = nil
	}
	return c
}
