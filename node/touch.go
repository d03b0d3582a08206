package node

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
)

// touch knows how far this node is in touch with the others of its region, who hand
// events out to it.
type touch struct {
	mu     sync.Mutex
	dead   map[peer.ID]time.Time // nodes that were taken for dead then, and are not back
	alone  bool                  // this node had no link at all a moment ago: it may be the one that is dead to all
	sight  time.Time             // since when that is over; zero if it never was, or is settled
	parted map[peer.ID]time.Time // when links ended of nodes that had told all
}

const (
	// mournedFor is how long a node that is taken for dead is remembered.
	mournedFor = 10 * time.Minute
	// partedFor is how long gossip may need to say of a node that it has left, after
	// its link was closed.
	partedFor = 3 * time.Second
)

// died notes that a node of the region is taken for dead.
func (t *touch) died(id peer.ID, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead == nil {
		t.dead = map[peer.ID]time.Time{}
	}
	t.dead[id] = now
}

// back notes that a node is there.
func (t *touch) back(id peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.dead, id)
}

// tick hears whether this node has any link now. When it was alone, and some time
// later some of the dead are not back, it returns these: they may have gone on for a
// while after this node had given them up, and nobody has told it when they ended.
func (t *touch) tick(now time.Time, linked func() bool) (ended []peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(t.dead) == 0:
		t.alone, t.sight = false, time.Time{}
	case !linked():
		t.alone, t.sight = true, time.Time{}
	case t.alone:
		t.alone, t.sight = false, now
	case !t.sight.IsZero() && now.Sub(t.sight) >= sightFor:
		for id, at := range t.dead {
			if at.Before(t.sight) {
				ended = append(ended, id)
				delete(t.dead, id)
			}
		}
		t.sight = time.Time{}
	case t.sight.IsZero():
		maps.DeleteFunc(t.dead, func(_ peer.ID, at time.Time) bool { return now.Sub(at) >= mournedFor })
	}
	return ended
}

// part notes that the link to a node ended that had told all.
func (t *touch) part(id peer.ID, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.parted == nil {
		t.parted = map[peer.ID]time.Time{}
	}
	maps.DeleteFunc(t.parted, func(_ peer.ID, at time.Time) bool { return now.Sub(at) >= partedFor })
	t.parted[id] = now
}

// justParted reports whether the link to a node that had told all ended a moment ago.
func (t *touch) justParted(id peer.ID, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, parted := t.parted[id]
	return parted && now.Sub(at) < partedFor
}

// linked reports whether this node has a link to anybody.
func (n *Node) linked() bool {
	return slices.ContainsFunc(n.net.Links(), func(l transport.LinkStats) bool { return l.State == transport.Up })
}
