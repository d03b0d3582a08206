package match

import (
	"slices"
	"strings"

	"github.com/skeinmesh/skein/routing/filter"
)

// add puts a value where the entry says.
func (a *entry[T]) add(lf *leaf[T], v T) {
	if a.attr == "" {
		if c := find(lf.scan, &a.left); c != nil {
			c.more = append(c.more, v)
			return
		}
		lf.scan = append(lf.scan, newClass(a.left, v))
		return
	}
	t := a.table(lf, true)
	for c := t.by[a.key]; c != nil; c = c.next {
		if c.is(&a.left) {
			c.more = append(c.more, v)
			return
		}
	}
	c := newClass(a.left, v)
	c.next = t.by[a.key]
	key := a.key
	if c.next == nil {
		key = strings.Clone(key) // not a view of something larger
		if a.prefix {
			if i, has := slices.BinarySearch(t.lengths, len(key)); !has {
				t.lengths = slices.Insert(t.lengths, i, len(key))
			}
		}
	}
	t.by[key] = c
	if c.next == nil && !a.prefix {
		add(&t.sieve, t.by, key)
	}
}

// remove takes a value away; it reports whether it was there.
func (a *entry[T]) remove(lf *leaf[T], v T) bool {
	if a.attr == "" {
		c := find(lf.scan, &a.left)
		if c == nil {
			return false
		}
		found, empty := c.remove(v)
		if empty {
			lf.scan = slices.DeleteFunc(lf.scan, func(o *class[T]) bool { return o == c })
		}
		return found
	}
	t := a.table(lf, false)
	if t == nil {
		return false
	}
	var before *class[T]
	for c := t.by[a.key]; c != nil; before, c = c, c.next {
		if !c.is(&a.left) {
			continue
		}
		found, empty := c.remove(v)
		switch {
		case !empty:
		case before != nil:
			before.next = c.next
		case c.next != nil:
			t.by[a.key] = c.next
		default:
			delete(t.by, a.key)
		}
		return found
	}
	return false
}

// table finds or makes the leaf's table of the entry's attribute.
func (a *entry[T]) table(lf *leaf[T], create bool) *table[T] {
	tables := &lf.values
	if a.prefix {
		tables = &lf.prefixes
	}
	for i := range *tables {
		if (*tables)[i].attr == a.attr {
			return &(*tables)[i]
		}
	}
	if !create {
		return nil
	}
	*tables = append(*tables, table[T]{attr: a.attr, by: map[string]*class[T]{}})
	return &(*tables)[len(*tables)-1]
}

func newClass[T comparable](left filter.Conjunct, v T) *class[T] {
	c := &class[T]{first: v}
	left.Type = ""
	if len(left.Preds) > 0 || left.Rest != nil {
		c.check = &left
	}
	return c
}

// find finds the class of a conjunct in a list.
func find[T comparable](list []*class[T], left *filter.Conjunct) *class[T] {
	for _, c := range list {
		if c.is(left) {
			return c
		}
	}
	return nil
}

// is reports whether the class is that of a conjunct.
func (c *class[T]) is(left *filter.Conjunct) bool {
	if c.check == nil {
		return len(left.Preds) == 0 && left.Rest == nil
	}
	return c.check.RestText == left.RestText && slices.EqualFunc(c.check.Preds, left.Preds, func(a, b filter.Pred) bool {
		return a.Attr == b.Attr && a.Op == b.Op && slices.Equal(a.Values, b.Values)
	})
}

// remove takes one v out of the class and says whether it was there and whether
// none is left.
func (c *class[T]) remove(v T) (found, empty bool) {
	if i := slices.Index(c.more, v); i >= 0 {
		c.more = slices.Delete(c.more, i, i+1)
		return true, false
	}
	if c.first != v {
		return false, false
	}
	if n := len(c.more); n > 0 {
		c.first, c.more = c.more[n-1], c.more[:n-1]
		return true, false
	}
	return true, true
}
