package multiraft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// changeWithin bounds a change of the members when the caller does not.
const changeWithin = 10 * time.Second

// Proposal is an entry on its way.
type Proposal struct {
	future raft.Future
	done   chan struct{}
	index  uint64
	result any
	err    error
}

// Done is closed when there is an outcome.
func (p *Proposal) Done() <-chan struct{} { return p.done }

// Outcome is the entry's index and what the state machine returned for it, once
// Done is closed. Of the errors, ErrNotLeader says that the entry is not
// committed and never will be by this proposal, ErrUnknown that it may be.
func (p *Proposal) Outcome() (index uint64, result any, err error) { return p.index, p.result, p.err }

// Propose gives the group an entry of at most MaxEntry bytes, which it keeps.
// Entries are committed in the order of the calls. Propose waits while as many
// proposals as a group may have are without an outcome.
func (g *Group) Propose(ctx context.Context, data []byte) (*Proposal, error) {
	if len(data) > MaxEntry {
		return nil, ErrTooLarge
	}
	return g.propose(ctx, func() raft.Future { return g.raft.Apply(data, 0) })
}

// ProposeIn is Propose for an entry that must be of a term, one that Leads has
// told: in any other it is refused with ErrNotLeader, although the replica may
// lead again. So of what is proposed in one term nothing is committed unless all
// is that was accepted before it.
func (g *Group) ProposeIn(ctx context.Context, term uint64, data []byte) (*Proposal, error) {
	if len(data) > MaxEntry {
		return nil, ErrTooLarge
	}
	e := raft.Log{Data: data, Extensions: binary.LittleEndian.AppendUint64(nil, term)}
	return g.propose(ctx, func() raft.Future { return g.raft.ApplyLog(e, 0) })
}

// inTerm refuses entries that shall be of another term than they are: Raft keeps
// proposals in a queue, from which it may take them when it leads again. The mark
// is taken off: it is for this replica alone.
func inTerm(logs []*raft.Log) error {
	for _, e := range logs {
		if e.Type == raft.LogCommand && len(e.Extensions) == 8 && binary.LittleEndian.Uint64(e.Extensions) != e.Term {
			return fmt.Errorf("%w: it led in another term", ErrNotLeader)
		}
	}
	for _, e := range logs {
		if e.Type == raft.LogCommand && len(e.Extensions) == 8 {
			e.Extensions = nil
		}
	}
	return nil
}

// Apply proposes an entry and waits for the outcome. When ctx ends first the
// entry may be committed all the same.
func (g *Group) Apply(ctx context.Context, data []byte) (index uint64, result any, err error) {
	p, err := g.Propose(ctx, data)
	if err != nil {
		return 0, nil, err
	}
	if err := p.wait(ctx); err != nil {
		return 0, nil, err
	}
	return p.Outcome()
}

// Barrier waits until all that was committed before is applied here. It must be
// called on the leader; that it succeeds proves that it led.
func (g *Group) Barrier(ctx context.Context) error {
	p, err := g.propose(ctx, func() raft.Future { return g.raft.Barrier(0) })
	if err != nil {
		return err
	}
	if err := p.wait(ctx); err != nil {
		return err
	}
	return p.err
}

func (p *Proposal) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("multiraft: wait for an entry: %w: %w", ErrUnknown, ctx.Err())
	}
}

func (g *Group) propose(ctx context.Context, enqueue func() raft.Future) (*Proposal, error) {
	select {
	case g.slots <- struct{}{}:
	default:
		select {
		case g.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("multiraft: propose: %w", ctx.Err())
		case <-g.closing:
			return nil, ErrClosed
		}
	}
	if err := g.enter(ctx); err != nil {
		<-g.slots
		return nil, err
	}
	defer g.proposing.Unlock()
	p := &Proposal{done: make(chan struct{}), future: enqueue()}
	g.mu.Lock()
	g.queue = append(g.queue, p)
	if !g.awaiting {
		g.awaiting = true
		g.wg.Go(g.awaitOutcomes)
	}
	g.mu.Unlock()
	return p, nil
}

// enter counts a proposal and takes the lock proposing, unless it fails. While
// leadership is being handed over it waits, without the lock.
func (g *Group) enter(ctx context.Context) error {
	for {
		g.proposing.Lock()
		g.mu.Lock()
		handing, closed, failed := g.handing, g.closed, g.failed
		if handing == nil && !closed && failed == nil {
			g.pending++
			g.proposals++
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		g.proposing.Unlock()
		switch {
		case failed != nil:
			return failed
		case closed:
			return ErrClosed
		}
		select {
		case <-handing:
		case <-ctx.Done():
			return fmt.Errorf("multiraft: propose: %w", ctx.Err())
		case <-g.closing:
		}
	}
}

// awaitOutcomes waits for what was proposed, in that order, until nothing is.
func (g *Group) awaitOutcomes() {
	for {
		g.mu.Lock()
		if len(g.queue) == 0 {
			g.queue, g.awaiting = nil, false
			g.mu.Unlock()
			return
		}
		p := g.queue[0]
		g.queue[0] = nil
		g.queue = g.queue[1:]
		g.mu.Unlock()
		p.err = ofRaft(p.future.Error())
		if f, ok := p.future.(raft.ApplyFuture); ok && p.err == nil {
			p.index, p.result = f.Index(), f.Response()
		}
		if p.err == nil && g.logs.gap.Load() { // it may have been skipped
			p.result, p.err = nil, fmt.Errorf("%w: %w", ErrUnknown, g.failure())
		}
		close(p.done)
		<-g.slots
		g.mu.Lock()
		g.proposals--
		g.mu.Unlock()
		g.resolved()
	}
}

// resolved notes that something pending has its outcome.
func (g *Group) resolved() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending--
	if g.pending == 0 && g.settled != nil {
		close(g.settled)
		g.settled = nil
	}
}

// AddVoter makes a replica a voter, be it a member or not.
func (g *Group) AddVoter(ctx context.Context, r Replica) error {
	return g.change(ctx, "add voter "+r.String(), func(within time.Duration) raft.Future {
		return g.raft.AddVoter(r.id(), r.addr(), 0, within)
	})
}

// AddNonvoter adds a replica that gets all entries and has no vote.
func (g *Group) AddNonvoter(ctx context.Context, r Replica) error {
	return g.change(ctx, "add non-voter "+r.String(), func(within time.Duration) raft.Future {
		return g.raft.AddNonvoter(r.id(), r.addr(), 0, within)
	})
}

// RemoveServer removes a replica. A leader that removes itself leads until that
// is committed.
func (g *Group) RemoveServer(ctx context.Context, r Replica) error {
	return g.change(ctx, "remove "+r.String(), func(within time.Duration) raft.Future {
		return g.raft.RemoveServer(r.id(), 0, within)
	})
}

// Snapshot has the state machine's state kept now, and the log shortened. That
// there is nothing new to keep is no error.
func (g *Group) Snapshot(ctx context.Context) error {
	return g.change(ctx, "take a snapshot", func(time.Duration) raft.Future { return g.raft.Snapshot() })
}

// change starts something in Raft and waits for it, no longer than ctx allows.
func (g *Group) change(ctx context.Context, what string, begin func(within time.Duration) raft.Future) error {
	within := changeWithin
	if t, ok := ctx.Deadline(); ok {
		within = max(time.Until(t), time.Millisecond)
	}
	g.mu.Lock()
	if g.closed || g.failed != nil {
		defer g.mu.Unlock()
		if g.failed != nil {
			return g.failed
		}
		return ErrClosed
	}
	g.pending++
	done := make(chan error, 1)
	g.wg.Go(func() {
		defer g.resolved()
		done <- begin(within).Error()
	})
	g.mu.Unlock()
	select {
	case err := <-done:
		if err == nil || errors.Is(err, raft.ErrNothingNewToSnapshot) {
			return nil
		}
		return fmt.Errorf("multiraft: group %s: %s: %w", g.id, what, ofRaft(err))
	case <-ctx.Done():
		return fmt.Errorf("multiraft: group %s: %s: %w", g.id, what, ctx.Err())
	}
}

// Campaign has the replica stand for election now, without waiting for a leader to
// be missed: for a group that has just been made.
func (g *Group) Campaign() {
	rpc := raft.RPC{
		Command:  g.command(g.self.Node, &message{kind: kindTimeoutNow, from: g.self.Epoch}),
		RespChan: make(chan raft.RPCResponse, 1),
	}
	select {
	case g.requests <- rpc:
	case <-g.closing:
	}
}
