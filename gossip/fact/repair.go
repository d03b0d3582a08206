package fact

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// maxTries is how often a pull is repeated before it is left to the digests.
const maxTries = 3

// wholeEvery is how many comparisons there are for one that sends the digest
// itself, which says also which owners are alive.
const wholeEvery = 32

// maxRumor bounds a rumor, in bytes; maxInline the deltas in it.
const (
	maxRumor  = 1100
	maxInline = 900
)

// Tick does what time asks for; it may be called at any time, and should be
// several times in each Config.Compare.
func (m *Machine) Tick(now time.Time) {
	m.now = now
	if m.gossip && now.Sub(m.rumored) >= m.cfg.Rumor {
		m.gossip, m.rumored = false, now
		m.rumors = []Rumor{{Name: "facts", Body: m.rumor()}}
	}
	if now.Sub(m.compared) < m.cfg.Compare {
		return
	}
	m.compared = now
	m.retry()
	m.compare()
	m.expire()
}

// compare sends digests to links that owe an answer, and compares with two random
// ones: by the stamp of what a digest would say, since most often it is the same.
func (m *Machine) compare() {
	owes := map[peer.ID]bool{}
	for _, f := range m.order {
		if f.owner != m.cfg.Self && !f.relayed {
			continue
		}
		for _, l := range m.line {
			if l.heard && m.pushes(f, l) && m.unanswered(f, l, f.mark(l.ID)) {
				owes[l.ID] = true
			}
		}
	}
	var near, far []*link
	for _, l := range m.line {
		switch {
		case !l.heard || owes[l.ID]:
			if m.now.Sub(l.asked) >= m.cfg.Compare {
				m.digest(l, flagAnswer)
			}
		case l.Region == m.cfg.Region:
			near = append(near, l)
		default:
			far = append(far, l)
		}
	}
	for _, some := range [][]*link{near, far} {
		switch {
		case len(some) == 0:
		case m.rand.IntN(wholeEvery) == 0:
			m.digest(some[m.rand.IntN(len(some))], flagAnswer)
		default:
			l := some[m.rand.IntN(len(some))]
			m.append(l, kindStamp, binary.BigEndian.AppendUint64(nil, uint64(m.stamp(l))))
		}
	}
}

// stamp is a hash of all that a digest for a peer would say of states.
func (m *Machine) stamp(l *link) (s sum) {
	for _, f := range m.order {
		if f.version.ver > 0 && m.inScope(f, l) {
			s += f.state(m.key)
		}
	}
	return s
}

// takeStamp answers with a digest if a peer has other states than this node.
func (m *Machine) takeStamp(l *link, r *reader) {
	if s := sum(r.number()); r.err == nil && s != m.stamp(l) {
		m.digest(l, flagAnswer)
	}
}

// unanswered reports whether a peer should have acknowledged by now what it has
// not.
func (m *Machine) unanswered(f *fact, l *link, mk *mark) bool {
	far := f.owner == m.cfg.Self && l.Region != m.cfg.Region
	return m.now.Sub(mk.at) >= m.cfg.Compare && (mk.have < f.version.ver || far && mk.spread < f.version.ver)
}

// takeDigest compares what a peer has with what is here.
func (m *Machine) takeDigest(l *link, r *reader) {
	flags := r.byte()
	offer := flags&flagAck != 0
	for len(r.b) > 0 {
		h := r.head()
		if r.err != nil {
			return
		}
		if !offer && !l.heard && m.welcome(&h) && m.lacks(&h) {
			if l.behind == nil {
				l.behind = map[key]version{}
			}
			l.behind[h.key] = h.version
		}
		m.takeHead(l, &h, offer, flags&flagAnswer == 0)
	}
	if r.err != nil || offer {
		return
	}
	l.heard = true
	// What it lacks it will see in the answer and pull: only what comes after that
	// is pushed. If there is no answer, what came after our digest is pushed now.
	for _, f := range m.order {
		if !m.pushes(f, l) || f.version.ver == 0 {
			continue
		}
		switch mk := f.mark(l.ID); {
		case max(mk.have, mk.sent) >= f.version.ver:
		case flags&flagAnswer != 0:
			mk.sent, mk.at = f.version.ver, m.now
		default:
			m.touch(f)
		}
	}
	if flags&flagAnswer == 0 {
		return
	}
	for _, f := range m.order {
		if f.owner == l.ID {
			m.acknowledge(l, f.key)
		}
	}
	m.digest(l, 0)
}

// takeHead compares one fact's state at a peer with what is here. The peer
// waits to hear of it if it offers it; or if it answers a digest that did not
// have it yet, for what was missing there it expects to be asked for.
func (m *Machine) takeHead(l *link, h *head, offer, answer bool) {
	f := m.facts[h.key]
	if f != nil && f.version.inc == h.version.inc && h.version.ver <= f.version.ver && m.pushes(f, l) {
		if h.version.ver < f.version.ver || h.sum == f.sum {
			m.marked(f, l, h.version.ver, 0)
		}
	}
	if !m.welcome(h) {
		if f != nil && f.owner == m.cfg.Self && m.conflicts(h) {
			m.stats.Conflicts++
			m.sendFull(l, f)
		}
		return
	}
	switch {
	case m.lacks(h):
		m.ask(h.key, h.version, l)
	case m.conflicts(h):
		if m.links[h.owner] != nil {
			m.resync(l, h.key)
		}
	default:
		f.gone = m.goneSince(h)
		m.relay(f, l)
		if offer || answer && !f.at.Before(l.asked) {
			m.acknowledge(l, h.key)
		}
	}
}

// ask pulls a fact from a peer, or, when it is not known who has it, from its
// owner or somebody in scope. It does not ask twice for the same.
func (m *Machine) ask(k key, want version, l *link) {
	q := m.pulls[k]
	if q != nil && !q.want.less(want) && m.links[q.to] != nil && m.now.Sub(q.at) < m.cfg.Compare {
		if l != nil && l.ID != q.to && !slices.Contains(q.told, l.ID) {
			q.told = append(q.told, l.ID)
		}
		return
	}
	if l == nil {
		if l = m.anyone(k, ""); l == nil {
			return
		}
	}
	if q == nil || q.want.less(want) {
		var told []peer.ID
		if q != nil {
			told = append(q.told, q.to)
		}
		q = &pull{want: want, told: told}
		m.pulls[k] = q
	}
	m.send(k, q, l)
}

// redirect asks others for what a peer whose link went down was asked for.
func (m *Machine) redirect(gone peer.ID) {
	for _, k := range m.pulling() {
		q := m.pulls[k]
		if q.to != gone {
			continue
		}
		q.at = time.Time{} // whoever tells of it next is asked
		for _, id := range q.told {
			if l := m.links[id]; l != nil {
				m.send(k, q, l)
				break
			}
		}
	}
}

// answered ends the question for a fact that is here now, and tells those who
// told of it.
func (m *Machine) answered(f *fact) {
	q := m.pulls[f.key]
	if q == nil || f.version.less(q.want) {
		return
	}
	delete(m.pulls, f.key)
	for _, id := range q.told {
		m.held(m.links[id], f.key)
	}
}

func (m *Machine) send(k key, q *pull, l *link) {
	q.to, q.at = l.ID, m.now
	q.tries++
	have := version{}
	if f := m.facts[k]; f != nil {
		have = f.version
	}
	m.append(l, kindPull, appendPull(nil, k, have))
	m.stats.Pulls++
}

// anyone is a linked peer that may have a fact: its owner, or somebody else.
func (m *Machine) anyone(k key, but peer.ID) *link {
	if l := m.links[k.owner]; l != nil && k.owner != but {
		return l
	}
	var some []*link
	for _, l := range m.line {
		if l.ID != but && (m.cfg.Topics[k.topic] == Mesh || l.Region == m.cfg.Region) {
			some = append(some, l)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[m.rand.IntN(len(some))]
}

// retry repeats pulls that were not answered, elsewhere.
func (m *Machine) retry() {
	for _, k := range m.pulling() {
		q := m.pulls[k]
		if m.now.Sub(q.at) < m.cfg.Compare {
			continue
		}
		l := m.anyone(k, q.to)
		if l == nil || q.tries >= maxTries {
			delete(m.pulls, k)
			continue
		}
		m.send(k, q, l)
	}
}

// takePull answers a peer that asks for what is newer than it has.
func (m *Machine) takePull(l *link, k key, have version) {
	f := m.facts[k]
	if f == nil || !m.inScope(f, l) || !have.less(f.version) || f.version.ver == 0 {
		return
	}
	m.serve(l, f, have)
}

// expire forgets the facts of owners that stayed away, and that they were.
func (m *Machine) expire() {
	for i := 0; i < len(m.order); {
		f := m.order[i]
		if f.owner != m.cfg.Self && !f.gone.IsZero() && m.now.Sub(f.gone) >= m.cfg.Forget {
			m.forget(f)
			continue
		}
		i++
	}
	for k, t := range m.tombs {
		if m.now.Sub(t.at) >= m.cfg.Remember {
			delete(m.tombs, k)
		}
	}
}

// forget drops a fact and remembers that it did.
func (m *Machine) forget(f *fact) {
	delete(m.facts, f.key)
	delete(m.pulls, f.key)
	for i, o := range m.order {
		if o == f {
			m.order = append(m.order[:i], m.order[i+1:]...)
			break
		}
	}
	for i, d := range m.dirty {
		if d == f {
			m.dirty = append(m.dirty[:i], m.dirty[i+1:]...)
			break
		}
	}
	m.tombs[f.key] = tomb{f.version, m.now}
	m.stats.Forgotten++
	m.changes = append(m.changes, Change{Owner: f.owner, Region: f.region, Topic: f.topic, Forgotten: true})
}

// rumor is what gossip should tell of this node's facts: the latest changes as
// far as there is room, else their versions.
func (m *Machine) rumor() []byte {
	b := m.begin()
	inline := 0
	for _, f := range m.order {
		if f.owner != m.cfg.Self || f.version.ver == 0 {
			continue
		}
		k, c := kindDigest, []byte(nil)
		for i := range f.steps { // the longest past that fits
			if d := m.encodeDelta(f, f.steps[i].base); d != nil && inline+len(d) <= maxInline {
				k, c = kindDelta, d
				inline += len(d)
				break
			}
		}
		if c == nil {
			h := m.head(f)
			c = appendHead([]byte{0}, &h)
		}
		if len(b)+len(c)+4 > maxRumor {
			break
		}
		b = appendRecord(b, k, c)
	}
	return b
}
