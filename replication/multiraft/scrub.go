package multiraft

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skeinmesh/skein/store"
)

// checker is a log that reads from the disk what it has in memory, too.
type checker interface {
	Check(index uint64) (bytes int, err error)
}

// Scrub reads once what the replica has on the disk: its snapshot, which is put
// there again if it is damaged, and its log, at most so many bytes a second. A
// damaged entry fails the replica, as one that Raft reads does; the error is
// store.ErrCorrupt then. Another error is that of ctx, or says why something could
// not be read.
func (g *Group) Scrub(ctx context.Context, bytesPerSecond int64) error {
	if s, ok := g.cfg.Snapshots.(*Snapshots); ok {
		found, err := s.Scrub()
		if found != nil {
			g.host.log.Warn("multiraft: a snapshot was damaged and is written again", "group", g.id, "reason", found, "err", err)
		}
		if err != nil {
			return fmt.Errorf("multiraft: group %s: %w", g.id, err)
		}
	}
	last, err := g.cfg.Store.LastIndex()
	if err != nil {
		return err
	}
	first, err := g.cfg.Store.FirstIndex()
	if err != nil {
		return err
	}
	var read int64
	began := time.Now()
	for index := max(first, 1); index <= last; index++ {
		n, err := g.check(index)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, store.ErrCorrupt):
			g.fail(fmt.Errorf("read entry %d: %w", index, err))
			return err
		case errors.Is(err, store.ErrNotFound):
			continue // it was deleted meanwhile
		case err != nil:
			return fmt.Errorf("multiraft: group %s: read entry %d: %w", g.id, index, err)
		}
		read += int64(n)
		ahead := time.Duration(float64(read)/float64(max(1, bytesPerSecond))*float64(time.Second)) - time.Since(began)
		if ahead < scrubStep {
			continue
		}
		t := time.NewTimer(ahead)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// scrubStep is how far ahead of its rate a scrub may be before it pauses.
const scrubStep = 10 * time.Millisecond

func (g *Group) check(index uint64) (int, error) {
	if c, ok := g.cfg.Store.(checker); ok {
		return c.Check(index)
	}
	var e store.Entry
	err := g.cfg.Store.Get(index, &e)
	return len(e.Data) + len(e.Extensions), err
}
