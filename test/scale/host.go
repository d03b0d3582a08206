package scale

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/skeinmesh/skein/gossip/fact"
	"github.com/skeinmesh/skein/routing"
	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

// Times of package node and of transport.
const (
	tickEvery    = 250 * time.Millisecond
	compareEvery = time.Second
	downAfter    = 1200 * time.Millisecond // three heartbeats
	dialAfter    = time.Second
)

// host is a node: its machines, wired as package node wires them. A node of a
// region that is not heard has a table alone, and if it is a gateway the fact
// machine by which it tells its region's summary.
type host struct {
	w         *world
	id        peer.ID
	region    *region
	at        int // in world.heard, or -1
	gateway   bool
	publisher bool
	up        bool
	boot      uint64

	table    *routing.Table
	machine  *fact.Machine
	graph    *graph.Graph // of gateways and publishers in heard regions
	said     *said        // of gateways in heard regions
	sessions map[peer.ID]*session
	subs     []*subscription
	wants    []string // before it has said so

	completed bool               // it has said that it has said all
	dirty     bool               // its table may have something new to say
	moved     bool               // its graph may have
	bridged   map[[2]string]bool // what graph.Apart said at bridgedAt
	bridgedAt time.Time
	interests []*wait
	summaries []*wait
	lingers   int
	fresh     []*track // that its interest is to carry, from when it speaks next
	pending   []*track // the same of its summary
	flows     *flows
	order     map[peer.ID]time.Time // when the latest event comes to a peer: lanes keep order
	traffic   traffic
	free      time.Time // when all that was sent before has left
}

// nobody is a subscriber.
type nobody struct{}

func (nobody) Deliver(string, *event.Event) {}
func (nobody) Gap(*queue.Gap)               {}

func (h *host) peer() peer.Peer { return peer.Peer{ID: h.id, Region: h.region.name, Boot: h.boot} }

func newTable(self peer.ID, region string) *routing.Table {
	t := routing.New(self, region)
	t.UseKeys([]byte("the key of the mesh"))
	return t
}

// speaks reports whether facts of this host are modelled.
func (h *host) speaks() bool { return h.region.heard || h.gateway }

// says reports whether the host says what its region wants.
func (h *host) says() bool { return h.gateway || h.w.cfg.everyNode }

// start gives a host the machines of a node that has just started.
func (h *host) start() {
	h.table = newTable(h.id, h.region.name)
	h.sessions = map[peer.ID]*session{}
	h.completed, h.dirty, h.moved, h.interests, h.summaries = false, false, true, nil, nil
	if !h.speaks() {
		return
	}
	if h.region.heard && (h.gateway || h.publisher) {
		h.graph = graph.New(h.peer(), func() { h.moved = true })
	}
	sumKey := sha256.Sum256([]byte("skein: sums of facts"))
	c := fact.Config{
		Self: h.id, Region: h.region.name, Incarnation: h.boot, Key: sumKey[:16], Topics: topics,
		Seed: h.w.rng.Uint64(), Compare: compareEvery, Forget: 15 * time.Minute,
	}
	if h.graph != nil {
		c.Bridge = h.bridge
	}
	h.machine = fact.New(c)
	for _, r := range h.w.regions {
		for _, o := range r.hosts {
			if o != h && o.speaks() && (o.says() || r == h.region) {
				h.machine.Alive(h.w.now, o.id)
				if h.graph != nil {
					h.graph.SetPeer(o.peer())
				}
			}
		}
	}
	boot := h.boot
	h.w.every(tickEvery, time.Duration(h.w.rng.Int64N(int64(tickEvery))), func() bool {
		if h.up && h.boot == boot {
			h.machine.Tick(h.w.now)
			h.dirty = true
			if !h.completed && h.synced() {
				h.complete()
			}
			h.settle(nil)
		}
		return h.up && h.boot == boot
	})
}

// bridge is graph.Apart. Finding all routes anew at each of many changes that come
// at once is left out: what it says may be bridgedFor old.
func (h *host) bridge(from, to string) bool {
	if h.w.now.Sub(h.bridgedAt) >= bridgedFor {
		h.bridged, h.bridgedAt = map[[2]string]bool{}, h.w.now
	}
	key := [2]string{from, to}
	apart, known := h.bridged[key]
	if !known {
		apart = h.graph.Apart(from, to)
		h.bridged[key] = apart
	}
	return apart
}

const bridgedFor = 10 * time.Millisecond

// synced reports whether the host knows what its peers knew when it linked to
// them.
func (h *host) synced() bool {
	for id := range h.sessions {
		if !h.machine.Synced(id) {
			return false
		}
	}
	return len(h.sessions) > 0
}

// complete says that the host has said all that there is.
func (h *host) complete() {
	if h.completed {
		return
	}
	h.completed = true
	h.settle(nil)
	h.machine.Complete(topicInterest)
	if h.says() {
		h.machine.Complete(topicSummary)
		h.machine.Complete(topicReach)
	}
	h.machine.Complete(topicCost)
}

// settle does what a node does after each input: apply what changed, say what is
// new, and only then send. from is whose message it was, if it was one.
func (h *host) settle(from *host) {
	for {
		changes := h.machine.Changes()
		for i := range changes {
			h.apply(&changes[i], from)
		}
		if !h.speak() && len(changes) == 0 {
			break
		}
	}
	for _, m := range h.machine.Out() {
		h.w.send(h, h.w.hosts[m.To], m.Body)
	}
	h.machine.Rumors() // all of them are lost
}

// apply hands a peer's facts to whom they concern.
func (h *host) apply(c *fact.Change, from *host) {
	owner := h.w.hosts[c.Owner]
	switch c.Topic {
	case topicInterest:
		h.arrived(owner, topicInterest)
		if h.says() || h.publisher {
			h.w.must(h.table.SetNode(c.Owner, c.Adds, c.Removes, c.Full))
			h.dirty = true
		}
	case topicSummary:
		s := owner.summary()
		if c.Full {
			h.w.moreBytes(from, h, s.baseBytes)
		}
		switch {
		case owner.region == h.region && h.says():
			adds, removes, full := s.meaning(c)
			h.table.SetFellow(c.Owner, adds, removes, full)
			h.dirty = true
		case owner.region != h.region && h.publisher:
			adds, removes, full := s.meaning(c)
			h.w.must(h.table.SetRegion(c.Region, c.Owner, adds, removes, full))
		}
		if owner.region != h.region {
			h.arrived(owner, topicSummary)
		}
	case topicReach:
		if h.graph != nil {
			h.graph.SetReach(c.Owner, h.machine.Entries(c.Owner, topicReach))
		}
	}
}

// summary is what the host says as a gateway.
func (h *host) summary() *said {
	if h.said != nil {
		return h.said
	}
	return h.region.said
}

// speak says what the host has to say now; it reports whether that was anything.
func (h *host) speak() bool {
	spoke := false
	if h.moved && h.gateway {
		h.moved = false
		adds, removes := difference(h.reach(), h.machine.Entries(h.id, topicReach))
		h.w.must(h.machine.Set(topicReach, adds, removes))
		spoke = len(adds)+len(removes) > 0
	}
	if !h.dirty {
		return spoke
	}
	h.dirty = false
	adds, removes := h.table.InterestChanges(h.w.now)
	tracks := h.fresh
	h.fresh = nil
	if h.region.heard {
		h.w.must(h.machine.Set(topicInterest, adds, removes))
		h.tell(topicInterest, tracks)
		spoke = len(adds)+len(removes) > 0
	} else {
		h.pass(adds, removes, tracks)
	}
	if h.said != nil {
		adds, removes := h.table.SummaryChanges(h.w.now)
		adds, removes = h.said.tell(adds, removes)
		h.w.must(h.machine.Set(topicSummary, adds, removes))
		spoke = spoke || len(adds)+len(removes) > 0
		h.pending = append(h.pending, tracks...)
		h.after()
	}
	return spoke
}

// reach is what the host's graph says, or would say if it had one.
func (h *host) reach() (list []string) {
	if h.graph != nil {
		return h.graph.Reach()
	}
	for _, r := range h.w.regions {
		if r != h.region && !h.w.apart[pair(r, h.region)] {
			list = append(list, fmt.Sprintf("%s %d", r.name, graph.Cost(2*h.w.oneWay(h.region, r), 0, 0)))
		}
	}
	slices.Sort(list)
	return list
}

// pass tells the gateways of a region that is not heard what a node of it wants
// now, as they know it when that has come over the LAN.
func (h *host) pass(adds, removes []string, tracks []*track) {
	if len(adds)+len(removes)+len(tracks) == 0 {
		return
	}
	r, w := h.region, h.w
	w.after(lanDelay, func() {
		w.must(r.table.SetNode(h.id, adds, removes, false))
		r.speak(w, tracks)
	})
}

// speak has the gateways of a region that is not heard say what is new.
func (r *region) speak(w *world, tracks []*track) {
	adds, removes := r.table.SummaryChanges(w.now)
	adds, removes = r.said.tell(adds, removes)
	for _, g := range r.gateways {
		if !g.up || len(adds)+len(removes)+len(tracks) == 0 {
			continue
		}
		w.must(g.machine.Set(topicSummary, adds, removes))
		g.tell(topicSummary, tracks)
		g.settle(nil)
	}
}

// gone marks what a summary no longer says of what it said from the beginning.
const gone = "\x00"

// tell is what a change of a summary is as a change of the difference from base:
// the same in size, and in meaning to who had base.
func (s *said) tell(adds, removes []string) (more, less []string) {
	for _, e := range adds {
		if s.base[e] {
			less = append(less, gone+e)
			delete(s.told, gone+e)
		} else {
			more = append(more, e)
			s.told[e] = true
		}
	}
	for _, e := range removes {
		if s.base[e] {
			more = append(more, gone+e)
			s.told[gone+e] = true
		} else {
			less = append(less, e)
			delete(s.told, e)
		}
	}
	slices.Sort(more)
	slices.Sort(less)
	return more, less
}

// meaning is what a change of the difference says of the summary.
func (s *said) meaning(c *fact.Change) (adds, removes []string, full bool) {
	sort := func(list []string, add bool) {
		for _, e := range list {
			base := e[:1] == gone
			if base {
				e = e[1:]
			}
			if base != add {
				adds = append(adds, e)
			} else {
				removes = append(removes, e)
			}
		}
	}
	if !c.Full && !c.Forgotten {
		sort(c.Adds, true)
		sort(c.Removes, false)
		return adds, removes, false
	}
	all := map[string]bool{}
	for e := range s.base {
		all[e] = true
	}
	for _, e := range c.Adds {
		if e[:1] == gone {
			delete(all, e[1:])
		} else {
			all[e] = true
		}
	}
	for e := range all {
		adds = append(adds, e)
	}
	slices.Sort(adds)
	return adds, nil, true
}

// difference is what must be added to and removed from old to get want; both
// are sorted.
func difference(want, old []string) (adds, removes []string) {
	for _, e := range want {
		if _, has := slices.BinarySearch(old, e); !has {
			adds = append(adds, e)
		}
	}
	for _, e := range old {
		if _, has := slices.BinarySearch(want, e); !has {
			removes = append(removes, e)
		}
	}
	return adds, removes
}

func sortedKeys(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
