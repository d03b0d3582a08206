package replication

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/store"
)

const (
	// hung is how long a write may wait for the disk before the node takes itself
	// for unwell.
	hung = 3 * time.Second

	diskEvery = time.Second

	// How full a disk may be, in hundredths: from warnAt on it is said; from
	// refuseAt on this node leads nothing, if others can, and takes nothing for what
	// it leads; from withholdAt on it does not vote either. Where it was full, it
	// has room again when so much less is used as easeBy says.
	warnAt     = 85
	refuseAt   = 92
	withholdAt = 97
	easeBy     = 2
)

// diskLevel is how full the disk is.
type diskLevel struct {
	used atomic.Int64 // in hundredths
	over atomic.Int64 // the highest of the marks that it is over; 0 for none
}

// set notes how full the disk is, and returns the mark it is over if that is
// another one than before.
func (d *diskLevel) set(used int64) (mark int64, news bool) {
	d.used.Store(used)
	was := d.over.Load()
	for _, m := range []int64{warnAt, refuseAt, withholdAt} {
		if used >= m || m <= was && used > m-easeBy {
			mark = m
		}
	}
	d.over.Store(mark)
	return mark, mark != was
}

// watchDisk looks again and again how full the disk is.
func (r *Member) watchDisk() {
	for r.lookAtDisk(); r.sleep(r.ctx, diskEvery); {
		r.lookAtDisk()
	}
}

func (r *Member) lookAtDisk() {
	size, free, err := r.cfg.FS.Space(r.cfg.Dir)
	if err != nil || size <= 0 {
		return // its writes will say what is wrong
	}
	mark, news := r.disk.set(100 * (size - free) / size)
	if !news {
		return
	}
	log := r.log.Error
	what := "the disk is full: nothing is appended here, and others lead"
	switch mark {
	case 0:
		log, what = r.log.Info, "the disk has room again"
	case warnAt:
		log, what = r.log.Warn, "the disk fills up"
	case withholdAt:
		what = "the disk is full: this node takes no part in elections"
	}
	log(what, "used", fmt.Sprintf("%d %%", r.disk.used.Load()), "size", size)
	r.poke()
}

// room says why nothing is appended to what this node leads, or nil.
func (r *Member) room() error {
	if r.disk.over.Load() < refuseAt {
		return nil
	}
	return fmt.Errorf("replication: the disk of node %s is full: %d %% are used, and from %d %% on nothing is taken: %w",
		r.cfg.Self.ID.Short(), r.disk.used.Load(), refuseAt, store.ErrFull)
}

// Health is why this node leads nothing and votes for nobody now, or nil. Packages
// below ask it often.
func (r *Member) Health() error {
	if err := r.Fenced(); err != nil {
		return err
	}
	if !r.trusted.Load() {
		return errNotVouched
	}
	if err := r.broken(); err != nil {
		return err
	}
	if d := r.logs.Pending(); d > hung {
		return fmt.Errorf("replication: the disk has not answered for %v", d.Round(time.Second))
	}
	if r.disk.over.Load() >= withholdAt {
		return r.room()
	}
	return nil
}

// broken is why the disk is not used any more, or nil. After a sync that failed
// nobody knows what is on it; another would succeed without having written.
func (r *Member) broken() error {
	if err := r.logs.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// breaks notes that the disk has failed. Nothing that this node had acknowledged
// is lost by that, so its replicas are not: once it is started again, perhaps on
// another disk, each shows what it still has.
func (r *Member) breaks(err error) {
	r.mu.Lock()
	first := r.failure == nil
	if first {
		r.failure = err
	}
	r.mu.Unlock()
	if first {
		r.log.Error("the disk has failed: this node leads nothing and votes for nobody until it is started again", "err", err)
	}
}
