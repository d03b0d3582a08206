package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// signalRecycle wakes the goroutine that recycles.
func (j *Journal) signalRecycle() {
	select {
	case j.recycle <- struct{}{}:
	default:
	}
}

// recycleSegments is the goroutine that deletes segments which nobody needs, and
// says who needs the oldest one when there are many.
func (j *Journal) recycleSegments() {
	for {
		select {
		case <-j.recycle:
		case <-j.stop:
			return
		}
		err := j.dropDead()
		j.count(func(s *Stats) { s.DropError = err })
		oldest, count := j.segs.oldest()
		if j.cfg.OnHeldBack == nil || count <= j.cfg.HoldSegments {
			continue
		}
		if groups := j.needing(oldest); len(groups) > 0 {
			j.cfg.OnHeldBack(groups)
		}
	}
}

// dropDead deletes the oldest segments for as long as nothing in them is needed.
// Each deletion is synced before the next: so what a crash leaves has no holes.
func (j *Journal) dropDead() error {
	for j.Err() == nil {
		seg := j.segs.dead()
		if seg == nil {
			return nil
		}
		err := j.cfg.FS.Remove(filepath.Join(j.cfg.Dir, seg.name))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // whoever deleted it
			return fmt.Errorf("journal: delete %s: %w", seg.name, err)
		}
		if err := j.cfg.FS.SyncDir(j.cfg.Dir); err != nil {
			return fmt.Errorf("journal: delete %s: %w", seg.name, err)
		}
		j.segs.drop()
		j.count(func(s *Stats) { s.Dropped++ })
	}
	return nil
}

// needing lists the groups whose oldest entry lies in this segment.
func (j *Journal) needing(sequence uint64) []ID {
	var list []ID
	for _, g := range j.everyGroup() {
		g.mu.RLock()
		if g.places.count > 0 && uint64(g.places.get(0).segment) == sequence {
			list = append(list, g.id)
		}
		g.mu.RUnlock()
	}
	return list
}
