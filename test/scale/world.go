package scale

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/skeinmesh/skein/gossip/fact"
	"github.com/skeinmesh/skein/routing"
	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/routing/match"
	"github.com/skeinmesh/skein/transport/peer"
)

// config says how large a mesh is and what becomes of it.
type config struct {
	regions       int
	nodes         int           // of a region
	subscriptions int           // of a node
	heard         int           // regions that are modelled whole
	lifetime      time.Duration // of a subscription, on average
	crashEvery    time.Duration // between crashes of nodes, while nodes crash
	publish       time.Duration // between events, at each publisher
	calm          time.Duration // how long nothing fails,
	crashes       time.Duration // then nodes crash,
	cut           time.Duration // then one region is cut from half of the others and, as long again, from all,
	joined        time.Duration // and then it is not any more
	everyNode     bool          // says a summary of its region, not its gateways alone
	seed          uint64
	log           func(what string)
}

// world is the mesh.
type world struct {
	clock
	cfg     config
	rng     *rand.Rand
	load    *workload
	regions []*region
	hosts   map[peer.ID]*host
	heard   []*host // those of the heard regions, by host.at
	rtt     [][]time.Duration
	apart   map[[2]int]bool // pairs of regions that are cut from each other

	subs  []*subscription // that live
	truth *match.Index[*subscription]
	open  map[*track]struct{}

	flowing  []*flows
	due      map[int]*expectation // by number of the event
	found    []*subscription
	numbered map[flow.ID][]int // events, by their number in a flow less one
	silent   bool              // nothing is published

	phase  *phase
	phases []*phase
	failed []string // what must not happen and did
}

// region is the nodes with LAN latency between them.
type region struct {
	number   int
	name     string
	heard    bool
	hosts    []*host
	gateways []*host

	// Of a region that is not heard, what its gateways know: one table for all.
	table *routing.Table
	said  *said
}

// said is what a summary says, as its gateways tell it: as the difference from
// base, which everybody has had since before the beginning.
type said struct {
	base      map[string]bool
	baseBytes int
	told      map[string]bool
}

// subscription is one in the mesh.
type subscription struct {
	host    *host
	number  int // in world.subs
	live    *routing.Subscription
	track   *track // nil of those that were there at the beginning
	ended   bool
	request filter.Filter
}

// begin makes the mesh: all nodes linked, all knowing what all want.
func begin(cfg config) *world {
	w := &world{
		clock: clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
		cfg:   cfg, rng: rand.New(rand.NewPCG(cfg.seed, 3)), hosts: map[peer.ID]*host{},
		apart: map[[2]int]bool{}, truth: match.New[*subscription](), open: map[*track]struct{}{}, due: map[int]*expectation{}, numbered: map[flow.ID][]int{},
	}
	w.load = newWorkload(w.rng, cfg.regions, cfg.nodes*cfg.subscriptions)
	w.phase = &phase{name: "the beginning"}
	w.measureDistances()
	for i := range cfg.regions {
		w.settleRegion(i)
	}
	for _, r := range w.regions {
		w.populate(r)
	}
	cfg.log("all have subscribed")
	w.connectAll()
	for _, r := range w.regions {
		w.announce(r)
	}
	w.lives()
	w.publishAll()
	w.run(settleFor)
	cfg.log("all know of each other")
	return w
}

// The round trips between regions.
const (
	shortestTrip = 80 * time.Millisecond
	longestTrip  = 150 * time.Millisecond
)

// measureDistances gives each pair of regions a round trip.
func (w *world) measureDistances() {
	w.rtt = make([][]time.Duration, w.cfg.regions)
	for a := range w.rtt {
		w.rtt[a] = make([]time.Duration, w.cfg.regions)
		for b := range a {
			d := shortestTrip + time.Duration(w.rng.Int64N(int64(longestTrip-shortestTrip)))
			w.rtt[a][b], w.rtt[b][a] = d, d
		}
	}
}

// settleRegion makes a region's nodes.
func (w *world) settleRegion(i int) {
	r := &region{number: i, name: fmt.Sprintf("region-%02d", i), heard: i < w.cfg.heard}
	w.regions = append(w.regions, r)
	ranks := graph.New(peer.Peer{Region: "nowhere"}, func() {})
	for range w.cfg.nodes {
		h := &host{w: w, id: peer.ID(fmt.Sprintf("%016x", w.rng.Uint64())), region: r, at: -1, up: true, boot: 1, order: map[peer.ID]time.Time{}}
		r.hosts = append(r.hosts, h)
		w.hosts[h.id] = h
		ranks.SetPeer(h.peer())
		if r.heard {
			h.at = len(w.heard)
			w.heard = append(w.heard, h)
		}
	}
	for _, id := range ranks.Gateways(r.name) {
		w.hosts[id].gateway = true
		r.gateways = append(r.gateways, w.hosts[id])
	}
	for _, h := range r.hosts {
		if r.heard && !h.gateway {
			h.publisher = true
			break
		}
	}
}

// populate has all of a region's nodes subscribe, and its gateways know it.
func (w *world) populate(r *region) {
	for _, h := range r.hosts {
		h.start()
		for range w.cfg.subscriptions {
			w.subscribe(h)
		}
		h.wants, _ = h.table.InterestChanges(w.now)
	}
	know := func(t *routing.Table, self *host) *said {
		for _, h := range r.hosts {
			if h != self {
				w.must(t.SetNode(h.id, h.wants, nil, true))
			}
		}
		s := &said{base: map[string]bool{}, told: map[string]bool{}}
		adds, _ := t.SummaryChanges(w.now)
		if w.cfg.heard == w.cfg.regions {
			s.tell(adds, nil)
			return s
		}
		for _, e := range adds {
			s.base[e] = true
		}
		s.baseBytes = listBytes(adds)
		return s
	}
	if !r.heard {
		r.table = newTable("of "+peer.ID(r.name), r.name)
		r.said = know(r.table, nil)
		return
	}
	for _, h := range r.hosts {
		if h.says() {
			h.said = know(h.table, h)
		}
	}
}

// announce has a region's nodes say what they have to say.
func (w *world) announce(r *region) {
	for _, h := range r.hosts {
		if h.machine == nil {
			continue
		}
		if r.heard {
			w.must(h.machine.Set(topicInterest, h.wants, nil))
		}
		if h.says() {
			w.must(h.machine.Set(topicSummary, sortedKeys(h.summary().told), nil))
		}
		h.wants = nil
		h.complete()
		h.settle(nil)
	}
}

// listBytes is what a sorted list of entries takes in a message.
func listBytes(list []string) (n int) {
	before := ""
	for _, e := range list {
		shared := 0
		for shared < len(before) && shared < len(e) && before[shared] == e[shared] {
			shared++
		}
		n += len(e) - shared + 3
		before = e
	}
	return n
}

// must notes an error that the product does not have when it is well.
func (w *world) must(err error) {
	if err != nil {
		w.fail("%v", err)
	}
}

// fail notes what must not happen.
func (w *world) fail(format string, args ...any) {
	if len(w.failed) < 20 {
		w.failed = append(w.failed, fmt.Sprintf("%s: ", w.phase.name)+fmt.Sprintf(format, args...))
	}
}

// subscribe adds a subscription at a node. Its interest is said when the node
// speaks next.
func (w *world) subscribe(h *host) *subscription {
	s := &subscription{host: h, number: len(w.subs), request: w.load.interest(h.region.number)}
	s.live = h.table.Subscribe(namespace, s.request, nobody{}, "")
	for _, c := range s.request.Conjuncts {
		w.truth.Add(c, s)
	}
	w.subs = append(w.subs, s)
	h.subs = append(h.subs, s)
	return s
}

// unsubscribe ends a subscription.
func (w *world) unsubscribe(s *subscription) {
	last := w.subs[len(w.subs)-1]
	w.subs[s.number], last.number = last, s.number
	w.subs = w.subs[:len(w.subs)-1]
	s.ended = true
	s.host.subs = slices.DeleteFunc(s.host.subs, func(o *subscription) bool { return o == s })
	s.host.table.Unsubscribe(s.live)
	w.ended(s)
	for _, c := range s.request.Conjuncts {
		w.truth.Remove(c, s)
	}
}

// topics of the facts, and who is told, as package node has them.
const (
	topicInterest fact.Topic = 1
	topicSummary  fact.Topic = 2
	topicReach    fact.Topic = 3
	topicCost     fact.Topic = 4
)

var topics = map[fact.Topic]fact.Scope{
	topicInterest: fact.Region, topicSummary: fact.Mesh, topicReach: fact.Mesh, topicCost: fact.Region,
}
