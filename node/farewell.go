package node

import (
	"math"
	"slices"
	"time"

	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/transport/peer"
)

// leaver is a node that has left the mesh. All its events were acknowledged then: they
// are lost only to those that could not be reached.
type leaver struct {
	peer    peer.Peer
	since   time.Time
	told    bool // it is of another region, or had told all before
	settled bool // it is known whether anything of it is lost here
}

// left hears that a node has left the mesh.
func (f *flows) left(p peer.Peer) {
	now := time.Now()
	f.absent.Delete(p.ID)
	told := p.Region != f.n.self.Region || f.hasTold(p.ID) || f.touch.justParted(p.ID, now)
	f.former.Store(p.ID, &leaver{peer: p, since: now, told: told})
	f.end(p.ID, p.Boot, true)
	f.eachLane(func(l *lane) { l.entry.Gone(p.ID) })
	f.judge(now)
}

// leftAfterAll hears that a node has left which may have been taken for dead before:
// if it was not, it went on for a while, out of sight.
func (f *flows) leftAfterAll(id peer.ID) {
	if a, was := f.absent.Load(id); was {
		f.left(a.(*absence).peer)
	}
	if !f.lost.justTold(id, time.Now()) {
		f.ended(id)
	}
}

// died hears that a node of the region is taken for dead.
func (f *flows) died(p peer.Peer) {
	now := time.Now()
	f.touch.died(p.ID, now)
	f.eachLane(func(l *lane) { l.entry.Dead(now, p.ID) })
	f.doubtLeavers()
}

// doubtLeavers hears that a node of the region broke off: what it could tell of leavers
// is lost.
func (f *flows) doubtLeavers() {
	f.former.Range(func(_, value any) bool {
		f.doubt(value.(*leaver))
		return true
	})
}

// ended hears that a node is gone for good of which that was reported before.
func (f *flows) ended(id peer.ID) { f.outlived(peer.Peer{ID: id, Boot: math.MaxUint64}) }

// judge settles what became of the leavers' events: once all others of the region have
// told this node how far the flows are that they are entry nodes of, it has missed none
// but what these tell it of. It is a loss if that takes too long.
func (f *flows) judge(now time.Time) {
	told := f.allTold()
	f.former.Range(func(id, value any) bool {
		switch l := value.(*leaver); {
		case now.Sub(l.since) >= flow.DefaultForget:
			f.former.Delete(id)
		case !l.settled && l.told && told:
			settled := *l
			settled.settled = true
			f.former.CompareAndSwap(id, value, &settled)
		case now.Sub(l.since) >= sightFor:
			f.doubt(l)
		}
		return true
	})
}

// doubt tells of a leaver, if it is not settled, that its events may be lost here.
func (f *flows) doubt(l *leaver) {
	settled := *l
	settled.settled = true
	if l.settled || !f.former.CompareAndSwap(l.peer.ID, l, &settled) {
		return
	}
	f.tell(&flow.Gap{Flow: flow.ID{Origin: l.peer.ID, Boot: l.peer.Boot, Lane: flow.AllLanes}, From: 1, Cause: flow.OriginLost, Labels: flow.Labels{Any: true}})
}

// allTold reports whether all nodes of the region have told this one how far the flows
// are that they are entry nodes of.
func (f *flows) allTold() bool {
	return !slices.ContainsFunc(f.n.graph.Peers(), func(p peer.Peer) bool {
		return p.Region == f.n.self.Region && p.ID != f.n.self.ID && !f.hasTold(p.ID)
	})
}

// settle tells all nodes of the region, before this one leaves, what they must hear
// from it, and lists those that it waits for.
func (f *flows) settle() (waits []peer.ID) {
	f.eachLane(func(l *lane) { waits = append(waits, l.entry.Settle()...) })
	slices.Sort(waits)
	return slices.Compact(waits)
}

// eachLane does something with each lane, under its lock.
func (f *flows) eachLane(do func(*lane)) {
	for i := range f.lanes {
		l := &f.lanes[i]
		l.mu.Lock()
		do(l)
		l.mu.Unlock()
	}
}
