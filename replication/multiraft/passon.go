package multiraft

import (
	"time"

	"github.com/hashicorp/raft"
)

// passOnAfter is how long after the last sign that more is committed the followers are
// told, unless entries tell them before; and passOnWithin, after the first.
const passOnAfter, passOnWithin = 5 * time.Millisecond, 50 * time.Millisecond

// passOnSoon has the followers told how far all is committed, if this replica leads and
// nothing else does so soon: Raft does by itself, but late. It does not block.
func (g *Group) passOnSoon() {
	if !g.logs.running.Load() || !g.IsLeader() {
		return
	}
	now := int64(time.Since(g.opened))
	if first := g.passSince.Load(); first == 0 {
		g.passSince.CompareAndSwap(0, now)
	} else if now-first > int64(passOnWithin-passOnAfter) {
		return // they are about to be
	}
	g.passing.Reset(passOnAfter)
}

func (g *Group) passOn() {
	g.passSince.Store(0)
	for _, p := range g.pipelines(nil) {
		p.passOn()
	}
}

// passOn tells the follower how far all is committed, if it has all that was sent and
// does not know.
func (p *pipeline) passOn() {
	p.sending.Lock()
	defer p.sending.Unlock()
	a := &raft.AppendEntriesRequest{
		Term: p.term, PrevLogEntry: p.last, PrevLogTerm: p.lastTerm, LeaderCommitIndex: min(p.raft.CommitIndex(), p.last),
	}
	if p.failed() != nil || p.waiting() > 0 || !p.session.hasRoom() ||
		p.fitToLead(a.Term) != nil || p.follower.knows(p.session, a, forEver) {
		return
	}
	if err := p.transmit(a); err != nil {
		p.end(err)
	}
}
