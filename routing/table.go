// Package routing decides who gets an event. It moves nothing: node asks, node
// acts.
//
// Three tiers of interest are kept. Subscriptions stay on their node. What they
// add up to is the node's interest, which goes to its region; the interests of
// a region's nodes add up to its summary, which goes to all regions. Each tier
// drops what a single event can be checked for only at the subscriber (a
// filter's rest) and what something wider says already (see cover). A summary
// is kept small beyond that: many values are said as fingerprints, and where it
// takes more than its budget, what costs the least selectivity is said wider
// (see summary). A tier may be wider than the truth, never narrower.
//
// Interests are said as entries: opaque strings, in differences since the last
// time (see announcer). New ones are said at once, those that are over linger.
//
// Table is pure: no sockets, no clock, no goroutines. Its methods may be called
// concurrently. What an update has changed, every Match after it sees.
package routing

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/match"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

// How long an interest that is over is still said: to the region, and to the
// mesh.
const (
	InterestLinger = 10 * time.Second
	SummaryLinger  = 30 * time.Second
)

// Receiver gets the events that its subscription's filter accepts, and hears of
// those that it may have missed. Its methods must not block, and may be called
// concurrently.
type Receiver interface {
	Deliver(ns string, ev *event.Event)
	Gap(g *queue.Gap)
}

// Subscription is a live one in a Table.
type Subscription struct {
	ns       string
	filter   filter.Filter
	receiver Receiver
	label    string
	number   uint64 // of its own in the table
	ended    bool
}

// Table is what one node knows of who wants what. Make it with New.
type Table struct {
	self   peer.ID
	region string

	hearing sync.Mutex // held while what a peer says is applied

	mu       sync.RWMutex // guards the fields below; taken after hearing
	spaces   map[string]*space
	subs     map[*Subscription]struct{}
	streams  map[string]*Stream // by the name they were set by
	numbers  uint64             // of subscriptions so far
	interest *cover             // of this node's subscriptions
	told     *announcer
	summary  *summary                               // of this node's told interest and of the region's nodes'
	keys     map[uint32]match.Key                   // of the fingerprints that can be read, by ID
	nodes    map[peer.ID]map[string]bool            // entries by node
	costs    map[peer.ID]map[string]struct{}        // of this region's summary, by node that says so
	fellows  map[peer.ID]map[string]struct{}        // widened entries, by other gateway of this region
	regions  map[string]map[peer.ID]map[string]bool // entries by region and gateway
	unions   map[string]map[string]int              // by region: how many gateways say an entry
	sizes    map[string]int                         // by region: interests and fingerprints in its union

	keeps            atomic.Int64  // streams
	unwanted, strays atomic.Uint64 // see Stats
}

// space is one namespace's share of the table.
type space struct {
	local   *match.Index[*Subscription]
	remote  *match.Index[target]
	streams *match.Index[*Stream] // nil while there are none
}

// target is a node of this region or, when the ID is empty, another region.
type target struct {
	node   peer.ID
	region string
}

// New makes the table of a node where nobody wants anything.
func New(self peer.ID, region string) *Table {
	t := &Table{
		self: self, region: region,
		spaces:  map[string]*space{},
		subs:    map[*Subscription]struct{}{},
		streams: map[string]*Stream{},
		told:    newAnnouncer(InterestLinger),
		keys:    map[uint32]match.Key{},
		nodes:   map[peer.ID]map[string]bool{},
		costs:   map[peer.ID]map[string]struct{}{},
		fellows: map[peer.ID]map[string]struct{}{},
		regions: map[string]map[peer.ID]map[string]bool{},
		unions:  map[string]map[string]int{},
		sizes:   map[string]int{},
	}
	t.interest = newCover(func(in *covered, on bool) { t.told.set(in.entry, on) })
	t.summary = newSummary()
	t.UseKeys(nil)
	return t
}

// UseKeys sets the secrets that fingerprints in summaries are made with: the
// first for what this node says, each for what it hears. What is said with
// another one is taken for the wider interest without fingerprints. It must be
// called before any other method; where it is not, anybody can make fingerprints.
func (t *Table) UseKeys(secrets ...[]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.keys)
	for i := len(secrets) - 1; i >= 0; i-- {
		key := match.NewKey(secrets[i])
		t.keys[key.ID] = key
		t.summary.key = key
	}
}

func (t *Table) space(ns string) *space {
	s := t.spaces[ns]
	if s == nil {
		s = &space{local: match.New[*Subscription](), remote: match.New[target]()}
		t.spaces[ns] = s
	}
	return s
}

// prune forgets a namespace in which nobody wants anything.
func (t *Table) prune(ns string) {
	if s := t.spaces[ns]; s != nil && s.local.Len() == 0 && s.remote.Len() == 0 && (s.streams == nil || s.streams.Len() == 0) {
		delete(t.spaces, ns)
	}
}

// Subscribe adds a subscription. The label is for people.
func (t *Table) Subscribe(ns string, f filter.Filter, r Receiver, label string) *Subscription {
	s := &Subscription{ns: ns, filter: f, receiver: r, label: label}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.numbers++
	s.number = t.numbers
	t.subs[s] = struct{}{}
	for _, c := range f.Conjuncts {
		t.space(ns).local.Add(c, s)
		wide := interestIn(c)
		t.interest.add(EncodeEntry(ns, wide), ns, wide)
	}
	return s
}

// Unsubscribe ends a subscription; again is nothing.
func (t *Table) Unsubscribe(s *Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	delete(t.subs, s)
	for _, c := range s.filter.Conjuncts {
		t.space(s.ns).local.Remove(c, s)
		t.interest.remove(EncodeEntry(s.ns, interestIn(c)))
	}
	t.prune(s.ns)
}

// InterestChanges is what this node must say now, to its region, of what it
// wants: the difference since the last call.
func (t *Table) InterestChanges(now time.Time) (adds, removes []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	adds, removes = t.told.drain(now)
	for _, e := range adds {
		if ns, c, err := DecodeEntry(e); err == nil { // our own
			t.summary.cover.add(e, ns, c)
		}
	}
	for _, e := range removes {
		t.summary.cover.remove(e)
	}
	return adds, removes
}

// SummaryChanges is what this node must say now, to the mesh, of what its
// region wants: the difference since the last call. Call InterestChanges first.
func (t *Table) SummaryChanges(now time.Time) (adds, removes []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.summary.drain(now)
}

// SetNode changes what a node of this region wants; with full, adds is all
// there is. An entry that cannot be read is left out, and the error names it.
func (t *Table) SetNode(id peer.ID, adds, removes []string, full bool) error {
	t.hearing.Lock()
	defer t.hearing.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.setNode(id, adds, removes, full)
}

func (t *Table) setNode(id peer.ID, adds, removes []string, full bool) error {
	have := t.nodes[id]
	if have == nil {
		have = map[string]bool{}
		t.nodes[id] = have
	}
	return t.change(have, adds, removes, full, func(s string, e *entry) error {
		if s[0]&kindMask != kindInterest {
			return fmt.Errorf("%w: a node says what only regions may", ErrEntry)
		}
		t.space(e.ns).remote.Add(e.conjunct, target{node: id})
		t.summary.cover.add(s, e.ns, e.conjunct)
		return nil
	}, func(s string, e *entry) {
		t.space(e.ns).remote.Remove(e.conjunct, target{node: id})
		t.summary.cover.remove(s)
		t.prune(e.ns)
	})
}

// DropNode forgets what a node of this region wants.
func (t *Table) DropNode(id peer.ID) {
	t.hearing.Lock()
	defer t.hearing.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.setNode(id, nil, nil, true) // nothing to read
	delete(t.nodes, id)
	if _, has := t.costs[id]; has {
		delete(t.costs, id)
		t.hearCosts()
	}
}

// SetRegion changes what a gateway of another region says that region wants;
// with full, adds is all it says. What any of its gateways says counts.
func (t *Table) SetRegion(region string, gateway peer.ID, adds, removes []string, full bool) error {
	t.hearing.Lock()
	defer t.hearing.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.setRegion(region, gateway, adds, removes, full)
}

func (t *Table) setRegion(region string, gateway peer.ID, adds, removes []string, full bool) error {
	if t.regions[region] == nil {
		t.regions[region] = map[peer.ID]map[string]bool{}
		t.unions[region] = map[string]int{}
	}
	have, union := t.regions[region][gateway], t.unions[region]
	if have == nil {
		have = map[string]bool{}
		t.regions[region][gateway] = have
	}
	to := target{region: region}
	return t.change(have, adds, removes, full, func(s string, e *entry) error {
		s, prints := t.heard(region, s, e, t.sizes[region] < maxHeard)
		if union[s]++; union[s] > 1 {
			return nil
		}
		if prints != nil {
			t.space(e.ns).remote.AddPrints(*prints, to)
			t.sizes[region] += len(prints.Set)
		} else {
			t.space(e.ns).remote.Add(e.conjunct, to)
			t.sizes[region]++
		}
		return nil
	}, func(s string, e *entry) {
		s, prints := t.heard(region, s, e, false)
		if union[s]--; union[s] > 0 {
			return
		}
		delete(union, s)
		if prints != nil {
			t.space(e.ns).remote.RemovePrints(*prints, to)
			t.sizes[region] -= len(prints.Set)
		} else {
			t.space(e.ns).remote.Remove(e.conjunct, to)
			t.sizes[region]--
		}
		t.prune(e.ns)
	})
}

// maxHeard bounds the fingerprints and interests of one region's summary above
// which fingerprints are taken for the wider interest without them.
const maxHeard = 1 << 20

// heard is what an entry of a region counts as, and its fingerprints if it counts
// as these: when they can be read and there is room or they are there already.
// Interests are the same whatever they stand for.
func (t *Table) heard(region, s string, e *entry, room bool) (string, *match.Prints) {
	if e.prints != nil && (room || t.unions[region][s] > 0) {
		if key, has := t.keys[e.prints.Key.ID]; has {
			e.prints.Key = key
			return s, e.prints
		}
	}
	if s[0]&kindMask != kindInterest {
		s = EncodeEntry(e.ns, e.conjunct)
	}
	return s, nil
}

// DropGateway forgets what a gateway said.
func (t *Table) DropGateway(region string, gateway peer.ID) {
	t.hearing.Lock()
	defer t.hearing.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.setRegion(region, gateway, nil, nil, true) // nothing to read
	delete(t.regions[region], gateway)
	if len(t.regions[region]) == 0 {
		delete(t.regions, region)
		delete(t.unions, region)
		delete(t.sizes, region)
	}
}

// change brings a set of entries up to date and calls on and off for what is
// new and what is gone: new ones first, so that nothing is narrower meanwhile.
// What on refuses is left out. Events are matched in between: when there is much
// to change they must not wait for all of it.
func (t *Table) change(have map[string]bool, adds, removes []string, full bool, on func(s string, e *entry) error, off func(s string, e *entry)) (err error) {
	if full {
		keep := make(map[string]bool, len(adds))
		for _, s := range adds {
			keep[s] = true
		}
		removes = nil
		for s := range have {
			if !keep[s] {
				removes = append(removes, s)
			}
		}
		slices.Sort(removes)
	}
	for i, s := range adds {
		t.pause(i)
		if have[s] {
			continue
		}
		e, bad := readEntry(s)
		if bad == nil {
			bad = on(s, &e)
		}
		if bad != nil {
			err = bad
			continue
		}
		have[s] = true
	}
	for i, s := range removes {
		t.pause(i)
		if !have[s] {
			continue
		}
		delete(have, s)
		if e, bad := readEntry(s); bad == nil { // it was read before
			off(s, &e)
		}
	}
	return err
}

// pause lets others have the table now and then.
func (t *Table) pause(change int) {
	if change%256 == 255 {
		t.mu.Unlock()
		t.mu.Lock()
	}
}
