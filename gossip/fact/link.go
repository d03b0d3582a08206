package fact

import (
	"slices"
	"strings"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// link is a peer that messages can be exchanged with, and what waits for it.
type link struct {
	Link
	inc    uint64 // the incarnation it speaks in, once it has spoken
	heard  bool   // its digest came: it is known what it has
	asked  time.Time
	behind map[key]version // what its first digest had that is not here yet

	body   []byte   // under way to be a message
	bodies [][]byte // full ones before it
	parts  map[key]*assembly
}

// LinkUp says that messages can be exchanged with a peer from now on. Called
// for a peer that is linked already, it means a new session: what was under way
// on the old one may be lost.
func (m *Machine) LinkUp(now time.Time, p Link) {
	m.now = now
	m.LinkDown(now, p.ID)
	if p.ID == m.cfg.Self {
		return
	}
	l := &link{Link: p}
	m.links[p.ID] = l
	at, _ := slices.BinarySearchFunc(m.line, p.ID, func(l *link, id peer.ID) int {
		return strings.Compare(string(l.ID), string(id))
	})
	m.line = slices.Insert(m.line, at, l)
	for _, f := range m.order {
		if f.owner == p.ID {
			f.gone, f.told = time.Time{}, 0
			m.relay(f, l)
		}
	}
	m.digest(l, flagAnswer)
}

// LinkDown says that a peer cannot be reached directly. Its facts stay.
func (m *Machine) LinkDown(now time.Time, id peer.ID) {
	m.now = now
	l := m.links[id]
	if l == nil {
		return
	}
	delete(m.links, id)
	m.line = slices.DeleteFunc(m.line, func(o *link) bool { return o == l })
	m.redirect(id)
	for _, f := range m.order {
		if f.owner == id && !m.alive[id] {
			f.gone = now
		}
		delete(f.marks, id)
		m.tellSpread(f) // who is not linked is not waited for
	}
}

// Alive says that a node is a member of the mesh, linked or not.
func (m *Machine) Alive(now time.Time, id peer.ID) {
	m.now = now
	if m.alive[id] {
		return
	}
	m.alive[id] = true
	for _, f := range m.order {
		if f.owner == id {
			f.gone = time.Time{}
		}
	}
}

// Gone says that a node is no longer a member of the mesh. If it left, its
// facts are forgotten at once, else after Config.Forget, unless it comes back.
func (m *Machine) Gone(now time.Time, id peer.ID, left bool) {
	m.now = now
	delete(m.alive, id)
	if id == m.cfg.Self {
		return
	}
	for i := 0; i < len(m.order); i++ {
		switch f := m.order[i]; {
		case f.owner != id:
		case left:
			m.forget(f) // takes it out of the order
			i--
		case m.links[id] == nil && f.gone.IsZero():
			f.gone = now
		}
	}
}

// seen reports whether a node is known to live.
func (m *Machine) seen(id peer.ID) bool { return m.alive[id] || m.links[id] != nil }

// Synced reports whether a linked peer's digest has come since the link came
// up, and all that it had then is here.
func (m *Machine) Synced(id peer.ID) bool {
	l := m.links[id]
	if l == nil || !l.heard {
		return false
	}
	for k, want := range l.behind {
		if f := m.facts[k]; f != nil && !f.version.less(want) || m.tombs[k].version == want {
			delete(l.behind, k)
		}
	}
	return len(l.behind) == 0
}

// append adds a record to what waits for the peer.
func (m *Machine) append(l *link, k kind, content []byte) {
	if len(l.body)+len(content)+8 > MaxBody && l.body != nil {
		l.bodies = append(l.bodies, l.body)
		l.body = nil
	}
	if l.body == nil {
		l.body = m.begin()
	}
	l.body = appendRecord(l.body, k, content)
}

// take is what waits for the peer.
func (l *link) take() [][]byte {
	all := l.bodies
	if l.body != nil {
		all = append(all, l.body)
	}
	l.bodies, l.body = nil, nil
	return all
}

// digest tells a peer what is here.
func (m *Machine) digest(l *link, flags byte) {
	l.asked = m.now
	content := []byte{flags}
	for _, f := range m.order {
		if f.version.ver == 0 || !m.inScope(f, l) {
			continue
		}
		h := m.head(f)
		content = appendHead(content, &h)
		if len(content) > MaxBody-1024 {
			m.append(l, kindDigest, content)
			content = []byte{0} // one answer is enough
		}
	}
	m.append(l, kindDigest, content)
}

// head is the head of a fact as it is here.
func (m *Machine) head(f *fact) head {
	h := head{key: f.key, region: f.region, version: f.version, sum: f.sum, complete: f.complete}
	if !f.gone.IsZero() {
		h.gone = 1 + uint64(max(0, m.now.Sub(f.gone)/time.Second))
	}
	return h
}

// relay notes that a fact from another region is this node's to pass on, if
// the link it came by, or could come by, leaves the region.
func (m *Machine) relay(f *fact, l *link) {
	if l == nil || f.relayed || m.cfg.Topics[f.topic] != Mesh || f.region == m.cfg.Region || l.Region == m.cfg.Region {
		return
	}
	f.relayed = true
	m.touch(f)
}

// pushes reports whether this node passes a fact on to a peer.
func (m *Machine) pushes(f *fact, l *link) bool {
	switch {
	case !m.inScope(f, l) || f.owner == l.ID:
		return false
	case f.owner == m.cfg.Self:
		return true
	}
	return f.relayed && (l.Region == m.cfg.Region || l.Region != f.region && m.cfg.Bridge(f.region, l.Region))
}

// pushAll passes the present version of a fact on to all it is to reach. A peer
// whose digest has not come yet will pull: what is here is in ours.
func (m *Machine) pushAll(f *fact) {
	if f.version.ver == 0 {
		return
	}
	content := map[uint64][]byte{} // by base; nil where an offer must do
	for _, l := range m.line {
		if !l.heard || !m.pushes(f, l) {
			continue
		}
		mk := f.mark(l.ID)
		base := max(mk.sent, mk.have)
		if base >= f.version.ver {
			continue
		}
		c, made := content[base]
		if !made {
			c = m.encodeDelta(f, base)
			content[base] = c
		}
		if c != nil {
			m.append(l, kindDelta, c)
		} else {
			m.offer(l, f)
		}
		mk.sent, mk.at = f.version.ver, m.now
	}
	m.tellSpread(f)
}

// encodeDelta is the delta from a version to the present one, or nil when it is
// not remembered or large.
func (m *Machine) encodeDelta(f *fact, base uint64) []byte {
	st, ok := f.since(base)
	if !ok || st.bytes() > maxStepBytes {
		return nil
	}
	return appendDelta(nil, &delta{head: m.head(f), base: st.base, adds: st.adds, removes: st.removes})
}

// offer asks a peer to pull a fact, or to say that it has it.
func (m *Machine) offer(l *link, f *fact) {
	h := m.head(f)
	m.append(l, kindDigest, appendHead([]byte{flagAck}, &h))
}

// serve sends a peer what it lacks of a fact.
func (m *Machine) serve(l *link, f *fact, have version) {
	c := []byte(nil)
	if have.inc == f.version.inc {
		c = m.encodeDelta(f, have.ver)
	}
	if c != nil {
		m.append(l, kindDelta, c)
	} else {
		m.sendFull(l, f)
	}
	if m.pushes(f, l) {
		mk := f.mark(l.ID)
		mk.sent, mk.at = f.version.ver, m.now
	}
}

// sendFull sends a fact whole, in as many parts as it takes.
func (m *Machine) sendFull(l *link, f *fact) {
	all := make([]string, 0, len(f.set))
	for e := range f.set {
		all = append(all, e)
	}
	slices.Sort(all)
	var parts [][]string
	for from := 0; from < len(all) || from == 0; {
		to, size := from, 0
		for to < len(all) && (size == 0 || size+len(all[to])+8 <= maxRaw/8) {
			size += len(all[to]) + 8
			to++
		}
		parts = append(parts, all[from:to])
		if to == len(all) {
			break
		}
		from = to
	}
	for i, p := range parts {
		m.append(l, kindFull, appendFull(nil, &full{head: m.head(f), part: uint64(i), parts: uint64(len(parts)), entries: p}))
	}
}
