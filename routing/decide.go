package routing

import (
	"cmp"
	"slices"

	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

// Match is who gets an event. It may be used again and again: nothing is
// allocated once its lists are long enough.
type Match struct {
	Local   []Receiver // this node's subscribers
	Nodes   []peer.ID  // nodes of this region
	Regions []string   // other regions

	subs    []*Subscription
	targets []target
	blamed  []*offender
}

// Match finds everybody who wants an event: each once.
func (t *Table) Match(ns string, ev *event.Event, m *Match) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	m.reset()
	if s := t.spaces[ns]; s != nil {
		s.matchLocal(ev, m)
		s.matchRemote(ev, m, true)
	}
}

// MatchRegion finds who wants an event in this region: for its entry node. When
// nobody does, it is noted which part of the region's summary let the event
// come.
func (t *Table) MatchRegion(ns string, ev *event.Event, m *Match) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	m.reset()
	if s := t.spaces[ns]; s != nil {
		s.matchLocal(ev, m)
		s.matchRemote(ev, m, false)
	}
	if len(m.Local)+len(m.Nodes) == 0 {
		t.unwanted.Add(1)
		if !t.summary.unwanted(ns, ev, &m.blamed) {
			t.strays.Add(1)
		}
	}
}

// MatchLocal finds who wants an event at this node.
func (t *Table) MatchLocal(ns string, ev *event.Event, m *Match) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	m.reset()
	if s := t.spaces[ns]; s != nil {
		s.matchLocal(ev, m)
	}
}

func (m *Match) reset() {
	clear(m.Local)
	clear(m.subs)
	m.Local, m.Nodes, m.Regions, m.subs, m.targets = m.Local[:0], m.Nodes[:0], m.Regions[:0], m.subs[:0], m.targets[:0]
}

// few is up to how many subscriptions are compared one by one with the others.
const few = 32

func (s *space) matchLocal(ev *event.Event, m *Match) {
	m.subs = s.local.Match(ev, m.subs)
	// Only a filter of several conjuncts can be found more than once.
	several := func(sub *Subscription) bool { return len(sub.filter.Conjuncts) > 1 }
	if len(m.subs) > few && slices.ContainsFunc(m.subs, several) {
		slices.SortFunc(m.subs, func(a, b *Subscription) int { return cmp.Compare(a.number, b.number) })
		m.subs = slices.Compact(m.subs)
	}
	for i, sub := range m.subs {
		if i < few && several(sub) && slices.Contains(m.subs[:i], sub) {
			continue
		}
		m.Local = append(m.Local, sub.receiver)
	}
}

func (s *space) matchRemote(ev *event.Event, m *Match, abroad bool) {
	m.targets = s.remote.Match(ev, m.targets)
	for _, to := range m.targets {
		switch {
		case to.node != "":
			if !slices.Contains(m.Nodes, to.node) {
				m.Nodes = append(m.Nodes, to.node)
			}
		case abroad && !slices.Contains(m.Regions, to.region):
			m.Regions = append(m.Regions, to.region)
		}
	}
}

// Lane is the lane of a key: order holds within one.
func Lane(key string) uint8 {
	h := uint32(2166136261) // FNV-1a
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	h ^= h >> 16
	return uint8(h % graph.Lanes)
}
