package node

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/skeinmesh/skein/gossip/fact"
	"github.com/skeinmesh/skein/transport/peer"
)

// doubts are what a node does not know that was ready all the same, since others
// did not answer, or not any more: what some regions want, or nodes of its own. What is published
// meanwhile finds no way to those who may want it. It has a place in the flows to
// them all the same: once they have told what they want, and before anything that
// finds its way by that, comes a gap.
type doubts struct {
	// mu is held for reading while it is looked up who wants an event, and for
	// writing while that changes: an event is either before the gap or behind it.
	mu      sync.RWMutex
	regions map[string]*atomic.Bool // whether something was published since the last gap, by region
	nodes   map[peer.ID]bool        // of the own region
	own     atomic.Bool             // whether something was published that they may want
}

// newDoubts is nil when there is nothing to doubt.
func newDoubts(regions []string, nodes []peer.ID) *doubts {
	if len(regions)+len(nodes) == 0 {
		return nil
	}
	d := &doubts{regions: map[string]*atomic.Bool{}, nodes: map[peer.ID]bool{}}
	for _, r := range regions {
		d.regions[r] = new(atomic.Bool)
	}
	for _, id := range nodes {
		d.nodes[id] = true
	}
	return d
}

// lose hears that nobody tells any more what a region wants: it has been out of
// sight for so long that all was forgotten. Until it tells again, what is published
// here finds no way there. spread's lock is held.
func (f *flows) lose(region string) {
	d := f.doubts.Load()
	if d == nil {
		d = newDoubts([]string{region}, nil)
		d.regions[region].Store(true) // somebody may be publishing just now
		f.doubts.Store(d)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.regions[region] == nil {
		d.regions[region] = new(atomic.Bool)
		d.regions[region].Store(true)
	}
}

// match looks up who wants an event that is published here.
func (d *doubts) match(lookUp func()) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.own.Store(true)
	for _, said := range d.regions {
		said.Store(true)
	}
	lookUp()
}

// learn applies what a peer has told. spread's lock is held.
func (f *flows) learn(c *fact.Change, apply func(*fact.Change)) {
	d := f.doubts.Load()
	if d == nil {
		apply(c)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case c.Topic == topicSummary:
		f.confess(d, c.Region)
	case c.Topic == topicInterest && d.nodes[c.Owner]:
		if d.own.Load() {
			f.skip()
		}
	}
	apply(c)
}

// settleDoubts ends the doubts about the regions that have told all that they
// want, and the nodes that have said something. spread's lock is held.
func (f *flows) settleDoubts(told func(region string) bool, heard func(peer.ID) bool) {
	d := f.doubts.Load()
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for region := range d.regions {
		if told(region) {
			f.confess(d, region)
			delete(d.regions, region)
		}
	}
	maps.DeleteFunc(d.nodes, func(id peer.ID, _ bool) bool { return heard(id) })
	if len(d.regions)+len(d.nodes) == 0 {
		f.doubts.Store(nil)
	}
}

// confess gives what was published since the last gap, without knowing what a
// region wants, its place in the flows to it. d.mu is held.
func (f *flows) confess(d *doubts, region string) {
	if said := d.regions[region]; said == nil || !said.Swap(false) {
		return
	}
	for i := range f.lanes {
		l := &f.lanes[i]
		l.mu.Lock()
		l.origin.Doubt(region, l.number)
		l.mu.Unlock()
	}
	signal(f.pump)
}

// skip does the same in the flows to the own region. Who has been linked all the
// time is told to have missed nothing.
func (f *flows) skip() {
	for i := range f.lanes {
		l := &f.lanes[i]
		l.mu.Lock()
		l.entry.Skip(&l.own)
		l.mu.Unlock()
	}
}
