package routing

import (
	"cmp"
	"slices"
	"strings"

	"github.com/skeinmesh/skein/routing/filter"
)

// edge is how values of an attribute begin or end: op is Prefix or Suffix.
type edge struct {
	attr string
	op   filter.Op
}

// edges finds, among the interests of a group, by how values begin or end: those
// that ask for what a value begins with, by the lengths there are; and those
// whose values all begin with something, in their order, once that was asked.
type edges struct {
	lengths []int // of what interests filed by this edge ask for: distinct, sorted
	counts  []int // of them, by length
	order   *order
}

// file counts an interest filed by this edge: n is 1 or -1.
func (e *edges) file(length, n int) {
	i, has := slices.BinarySearch(e.lengths, length)
	if !has {
		e.lengths, e.counts = slices.Insert(e.lengths, i, length), slices.Insert(e.counts, i, 0)
	}
	if e.counts[i] += n; e.counts[i] == 0 {
		e.lengths, e.counts = slices.Delete(e.lengths, i, i+1), slices.Delete(e.counts, i, i+1)
	}
}

// cut is the part of a value, n bytes, that the edge compares.
func (e edge) cut(value string, n int) string {
	if e.op == filter.Prefix {
		return value[:n]
	}
	return value[len(value)-n:]
}

// key is what an order sorts a value by; which begins with another key where the
// value begins, or ends, with the other's value.
func (e edge) key(value string) string {
	if e.op == filter.Prefix {
		return value
	}
	b := []byte(value)
	slices.Reverse(b)
	return string(b)
}

// value is one that an interest's values all are, or begin or end with: if it
// does not begin with something, not all of them do. ok is false when the
// interest says nothing of that.
func (e edge) value(c *filter.Conjunct) (v string, ok bool) {
	for _, p := range c.Preds {
		if p.Attr == e.attr && (p.Op == filter.In || p.Op == e.op) {
			return p.Values[0], true
		}
	}
	return "", false
}

// order is the interests of a group in the order of a key. What is new waits
// aside until it is worth sorting in; what is gone is left in for a while.
type order struct {
	sorted []ordered
	fresh  []ordered
	gone   int // about how many are no longer listed
}

type ordered struct {
	key string
	in  *covered
}

// maxFresh is how many interests may wait to be sorted in when the order is
// asked. While it is not, more wait: as many as are sorted.
const maxFresh = 256

func (o *order) add(key string, in *covered) {
	if o.fresh = append(o.fresh, ordered{key, in}); len(o.fresh) > maxFresh+len(o.sorted) {
		o.merge()
	}
}

func (o *order) remove() {
	if o.gone++; o.gone > maxFresh && o.gone > len(o.sorted)/2 {
		o.merge()
	}
}

// merge sorts in what is new and leaves out what is gone.
func (o *order) merge() {
	compare := func(a, b ordered) int {
		return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.in.entry, b.in.entry))
	}
	slices.SortFunc(o.fresh, compare)
	all := make([]ordered, 0, len(o.sorted)+len(o.fresh))
	push := func(x ordered) {
		if x.in.listed && (len(all) == 0 || all[len(all)-1] != x) {
			all = append(all, x)
		}
	}
	for a, b := o.sorted, o.fresh; len(a)+len(b) > 0; {
		if len(b) == 0 || len(a) > 0 && compare(a[0], b[0]) <= 0 {
			push(a[0])
			a = a[1:]
		} else {
			push(b[0])
			b = b[1:]
		}
	}
	o.sorted, o.fresh, o.gone = all, nil, 0
}

// begin calls yield with the interests whose key begins with a string; with one
// perhaps more than once.
func (o *order) begin(with string, yield func(*covered)) {
	if len(o.fresh) > maxFresh {
		o.merge()
	}
	i, _ := slices.BinarySearchFunc(o.sorted, with, func(x ordered, k string) int { return strings.Compare(x.key, k) })
	for ; i < len(o.sorted) && strings.HasPrefix(o.sorted[i].key, with); i++ {
		if o.sorted[i].in.listed {
			yield(o.sorted[i].in)
		}
	}
	for _, x := range o.fresh {
		if x.in.listed && strings.HasPrefix(x.key, with) {
			yield(x.in)
		}
	}
}
