package replication

import (
	"context"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/transport/peer"
)

// tendEvery is how often a leader looks after its partitions' logs.
const tendEvery = 5 * time.Second

// change does what falls to the leaders of partitions: carries the changes of
// their replicas on, and hands leadership over where that is due.
func (r *Member) change() {
	for _, rep := range r.open() {
		g := rep.part.Group()
		if !g.IsLeader() {
			continue
		}
		p, known := r.meta.state().Partition(meta.ID(g.ID()))
		if known && p.Change != nil {
			r.advance(g, &p)
		}
	}
	r.balance()
}

// advance does the next phase of a change, and says when it is done. Whatever is
// done again does no harm. A leader whose disk has no room adds nothing to the group's
// log, but hands over.
func (r *Member) advance(g *multiraft.Group, p *meta.Partition) {
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
	defer cancel()
	add, remove := raftReplica(p.Change.Add), raftReplica(p.Change.Remove)
	phase, done := p.Change.Phase, false
	err := r.room()
	switch {
	case phase == meta.Remove && remove == g.Self(): // another leader removes this one
		err = r.handOver(ctx, g)
	case err != nil:
	case phase == meta.Learn:
		if !member(g, add) {
			// What a snapshot has comes as files, at a pace (see FetchRate); what came
			// after it as entries, at none. Raft takes none while the last entry is its own.
			failed := g.Barrier(ctx)
			if failed == nil {
				failed = g.Snapshot(ctx)
			}
			if failed != nil {
				r.log.Debug("a new replica gets an older snapshot", "partition", p.Number, "err", failed)
			}
			err = g.AddNonvoter(ctx, add)
		}
		done = err == nil && caughtUp(g, add)
	case phase == meta.Promote:
		err = g.AddVoter(ctx, add)
		done = err == nil
	case phase == meta.Undo:
		err = g.RemoveServer(ctx, add)
		done = err == nil
	case phase == meta.Remove:
		err = g.RemoveServer(ctx, remove)
		done = err == nil
	}
	if done {
		err = r.command(&meta.AdvanceChange{Partition: p.ID, Change: p.Change.Index, Done: phase})
	}
	if err != nil {
		r.log.Debug("a change of replicas does not go on", "partition", p.Number, "phase", phase, "err", err)
	}
}

func raftReplica(id meta.ReplicaID) multiraft.Replica {
	return multiraft.Replica{Node: id.Node, Epoch: id.Epoch}
}

func member(g *multiraft.Group, r multiraft.Replica) bool {
	for _, m := range g.Members() {
		if m.Replica == r {
			return true
		}
	}
	return false
}

// caughtUp reports whether a replica has what its leader has, nearly.
func caughtUp(g *multiraft.Group, r multiraft.Replica) bool {
	stats := g.Stats()
	for _, f := range stats.Follower {
		if f.Replica == r {
			return f.Matched > 0 && f.Matched+readyLag >= stats.Commit && time.Since(f.Heard) < readyWithin
		}
	}
	return false
}

// tend looks after the logs of partitions that this node leads: what retention has
// passed is trimmed, and what belongs to streams that are purged is dropped.
func (r *Member) tend() {
	for _, rep := range r.open() {
		if !rep.part.Group().IsLeader() {
			continue
		}
		for _, l := range rep.part.Logs() {
			if err := r.tendLog(rep.part, l); err != nil && r.ctx.Err() == nil {
				r.log.Debug("retention waits", "partition", rep.number, "log", l.ID(), "err", err)
			}
		}
	}
}

func (r *Member) tendLog(p *partition.Partition, l *partition.Log) error {
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
	defer cancel()
	if _, dead := r.meta.state().Grave(meta.ID(l.ID())); dead {
		return p.Drop(ctx, l.ID())
	}
	s, known := r.Stream(meta.ID(l.ID()))
	if !known {
		return nil // that nothing is known of it deletes nothing
	}
	start, err := retained(l, s.Retention, time.Now())
	if err != nil || start <= l.Start() {
		return err
	}
	return p.Trim(ctx, l.ID(), start)
}

// retained is the first offset that retention leaves to a log. The room of what is
// before it comes back by whole files.
func retained(l *partition.Log, keep meta.Retention, now time.Time) (start int64, err error) {
	start = l.Start()
	if keep.Events > 0 {
		start = max(start, l.Next()-keep.Events)
	}
	if keep.Age > 0 {
		at, err := l.OffsetAt(now.Add(-keep.Age).UnixNano())
		if err != nil {
			return 0, err
		}
		start = max(start, at)
	}
	if keep.Bytes > 0 {
		at, err := l.OffsetWithin(keep.Bytes)
		if err != nil {
			return 0, err
		}
		start = max(start, min(at, l.Next()-1)) // the last event stays, however large it is
	}
	return start, nil
}

// Stream is the definition of a stream that the region owns or keeps.
func (r *Member) Stream(id meta.ID) (meta.Stream, bool) {
	if s, ok := r.meta.state().Stream(id); ok {
		return s, true
	}
	if a, ok := r.meta.state().Assignment(id); ok && a.Foreign != nil {
		return *a.Foreign, true
	}
	return meta.Stream{}, false
}

// leaderOf is who leads a partition, as far as this node knows.
func (r *Member) leaderOf(number uint32) peer.ID {
	if p, err := r.local(number); err == nil {
		if leader, _, known := p.Group().Leader(); known {
			return leader.Node
		}
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leaders[number]
}
