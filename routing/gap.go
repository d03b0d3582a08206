package routing

import (
	"slices"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/flow"
)

// MatchGap finds this node's subscribers who may have wanted an event that was
// lost, of which only the labels are known.
func (t *Table) MatchGap(labels flow.Labels) []Receiver {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var found []Receiver
	for sub := range t.subs {
		if labels.Any || slices.ContainsFunc(labels.List, sub.mayWant) {
			found = append(found, sub.receiver)
		}
	}
	return found
}

// mayWant reports whether the subscription accepts some event with a label.
func (s *Subscription) mayWant(l flow.Label) bool {
	return s.ns == l.Namespace && slices.ContainsFunc(s.filter.Conjuncts, func(c filter.Conjunct) bool {
		return filter.MatchType(c.Type, l.Type)
	})
}
