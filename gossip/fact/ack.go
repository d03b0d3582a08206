package fact

import (
	"maps"
	"slices"
	"strings"

	"github.com/skeinmesh/skein/transport/peer"
)

// Acked returns the linked peers in scope that have not acknowledged a version
// of this node's facts on a topic. A peer of another region counts as waiting
// until all peers of its region that are linked to it have the version, too.
func (m *Machine) Acked(t Topic, ver uint64) (waiting []peer.ID) {
	f := m.own(t)
	for _, l := range m.line {
		if !m.pushes(f, l) {
			continue
		}
		mk := f.marks[l.ID]
		if mk == nil || mk.have < ver || l.Region != m.cfg.Region && mk.spread < ver {
			waiting = append(waiting, l.ID)
		}
	}
	return waiting
}

// acknowledge tells a peer what is here of a fact.
func (m *Machine) acknowledge(l *link, k key) {
	f := m.facts[k]
	if l == nil || f == nil {
		return
	}
	a := ack{key: k, inc: f.version.inc, ver: f.version.ver}
	if k.owner == l.ID && l.Region != m.cfg.Region {
		a.spread = m.spread(f)
		f.told = a.spread
	}
	m.append(l, kindAck, appendAck(nil, &a))
}

// spread is the version that this node and all linked peers of its region have.
func (m *Machine) spread(f *fact) uint64 {
	ver := f.version.ver
	for _, l := range m.line {
		if l.Region == m.cfg.Region {
			mk := f.marks[l.ID]
			if mk == nil {
				return 0
			}
			ver = min(ver, mk.have)
		}
	}
	return ver
}

// tellSpread tells the owner of a relayed fact how far it got, if that grew.
func (m *Machine) tellSpread(f *fact) {
	owner := m.links[f.owner]
	if owner == nil || !f.relayed || owner.Region == m.cfg.Region {
		return
	}
	if m.spread(f) > f.told {
		m.acknowledge(owner, f.key)
	}
}

// takeAck notes what a peer has.
func (m *Machine) takeAck(l *link, a *ack) {
	f := m.facts[a.key]
	if f == nil || f.version.inc != a.inc || a.ver > f.version.ver || !m.pushes(f, l) {
		return
	}
	m.marked(f, l, a.ver, min(a.spread, a.ver))
}

// marked notes that a peer has a version, and how far it spread from there.
func (m *Machine) marked(f *fact, l *link, have, spread uint64) {
	mk := f.mark(l.ID)
	grew := have > mk.have
	mk.have, mk.spread = max(mk.have, have), max(mk.spread, spread)
	if grew {
		m.tellSpread(f)
	}
}

// pulling is what is being pulled, in an order that is always the same.
func (m *Machine) pulling() []key {
	return slices.SortedFunc(maps.Keys(m.pulls), func(a, b key) int {
		if c := strings.Compare(string(a.owner), string(b.owner)); c != 0 {
			return c
		}
		return int(a.topic) - int(b.topic)
	})
}
