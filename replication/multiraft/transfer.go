package multiraft

import (
	"context"
	"fmt"
	"time"
)

const (
	transferWithin = time.Second // unless the caller's context ends before
	transferPoll   = 2 * time.Millisecond
)

// TransferLeadership hands leadership to a voter, waiting until this replica does
// not lead this term any more. Proposals wait meanwhile, and those before them have
// their outcome, so that the voter can have all entries; it then stands for election
// at once, as in section 3.10 of Ongaro's "Consensus: Bridging Theory and Practice".
// Raft's own way of doing this leaves a goroutine behind for ever when leadership is
// lost in the midst of it.
func (g *Group) TransferLeadership(ctx context.Context, r Replica) error {
	over := make(chan struct{})
	g.mu.Lock()
	if g.handing != nil {
		g.mu.Unlock()
		return fmt.Errorf("multiraft: transfer leadership to %s: another transfer is under way", r)
	}
	g.handing = over
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.handing = nil
		g.mu.Unlock()
		close(over)
	}()
	ctx, cancel := context.WithTimeout(ctx, transferWithin)
	defer cancel()
	if err := g.transferTo(ctx, r); err != nil {
		return fmt.Errorf("multiraft: transfer leadership to %s: %w", r, err)
	}
	return nil
}

func (g *Group) transferTo(ctx context.Context, r Replica) error {
	term := g.raft.CurrentTerm()
	for !g.hasAll(r, term) {
		if !g.leads(term) {
			return ErrNotLeader
		}
		if err := g.idle(ctx); err != nil {
			return err
		}
	}
	within := transferWithin // for so long, nobody can propose
	if end, ok := ctx.Deadline(); ok {
		within = time.Until(end)
	}
	if err := (transport{g}).timeoutNow(r.addr(), within); err != nil {
		return err
	}
	for g.leads(term) {
		if err := g.idle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// leads reports whether this replica leads in a term.
func (g *Group) leads(term uint64) bool { return g.IsLeader() && g.raft.CurrentTerm() == term }

// hasAll reports whether a voter has all entries of the leader of a term, the one
// that a term begins with among them, and no other is on its way.
func (g *Group) hasAll(r Replica, term uint64) bool {
	g.mu.Lock()
	proposals := g.proposals
	g.mu.Unlock()
	stats := g.Stats()
	if proposals > 0 || stats.Term != term || g.logs.termOf(stats.Last) != term {
		return false
	}
	for _, f := range stats.Follower {
		if f.Replica == r {
			return f.Matched >= stats.Last
		}
	}
	return false
}

// idle waits a little.
func (g *Group) idle(ctx context.Context) error {
	t := time.NewTimer(transferPoll)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-g.closing:
		return ErrClosed
	}
}
