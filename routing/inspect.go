package routing

import (
	"cmp"
	"slices"

	"github.com/skeinmesh/skein/transport/peer"
)

// Scope says whose an interest is.
type Scope string

const (
	OfSubscription Scope = "subscription" // of this node
	OfNode         Scope = "node"         // of this region
	OfRegion       Scope = "region"
)

// Interest is one interest, for people.
type Interest struct {
	Scope     Scope
	Namespace string
	Filter    string
	Region    string  // of OfRegion
	Node      peer.ID // of the other two
	Label     string  // of a subscription
	Count     int     // subscriptions with this filter and label
}

// Sizes counts the interests that the table knows, by whose they are: those of
// subscriptions, and what nodes and regions say they want, which sums up.
func (t *Table) Sizes() map[Scope]int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	sizes := map[Scope]int{OfSubscription: len(t.subs), OfNode: 0, OfRegion: 0}
	for _, entries := range t.nodes {
		sizes[OfNode] += len(entries)
	}
	for _, union := range t.unions {
		sizes[OfRegion] += len(union)
	}
	return sizes
}

// Interests lists all that the table knows, sorted.
func (t *Table) Interests() []Interest {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var list []Interest
	counts := map[Interest]int{}
	for s := range t.subs {
		counts[Interest{Scope: OfSubscription, Namespace: s.ns, Filter: s.filter.String(), Node: t.self, Label: s.label}]++
	}
	for in, n := range counts {
		in.Count = n
		list = append(list, in)
	}
	for id, entries := range t.nodes {
		for e := range entries {
			if ns, c, err := DecodeEntry(e); err == nil { // read before
				list = append(list, Interest{Scope: OfNode, Namespace: ns, Filter: c.String(), Node: id})
			}
		}
	}
	for region, union := range t.unions {
		for e := range union {
			if ns, c, err := DecodeEntry(e); err == nil { // read before
				list = append(list, Interest{Scope: OfRegion, Namespace: ns, Filter: c.String(), Region: region})
			}
		}
	}
	slices.SortFunc(list, func(a, b Interest) int {
		return cmp.Or(cmp.Compare(b.Scope, a.Scope), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Node, b.Node),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Filter, b.Filter), cmp.Compare(a.Label, b.Label))
	})
	return list
}
