package gossip

import (
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/skeinmesh/skein/transport/peer"
)

// broadcast is a rumor on its way to the others.
type broadcast struct {
	name rumorName
	b    []byte
}

func (b *broadcast) Message() []byte { return b.b }
func (b *broadcast) Finished()       {}
func (b *broadcast) Invalidates(o memberlist.Broadcast) bool {
	other, ok := o.(*broadcast)
	return ok && other.name == b.name
}

// Rumor tells all members something. A newer rumor of the same name replaces an
// older one that is still under way. The body is not kept; it has MaxRumor
// bytes at most, the name 32.
func (g *Gossip) Rumor(name string, body []byte) error {
	if len(body) > MaxRumor || len(name) > maxRumorName {
		return fmt.Errorf("%w: %d bytes, %d are allowed", ErrTooLarge, len(body), MaxRumor)
	}
	g.say(kindRumor, name, body)
	return nil
}

// goodbye tells all members that this node is about to leave.
func (g *Gossip) goodbye() { g.say(kindGoodbye, "", nil) }

func (g *Gossip) say(kind byte, name string, body []byte) {
	g.mu.Lock()
	g.seq++
	r := rumor{kind: kind, origin: g.self.ID, boot: g.self.Boot, seq: g.seq, name: name, body: body}
	g.mu.Unlock()
	g.pass(&r, appendRumor(nil, &r))
}

// pass queues a rumor for the others.
func (g *Gossip) pass(r *rumor, b []byte) {
	g.queue.QueueBroadcast(&broadcast{rumorName{r.origin, r.kind, r.name}, b})
	if g.queue.NumQueued() > maxBroadcasts {
		g.queue.Prune(maxBroadcasts)
		g.mu.Lock()
		g.dropped++
		g.mu.Unlock()
	}
}

// hear takes a rumor from memberlist, which reuses b.
func (g *Gossip) hear(b []byte) {
	r, err := readRumor(b)
	if err != nil || r.origin == g.cfg.Self.ID {
		return
	}
	if !g.fresh(&r) {
		return
	}
	switch r.kind {
	case kindGoodbye:
		g.departed(&r)
	case kindRumor:
		g.news.rumor(r.origin, slices.Clone(r.body))
	default:
		return
	}
	g.pass(&r, slices.Clone(b))
}

// fresh reports whether a rumor is news of a member.
func (g *Gossip) fresh(r *rumor) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, alive := g.peers[r.origin]; !alive && r.kind != kindGoodbye {
		return false
	}
	name := rumorName{r.origin, r.kind, r.name}
	age, heard := g.heard[name]
	if heard && (r.boot < age.boot || r.boot == age.boot && r.seq <= age.seq) {
		return false
	}
	if !heard && len(g.heard) >= maxHeard {
		for n := range g.heard { // of somebody gone, if there is one
			delete(g.heard, n)
			break
		}
	}
	g.heard[name] = rumorAge{r.boot, r.seq}
	g.rumors++
	return true
}

// departed notes that a member says it leaves. Memberlist says so, too, but
// does not tell the delegate a departure from a death.
func (g *Gossip) departed(r *rumor) {
	name := memberName(peer.Peer{ID: r.origin, Boot: r.boot})
	g.mu.Lock()
	defer g.mu.Unlock()
	for n, at := range g.left { // few, and not for long
		if time.Since(at) > time.Hour {
			delete(g.left, n)
		}
	}
	g.left[name] = time.Now()
	if a, ok := g.absent[r.origin]; ok && a.Boot == r.boot {
		delete(g.absent, r.origin)
		g.news.gone(r.origin, true)
	}
}
