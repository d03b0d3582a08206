package fact

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Topic names a kind of facts. What it means is the caller's business.
type Topic uint8

// Scope says who is told of a topic.
type Scope uint8

const (
	Region Scope = iota + 1 // the peers of the owner's region
	Mesh                    // all regions
)

// Config says who tells and what about.
type Config struct {
	Self        peer.ID
	Region      string
	Incarnation uint64          // counts the starts of Self; must grow with each
	Topics      map[Topic]Scope // facts on other topics are ignored
	Key         []byte          // of the sums, 16 bytes: the same on all nodes for the mesh's life, whatever keys are rotated
	Seed        uint64          // of the choice whom to compare with

	// Bridge reports whether a region's facts come to another only through third
	// ones, of which this node's may be one. It is asked often. Default: never.
	Bridge func(from, to string) bool

	Forget   time.Duration // how long facts of a gone owner are kept. Default 10m.
	Remember time.Duration // how long it is remembered that they were forgotten. Default 24h.
	Compare  time.Duration // between digests with random peers, and until something unanswered is asked again. Default 1s.
	Rumor    time.Duration // between rumors, at least. Default 500ms.
}

// Link is a peer that messages can be exchanged with.
type Link struct {
	ID     peer.ID
	Region string
}

// Message is a body for a linked peer. One that cannot be sent may be dropped.
type Message struct {
	To   peer.ID
	Body []byte
}

// Change is a difference in what the others tell.
type Change struct {
	Owner         peer.ID
	Region        string // the owner's
	Topic         Topic
	Full          bool     // Adds is all there is now
	Adds, Removes []string // sorted
	Forgotten     bool     // the owner is gone for good, and its facts with it
}

// Rumor is a body for gossip; a later one of the same name replaces it.
type Rumor struct {
	Name string
	Body []byte
}

// Stats are counters since New, and what is held now.
type Stats struct {
	Facts     int    // sets of other owners
	Entries   int    // in them
	Deltas    uint64 // applied
	Fulls     uint64 // applied
	Pulls     uint64 // sent
	Conflicts uint64 // states of one version that differ: never without a defect or a node identity used twice
	Impostors uint64 // facts of this node's next incarnation, told by another node
	Malformed uint64 // messages that could not be read
	Forgotten uint64 // facts whose owner stayed away
}

// ErrTooLarge means that an entry exceeds MaxEntry or a fact MaxFact.
var ErrTooLarge = errors.New("fact: too large")

// Machine tells this node's facts and keeps the others'. It is not safe for
// concurrent use.
//
// After each input the caller takes Changes, applies them, and only then takes
// Out: acknowledgements in it say that the changes are applied.
type Machine struct {
	cfg  Config
	key  hashKey
	rand *rand.Rand
	now  time.Time // of the last input

	facts map[key]*fact
	order []*fact // of facts: the same for the same inputs
	links map[peer.ID]*link
	line  []*link // of links, by ID
	alive map[peer.ID]bool
	tombs map[key]tomb
	pulls map[key]*pull

	dirty   []*fact // to be passed on by Out
	changes []Change
	rumors  []Rumor
	rumored time.Time // when the last one was made
	gossip  bool      // own facts changed since

	compared time.Time
	stats    Stats
}

// tomb is what is known of a forgotten fact.
type tomb struct {
	version version
	at      time.Time
}

// pull is a question under way.
type pull struct {
	want  version
	to    peer.ID
	at    time.Time
	tries int
	told  []peer.ID // who told of the fact and was not asked; they wait to hear that it is here
}

// New makes a machine that knows nothing and is linked to nobody. Its own facts
// are empty, and not complete.
func New(cfg Config) *Machine {
	orDefault := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	orDefault(&cfg.Forget, 10*time.Minute)
	orDefault(&cfg.Remember, 24*time.Hour)
	orDefault(&cfg.Compare, time.Second)
	orDefault(&cfg.Rumor, 500*time.Millisecond)
	if cfg.Bridge == nil {
		cfg.Bridge = func(string, string) bool { return false }
	}
	return &Machine{
		cfg: cfg, key: newHashKey(cfg.Key), rand: rand.New(rand.NewPCG(cfg.Seed, cfg.Incarnation)),
		facts: map[key]*fact{}, links: map[peer.ID]*link{},
		alive: map[peer.ID]bool{}, tombs: map[key]tomb{}, pulls: map[key]*pull{},
	}
}

// Set adds entries to and removes entries from this node's facts on a topic; an
// entry named in both is added. Nothing happens when it fails. All that is Set
// before the next Out travels as one change.
func (m *Machine) Set(t Topic, adds, removes []string) error {
	f := m.own(t)
	var st step
	adds = sorted(slices.Clone(adds))
	for _, e := range adds {
		if len(e) > MaxEntry {
			return fmt.Errorf("%w: an entry has %d bytes, %d are allowed", ErrTooLarge, len(e), MaxEntry)
		}
		if _, has := f.set[e]; !has {
			st.adds = append(st.adds, e)
		}
	}
	for _, e := range removes {
		_, added := slices.BinarySearch(adds, e)
		if _, has := f.set[e]; has && !added {
			st.removes = append(st.removes, e)
		}
	}
	st.removes = sorted(st.removes)
	if len(st.adds) == 0 && len(st.removes) == 0 {
		return nil
	}
	s, size := f.after(m.key, st.adds, st.removes)
	if size > MaxFact {
		return fmt.Errorf("%w: a fact of %d bytes, %d are allowed", ErrTooLarge, size, MaxFact)
	}
	st.base, st.ver = f.version.ver, f.version.ver+1
	f.apply(st, s, size, f.complete)
	m.touch(f)
	return nil
}

// Complete says that this node's facts on a topic are all there: what an
// earlier incarnation told and this one has not told again, is over.
func (m *Machine) Complete(t Topic) {
	f := m.own(t)
	if f.complete {
		return
	}
	f.apply(step{base: f.version.ver, ver: f.version.ver + 1}, f.sum, f.size, true)
	m.touch(f)
}

// Version is the version of this node's facts on a topic.
func (m *Machine) Version(t Topic) uint64 { return m.own(t).version.ver }

// Holds reports whether a version of a node's facts, or a later one, is here.
func (m *Machine) Holds(owner peer.ID, t Topic, incarnation, ver uint64) bool {
	f := m.facts[key{owner, t}]
	return f != nil && !f.version.less(version{inc: incarnation, ver: ver})
}

// Entries is what an owner, this node or another, tells on a topic, sorted.
func (m *Machine) Entries(owner peer.ID, t Topic) []string {
	if f := m.facts[key{owner, t}]; f != nil {
		return f.visible()
	}
	return nil
}

// Told lists the other nodes of a region whose facts on a topic are here and
// complete.
func (m *Machine) Told(region string, t Topic) (owners []peer.ID) {
	for _, f := range m.order {
		if f.topic == t && f.region == region && f.complete && f.owner != m.cfg.Self {
			owners = append(owners, f.owner)
		}
	}
	return owners
}

// own is this node's fact on a topic.
func (m *Machine) own(t Topic) *fact {
	k := key{m.cfg.Self, t}
	f := m.facts[k]
	if f == nil {
		f = m.add(k, m.cfg.Region)
		f.version.inc = m.cfg.Incarnation
	}
	return f
}

func (m *Machine) add(k key, region string) *fact {
	f := &fact{key: k, region: region, set: map[string]struct{}{}}
	m.facts[k] = f
	m.order = append(m.order, f)
	return f
}

// touch notes that a fact of this node, or one it relays, has a new version.
func (m *Machine) touch(f *fact) {
	if !slices.Contains(m.dirty, f) {
		m.dirty = append(m.dirty, f)
	}
	if f.owner == m.cfg.Self {
		m.gossip = true
	}
}

// Changes returns what changed of the others' facts since the last call.
func (m *Machine) Changes() []Change {
	c := m.changes
	m.changes = nil
	return c
}

// Out returns what is to be sent, in order for each peer.
func (m *Machine) Out() []Message {
	for _, f := range m.dirty {
		m.pushAll(f)
	}
	clear(m.dirty)
	m.dirty = m.dirty[:0]
	var out []Message
	for _, l := range m.line {
		for _, body := range l.take() {
			out = append(out, Message{To: l.ID, Body: body})
		}
	}
	return out
}

// Rumors returns what is to be gossiped.
func (m *Machine) Rumors() []Rumor {
	r := m.rumors
	m.rumors = nil
	return r
}

// Stats returns the counters.
func (m *Machine) Stats() Stats {
	s := m.stats
	for _, f := range m.order {
		if f.owner != m.cfg.Self {
			s.Facts++
			s.Entries += len(f.set)
		}
	}
	return s
}

// begin is the head of each body this node sends.
func (m *Machine) begin() []byte {
	return binary.AppendUvarint([]byte{format}, m.cfg.Incarnation)
}

// inScope reports whether a peer is told of a fact at all.
func (m *Machine) inScope(f *fact, l *link) bool {
	return m.cfg.Topics[f.topic] == Mesh || f.region == m.cfg.Region && l.Region == m.cfg.Region
}

func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
