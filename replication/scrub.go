package replication

import (
	"context"
	"errors"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
)

const (
	defaultScrubRate = 8 << 20
	scrubEvery       = time.Hour
	scrubSoon        = time.Minute // after a round that found what it could not repair yet
	repairWithin     = 10 * time.Minute
)

// scrub is the goroutine that reads again what is on the disk, the logs, the
// snapshots, the journal's entries and what waits for other regions, round after round,
// and repairs what is damaged. It begins a round early when a reader has met damage.
func (r *Member) scrub() {
	pause := time.NewTimer(scrubEvery)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-r.suspects:
		case <-r.ctx.Done():
			return
		}
		well := r.scrubAll()
		r.rounds.Add(1)
		if well {
			pause.Reset(scrubEvery)
		} else {
			pause.Reset(scrubSoon)
		}
	}
}

// suspect has a round of the scrubber begin: something that was read is damaged.
func (r *Member) suspect() {
	select {
	case r.suspects <- struct{}{}:
	default:
	}
}

// scrubAll is one round. It reports whether all is well afterwards.
func (r *Member) scrubAll() bool {
	well := true
	for _, rep := range r.open() {
		err := rep.part.Scrub(r.ctx, r.cfg.ScrubRate, func(f segment.Finding) {
			switch {
			case f.Repaired:
				r.log.Warn("an index was damaged and was made anew", "partition", rep.number, "log", f.Log, "err", f.Err)
			case errors.Is(f.Err, store.ErrClosed): // the replica was
			default:
				well = r.repair(rep, f) && well
			}
		})
		if err != nil {
			return false // the region is left
		}
	}
	if r.away != nil {
		if err := r.away.Scrub(r.ctx, r.cfg.ScrubRate); err != nil {
			return false // the region is left
		}
	}
	for _, g := range r.host.Groups() {
		if err := g.Scrub(r.ctx, r.cfg.ScrubRate); err != nil && r.ctx.Err() == nil {
			r.log.Error("what a group has on the disk cannot be read again", "group", g.ID(), "err", err)
			well = well && errors.Is(err, store.ErrCorrupt) // the replica has failed, and is made anew
		}
	}
	return well
}

// repair replaces a damaged file by what another replica has; if it cannot be
// replaced the replica is given up. It reports whether that is done: it is not if
// nobody else could be asked.
func (r *Member) repair(rep *replica, f segment.Finding) bool {
	r.log.Error("a file of a log is damaged", "partition", rep.number, "log", f.Log, "file", f.File.First, "err", f.Err)
	ctx, cancel := context.WithTimeout(r.ctx, repairWithin)
	defer cancel()
	sources := r.others(rep)
	err := rep.part.Repair(ctx, partition.LogID(f.Log), f.File, sources)
	switch {
	case err == nil:
		r.log.Info("a damaged file was replaced by another replica's", "partition", rep.number, "log", f.Log, "file", f.File.First)
		return true
	case errors.Is(err, segment.ErrNoFile) || errors.Is(err, store.ErrCorrupt):
		r.condemn(rep, &store.CorruptError{Log: f.Log.String(), What: f.Err.Error()})
		return true
	case errors.Is(err, partition.ErrGone) || errors.Is(err, store.ErrClosed):
		return true // the log is not kept any more
	}
	r.log.Warn("a damaged file could not be replaced yet", "partition", rep.number, "log", f.Log, "file", f.File.First, "err", err)
	return false
}

// others are the other voters of a replica's partition that are not lost.
func (r *Member) others(rep *replica) (list []multiraft.Replica) {
	p, known := r.meta.state().Partition(meta.ID(rep.part.Group().ID()))
	if !known {
		return nil
	}
	for _, other := range p.Replicas {
		if other.Node != r.cfg.Self.ID && other.Role == meta.Voter && !other.Lost {
			list = append(list, raftReplica(other.ReplicaID))
		}
	}
	return list
}
