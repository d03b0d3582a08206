package node

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/peer"
)

// Gap tells this node's subscribers of a loss, each of them that may have wanted
// what was lost. It is the receivers'.
func (l *lane) Gap(g *flow.Gap) {
	if g.First {
		if l.f.past() {
			return
		}
		if old := *g; l.f.uptime() < g.Age { // nobody was here to miss them
			if old.From = max(g.From, g.Old+1); old.From > g.To {
				return
			}
			g = &old
		}
	}
	if g.Cause == flow.OriginLost && !l.f.lost.first(g.Flow.Origin, g.Flow.Boot, l.number) {
		return // another lane has told
	}
	l.f.tell(g)
}

// freshFor is how long after it has entered the mesh a node hears of flows that
// are older than it is.
const freshFor = 3 * time.Second

// entered notes that this node is linked to all others of its region, who have
// told how far their flows are.
func (f *flows) entered() {
	now := time.Now()
	f.fresh.Store(&now)
}

// past reports whether the events before a flow that is new to this node must
// have passed the region before the node was there: it is not ready, or it has
// just entered, and has had all its links since.
func (f *flows) past() bool {
	at := f.fresh.Load()
	return f.n.Ready() != nil || at != nil && time.Since(*at) < freshFor
}

// uptime is how long this node has been running, or longer when its clock was set
// forward: a machine that slept may not have counted that otherwise.
func (f *flows) uptime() time.Duration {
	return max(time.Since(f.started), time.Now().Round(0).Sub(f.started.Round(0)))
}

// disturbed notes that a node of the region is not linked: what is new to this
// one from now on may have passed it by.
func (f *flows) disturbed() { f.fresh.Store(nil) }

// tell tells this node's subscribers of a loss.
func (f *flows) tell(g *flow.Gap) {
	n, now := f.n, time.Now()
	gap := queue.Gap{Cause: queue.Cause(g.Cause.String()), Origin: n.nodeName(g.Flow.Origin), From: now, To: now}
	if g.To >= g.From && g.Cause != flow.Reset {
		gap.Count = g.To - g.From + 1
	}
	told := n.table.MatchGap(g.Labels)
	for _, r := range told {
		r.Gap(&gap)
	}
	n.count.gaps.found[g.Cause].Add(1)
	n.count.gaps.log.Do(func() {
		n.log.Warn("events were lost", "cause", g.Cause, "origin", gap.Origin, "lane", g.Flow.Lane, "from", g.From, "to", g.To, "subscribers", len(told))
	})
}

// gapLogEvery is how often the log tells of a loss at most.
const gapLogEvery = time.Second

// nodeName is what people call a node: its name or, when that is not known, the
// beginning of its ID.
func (n *Node) nodeName(id peer.ID) string {
	if p, ok := n.graph.Peer(id); ok && p.Name != "" {
		return p.Name
	}
	if p, ok := n.book.Peer(id); ok { // it is gone, perhaps
		return p.Name
	}
	if l, ok := n.flows.former.Load(id); ok {
		return l.(*leaver).peer.Name
	}
	return string([]byte(id.Short()))
}

// sightFor is how long a region must be in sight again until a node of it that
// gossip does not find is gone for sure.
const sightFor = 30 * time.Second

// absence is a node that may be gone, or only out of sight.
type absence struct {
	peer  peer.Peer
	since time.Time
	sight time.Time // since when its region is in sight again; zero when it is not
}

// missing hears that gossip takes a node for dead. Nobody can tell a region that is
// cut off from one that is dead: while no way leads there, the node's events may
// still come, and its end is not told until they would have expired.
func (f *flows) missing(p peer.Peer) {
	if p.Region == f.n.self.Region {
		f.died(p)
	}
	if p.Region == f.n.self.Region || f.n.graph.Hop(p.Region, 0).Next != "" {
		f.originGone(p.ID, p.Boot)
		return
	}
	f.absent.Store(p.ID, &absence{peer: p, since: time.Now()})
}

// back hears that a node is there, perhaps after all.
func (f *flows) back(p peer.Peer) {
	f.touch.back(p.ID)
	if a, was := f.absent.LoadAndDelete(p.ID); was {
		if before := a.(*absence).peer; before.Boot < p.Boot {
			f.over(before)
			return
		}
	}
	f.originBack(p.ID, p.Boot)
}

// decide ends the nodes that have been absent for too long. Only run calls it.
func (f *flows) decide(now time.Time) {
	f.absent.Range(func(id, value any) bool {
		a := value.(*absence)
		switch {
		case f.n.graph.Hop(a.peer.Region, 0).Next == "":
			a.sight = time.Time{}
		case a.sight.IsZero():
			a.sight = now
		}
		if now.Sub(a.since) >= f.ttl || !a.sight.IsZero() && now.Sub(a.sight) >= sightFor {
			f.absent.Delete(id)
			f.originGone(a.peer.ID, a.peer.Boot)
		}
		return true
	})
}

// over hears that a start of a node is over since there is a later one.
func (f *flows) over(before peer.Peer) {
	if f.n.hasLeft(before) {
		f.left(before)
		return
	}
	f.originGone(before.ID, before.Boot)
	f.lost.outlived(before.ID, before.Boot+1) // all of it is reported
	if before.Region == f.n.self.Region {
		f.doubtLeavers()
	}
}

// originGone hears that a start of a node is over that has not left.
func (f *flows) originGone(id peer.ID, boot uint64) { f.end(id, boot, false) }

// end ends the flows of a start of a node.
func (f *flows) end(id peer.ID, boot uint64, left bool) {
	now := time.Now()
	for i := range f.lanes {
		l := &f.lanes[i]
		l.mu.Lock()
		l.entry.OriginGone(now, id, boot, left)
		l.receiver.OriginGone(now, id, boot, left)
		l.mu.Unlock()
	}
}

// outlived hears that a start of a node is over of which that was reported before:
// it may have gone on for a while, out of sight, and what it said then is lost, too.
func (f *flows) outlived(p peer.Peer) {
	if old := f.lost.outlived(p.ID, p.Boot); old > 0 {
		f.tell(&flow.Gap{Flow: flow.ID{Origin: p.ID, Boot: old, Lane: flow.AllLanes}, From: 1, Cause: flow.OriginLost, Labels: flow.Labels{Any: true}})
	}
}

// originBack hears that a node which was taken for gone is there after all. What
// it published while it was away may not even have found its way into a flow,
// since it may have forgotten who wanted it: that is another loss to tell of.
func (f *flows) originBack(id peer.ID, boot uint64) {
	for i := range f.lanes {
		l := &f.lanes[i]
		l.mu.Lock()
		l.receiver.OriginBack(id, boot)
		l.mu.Unlock()
	}
	if f.lost.back(id, boot) {
		f.tell(&flow.Gap{Flow: flow.ID{Origin: id, Boot: boot, Lane: flow.AllLanes}, From: 1, Cause: flow.Reset, Labels: flow.Labels{Any: true}})
	}
}

// lostOrigins remembers which starts of nodes were reported as lost: all lanes
// find out, and subscribers hear of it once.
type lostOrigins struct {
	mu    sync.Mutex // guards the map
	boots map[peer.ID]lostOrigin
}

type lostOrigin struct {
	boot  uint64
	at    time.Time
	lanes uint64 // those that have found out
	over  bool   // there is a later start
}

// sameLoss is for how long the lanes' reports of one start's end are of one loss.
// After that it may have been back in between.
const sameLoss = 5 * time.Second

// first reports whether a loss that a lane has found is news. A lane finds each
// loss once: what it finds again is another one, however soon.
func (o *lostOrigins) first(id peer.ID, boot uint64, lane uint8) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.boots == nil {
		o.boots = map[peer.ID]lostOrigin{}
	}
	now, last, bit := time.Now(), o.boots[id], uint64(1)<<lane
	same := last.boot == boot && last.lanes&bit == 0 && now.Sub(last.at) < sameLoss
	switch {
	case last.boot > boot:
		return false
	case same:
		last.lanes |= bit
	default:
		last = lostOrigin{boot: boot, at: now, lanes: bit}
	}
	o.boots[peer.ID([]byte(id))] = last
	return !same
}

// justTold reports whether a node was reported as lost a moment ago.
func (o *lostOrigins) justTold(id peer.ID, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return now.Sub(o.boots[id].at) < sameLoss
}

// outlived notes that a start of a node is over, since there is a later one. If it was
// reported as lost while that was not known, it returns it, else 0.
func (o *lostOrigins) outlived(id peer.ID, boot uint64) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	last, was := o.boots[id]
	if !was || last.over || last.boot >= boot {
		return 0
	}
	last.over = true
	o.boots[id] = last
	return last.boot
}

// back undoes first, and reports whether there was something to undo.
func (o *lostOrigins) back(id peer.ID, boot uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.boots[id].boot == boot && boot > 0
	if was {
		delete(o.boots, id)
	}
	return was
}

// tick forgets what the receivers have forgotten long since.
func (o *lostOrigins) tick(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, lost := range o.boots {
		if now.Sub(lost.at) > 2*flow.DefaultForget {
			delete(o.boots, id)
		}
	}
}

// gapCounters count losses by cause.
type gapCounters struct {
	found  [flow.Causes]atomic.Uint64 // gaps in flows that this node has found
	missed sync.Map                   // queue.Cause → *atomic.Uint64: events that subscribers were told to have missed
	log    rate.Sometimes
}

// told counts what a subscriber was told.
func (c *gapCounters) told(g *queue.Gap) {
	count, _ := c.missed.LoadOrStore(g.Cause, new(atomic.Uint64))
	count.(*atomic.Uint64).Add(g.Count)
}
