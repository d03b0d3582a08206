package partition

import (
	"errors"
	"time"

	"github.com/skeinmesh/skein/store"
)

const (
	// freeAfter is how long a replica waits for more files that can go, before it keeps
	// a snapshot so that they can: of many logs that are trimmed, each is by an entry of
	// its own.
	freeAfter = time.Second
	// freeEvery is the least time between two such snapshots.
	freeEvery = 10 * time.Second
	// freeShare bounds how much of a replica's time they take: one part in so many.
	freeShare = 20
)

// spares notes that files are there which the next snapshot does without.
func (p *Partition) spares() {
	select {
	case p.spare <- struct{}{}:
	default:
	}
}

// free gives back the room of what was trimmed or dropped. A file goes once a snapshot
// is on the disk that does without it, and where nothing is appended any more, or
// nothing can be since the disk is full, no other would come.
func (p *Partition) free() {
	for {
		select {
		case <-p.spare:
		case <-p.ctx.Done():
			return
		}
		if !p.rest(freeAfter) {
			return
		}
		began := time.Now()
		err := p.group.Snapshot(p.ctx)
		if err == nil {
			err = p.sweep() // should nothing be new since the snapshot that is there, nobody has yet
		}
		if p.ctx.Err() != nil || p.Failed() != nil {
			return
		}
		if err != nil {
			p.log.Debug("files that are not needed any more are not removed yet", "partition", p.cfg.ID, "err", err)
			p.spares()
			if p.group.IsLeader() && !errors.Is(err, store.ErrFull) { // Raft takes no snapshot while the last entry is its own
				_ = p.group.Barrier(p.ctx)
			}
		}
		if !p.rest(max(freeEvery, freeShare*time.Since(began))) {
			return
		}
	}
}

// rest sleeps. It reports whether the replica is still open.
func (p *Partition) rest(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}
