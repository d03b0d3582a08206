package multiraft

import (
	"math"
	"time"
)

const (
	// closeWithin is how long Close waits for what was proposed to be committed,
	// before it leaves its peers and with them, a lease later, the lead.
	closeWithin = time.Second
	forEver     = math.MaxInt64
)

// Close ends the replica and waits until nothing of it runs. What was proposed
// gets its outcome first: it is committed, or leadership is given up, which may
// take as long as a lease. Close also waits for calls into the store, the
// snapshots and the state machine to return.
func (g *Group) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		g.wg.Wait()
		return nil
	}
	g.closed = true
	g.stopTimers()
	g.mu.Unlock()
	// Raft forgets what lies in its queues when it is shut down, and whoever waits
	// for the outcome would wait for ever. So nothing may lie there: what is not
	// committed has its outcome when the lead is lost, for want of peers.
	if !g.settle(closeWithin) {
		g.cancel()
		g.settle(forEver)
	}
	g.cancel()
	g.host.mu.Lock()
	if g.host.groups[g.id] == g {
		delete(g.host.groups, g.id)
	}
	g.host.mu.Unlock()
	err := g.raft.Shutdown().Error()
	g.passing.Stop()
	g.wg.Wait()
	return err
}

// settle waits until nothing is pending, for a while, and reports whether that is
// so. Raft's goroutines answer in any case but that of a call that does not return,
// even for a replica that has failed.
func (g *Group) settle(within time.Duration) bool {
	g.mu.Lock()
	if g.pending == 0 {
		g.mu.Unlock()
		return true
	}
	settled := make(chan struct{})
	g.settled = settled
	g.mu.Unlock()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-settled:
		return true
	case <-timer.C:
		return false
	}
}
