package fact

import (
	"fmt"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// assembly is a full state whose parts are coming in.
type assembly struct {
	head head
	next uint64 // the part that is to come
	set  map[string]struct{}
	size int
	sum  sum
}

// maxAssemblies bounds how many full states may come in on one link at a time.
const maxAssemblies = 64

// Receive takes a message of a linked peer; body is not kept. An error means
// that the message does not follow the format: what came before the error is
// applied, the rest is not, and the peer should not be listened to any more.
func (m *Machine) Receive(now time.Time, from peer.ID, body []byte) error {
	m.now = now
	l := m.links[from]
	if l == nil {
		return nil // of a link that went down meanwhile
	}
	r := reader{b: body}
	inc, err := r.begin()
	if err != nil {
		m.stats.Malformed++
		return fmt.Errorf("from %s: %w", from, err)
	}
	switch {
	case inc < l.inc:
		return nil // said before it restarted
	case inc > l.inc && l.inc != 0:
		m.LinkUp(now, l.Link) // it restarted, and nobody told us yet
		l = m.links[from]
	}
	l.inc = inc
	for len(r.b) > 0 && r.err == nil {
		k, rec := r.record()
		if rec.err == nil {
			m.handle(l, k, &rec)
		}
		if rec.err != nil {
			r.err = rec.err
		}
	}
	if r.err != nil {
		m.stats.Malformed++
		return fmt.Errorf("from %s: %w", from, r.err)
	}
	return nil
}

// begin reads the head of a body.
func (r *reader) begin() (inc uint64, err error) {
	if f := r.byte(); r.err == nil && f != format {
		r.fail(fmt.Sprintf("format %d, where this node speaks %d", f, format))
	}
	inc = r.uvarint()
	return inc, r.err
}

// handle does what a record asks for. Records of unknown kind are passed over.
func (m *Machine) handle(l *link, k kind, r *reader) {
	switch k {
	case kindDelta:
		if d := r.delta(); r.err == nil {
			m.takeDelta(l, &d)
		}
	case kindFull:
		if f := r.full(); r.err == nil {
			m.takeFull(l, &f)
		}
	case kindDigest:
		m.takeDigest(l, r)
	case kindStamp:
		m.takeStamp(l, r)
	case kindPull:
		if k, have := r.pull(); r.err == nil {
			m.takePull(l, k, have)
		}
	case kindAck:
		if a := r.ack(); r.err == nil {
			m.takeAck(l, &a)
		}
	}
}

// Rumor takes what gossip brought; body is not kept. An error means that it
// does not follow the format.
func (m *Machine) Rumor(now time.Time, body []byte) error {
	m.now = now
	r := reader{b: body}
	if _, err := r.begin(); err != nil {
		m.stats.Malformed++
		return fmt.Errorf("rumor: %w", err)
	}
	for len(r.b) > 0 && r.err == nil {
		k, rec := r.record()
		switch k {
		case kindDelta:
			if d := rec.delta(); rec.err == nil {
				m.takeDelta(nil, &d)
			}
		case kindDigest:
			for rec.byte(); len(rec.b) > 0 && rec.err == nil; {
				if h := rec.head(); rec.err == nil && m.welcome(&h) && m.lacks(&h) {
					m.ask(h.key, h.version, nil)
				}
			}
		}
		if rec.err != nil {
			r.err = rec.err
		}
	}
	if r.err != nil {
		m.stats.Malformed++
		return fmt.Errorf("rumor: %w", r.err)
	}
	return nil
}

// welcome reports whether a state that somebody tells of may be kept here.
func (m *Machine) welcome(h *head) bool {
	scope, known := m.cfg.Topics[h.topic]
	switch {
	case !known || scope == Region && h.region != m.cfg.Region:
		return false
	case h.owner == m.cfg.Self:
		if h.version.inc > m.cfg.Incarnation {
			m.stats.Impostors++
		}
		return false
	case h.version.ver == 0:
		return false
	}
	t, forgotten := m.tombs[h.key]
	switch {
	case !forgotten:
		return m.seen(h.owner) || time.Duration(h.gone)*time.Second < m.cfg.Forget
	case m.seen(h.owner):
		return !h.version.less(t.version)
	}
	return h.version.inc > t.version.inc && time.Duration(h.gone)*time.Second < m.cfg.Forget
}

// lacks reports whether a state is newer than what is here.
func (m *Machine) lacks(h *head) bool {
	f := m.facts[h.key]
	return f == nil || f.version.less(h.version)
}

// conflicts reports whether a state differs from the one of its version here.
func (m *Machine) conflicts(h *head) bool {
	f := m.facts[h.key]
	return f != nil && f.version == h.version && f.sum != h.sum
}

// takeDelta applies a delta if it fits; l is nil when gossip brought it.
func (m *Machine) takeDelta(l *link, d *delta) {
	if !m.welcome(&d.head) {
		return
	}
	f := m.facts[d.key]
	switch {
	case !m.lacks(&d.head):
		if m.conflicts(&d.head) {
			m.resync(l, d.key)
		}
	case f != nil && f.version.inc == d.version.inc && d.base <= f.version.ver:
		s, size := f.after(m.key, d.adds, d.removes)
		if s != d.sum || size > MaxFact {
			m.resync(l, d.key)
			return
		}
		ch := Change{Owner: f.owner, Region: f.region, Topic: f.topic}
		st := step{base: f.version.ver, ver: d.version.ver, adds: d.adds, removes: d.removes}
		ch.Adds, ch.Removes = f.apply(st, s, size, d.complete)
		m.stats.Deltas++
		m.applied(f, &d.head, ch)
	case d.base == 0:
		a := &assembly{head: d.head, set: map[string]struct{}{}}
		a.add(m.key, d.adds)
		m.replace(a)
		if f := m.facts[d.key]; f != nil && f.version == d.version {
			// A peer at a version between may need the removes that meant nothing here.
			f.remember(step{ver: d.version.ver, adds: d.adds, removes: d.removes})
		}
	default:
		m.ask(d.key, d.version, l)
		return
	}
	m.held(l, d.key)
}

// held acts on a peer having told of a state that is here now.
func (m *Machine) held(l *link, k key) {
	if f := m.facts[k]; f != nil {
		m.relay(f, l)
		m.acknowledge(l, k)
	}
}

// takeFull collects the parts of a whole state, and applies it with the last.
func (m *Machine) takeFull(l *link, p *full) {
	a := l.parts[p.key]
	switch {
	case !m.welcome(&p.head) || !m.lacks(&p.head) && !m.conflicts(&p.head):
		delete(l.parts, p.key)
		if p.part == p.parts-1 {
			m.held(l, p.key)
		}
		return
	case p.part == 0 && len(l.parts) < maxAssemblies:
		a = &assembly{head: p.head, set: make(map[string]struct{}, len(p.entries))}
	case a == nil || a.head.version != p.version || a.head.sum != p.sum || a.next != p.part:
		delete(l.parts, p.key)
		return
	}
	a.next++
	a.add(m.key, p.entries)
	if p.part < p.parts-1 && a.size <= MaxFact {
		if l.parts == nil {
			l.parts = map[key]*assembly{}
		}
		l.parts[p.key] = a
		if q := m.pulls[p.key]; q != nil {
			q.at = m.now // it is coming
		}
		return
	}
	delete(l.parts, p.key)
	m.replace(a)
	m.held(l, p.key)
}

func (a *assembly) add(k hashKey, entries []string) {
	for _, e := range entries {
		if _, has := a.set[e]; !has {
			a.set[e] = struct{}{}
			a.size += len(e)
			a.sum += k.hash(e)
		}
	}
}

// replace puts a whole state in place of what is here, if it is what it claims.
func (m *Machine) replace(a *assembly) {
	h := &a.head
	if a.sum != h.sum || a.size > MaxFact {
		m.stats.Conflicts++
		return
	}
	f := m.facts[h.key]
	if f == nil {
		f = m.add(h.key, h.region)
		delete(m.tombs, h.key)
	}
	f.replace(h, a.set, a.size)
	m.stats.Fulls++
	m.applied(f, h, Change{Owner: f.owner, Region: f.region, Topic: f.topic, Full: true, Adds: f.visible()})
}

// applied notes that a fact has a new state.
func (m *Machine) applied(f *fact, h *head, ch Change) {
	f.gone = m.goneSince(h)
	if ch.Full || len(ch.Adds) > 0 || len(ch.Removes) > 0 {
		m.changes = append(m.changes, ch)
	}
	f.at = m.now
	m.answered(f)
	if f.relayed {
		m.touch(f)
	}
}

// goneSince is when a fact's owner was last seen alive, by this node or by the
// one that tells of it; zero while this node sees it alive.
func (m *Machine) goneSince(h *head) time.Time {
	if m.seen(h.owner) {
		return time.Time{}
	}
	at := m.now.Add(-time.Duration(h.gone) * time.Second)
	if f := m.facts[h.key]; f != nil && f.gone.After(at) {
		at = f.gone
	}
	return at
}

// resync fetches a state again whose version is right and whose content is not.
func (m *Machine) resync(l *link, k key) {
	m.stats.Conflicts++
	if owner := m.links[k.owner]; owner != nil {
		l = owner
	}
	if l != nil {
		m.append(l, kindPull, appendPull(nil, k, version{}))
		m.stats.Pulls++
	}
}
