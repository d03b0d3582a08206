package partition

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
)

// prepare fetches what a leader's snapshot names and is not here, from that
// leader, and leaves it beside the logs for Restore to put in place. What was
// fetched by an attempt before is not fetched again, of a file that was written on
// since neither. What is here was applied, and
// perhaps not synced: it is, since nothing brings it back once the snapshot is kept.
func (p *Partition) prepare(ctx context.Context, from multiraft.Replica, snapshot []byte) error {
	s, err := parseSnapshot(snapshot)
	if err != nil {
		return err
	}
	done, err := p.stage(ctx)
	if err != nil {
		return err
	}
	defer done()
	for _, l := range p.Logs() { // what is looked at are the files
		if err := l.segment().Flush(); err != nil && !errors.Is(err, store.ErrClosed) {
			return fmt.Errorf("partition %s: take over a snapshot: %w", p.cfg.ID, err)
		}
	}
	haste := p.haste.next(&s)
	for _, k := range s.logs {
		missing, err := segment.Missing(p.config(k.id, k.birth), k.manifest)
		if err != nil {
			return fmt.Errorf("partition: log %s: %w", k.id, err)
		}
		for _, file := range missing {
			if err := p.fetch(ctx, from, k, file, true, haste); err != nil {
				return fmt.Errorf("partition: log %s: fetch from %s: %w", k.id, from, err)
			}
		}
		if err := segment.SyncFiles(p.config(k.id, k.birth), k.manifest); err != nil {
			err = fmt.Errorf("partition %s: take over a snapshot: %w", p.cfg.ID, err)
			if !errors.Is(err, os.ErrNotExist) { // retention was faster
				p.fail(err)
			}
			return err
		}
	}
	return nil
}

// stage waits until nobody else fetches files: a snapshot and a repair may need
// the same, and there is one place for them.
func (p *Partition) stage(ctx context.Context) (done func(), err error) {
	select {
	case p.staging <- struct{}{}:
		return func() { <-p.staging }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetch fetches a file into the log's staging place. What the log's own file has
// of it is taken from there if seed says so.
func (p *Partition) fetch(ctx context.Context, from multiraft.Replica, k kept, file segment.FileInfo, seed bool, haste uint) error {
	staged, err := segment.Stage(p.config(k.id, k.birth), file)
	if err != nil {
		return err
	}
	defer staged.Close()
	if seed && staged.Have() == 0 {
		if err := staged.Seed(); err != nil {
			return err
		}
	}
	for staged.Have() < file.Bytes {
		chunk, err := p.cfg.Fetch(ctx, from, k.id, file, staged.Have(), haste)
		if err == nil && len(chunk) == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			_, err = staged.Write(chunk)
			p.haste.note(len(chunk))
		}
		if err != nil {
			return err
		}
	}
	return staged.Finish()
}

// Scrub reads once through what the replica's logs have on the disk, at most so
// many bytes a second; see segment.Scrub. What was not synced yet is synced first.
func (p *Partition) Scrub(ctx context.Context, bytesPerSecond int64, report func(segment.Finding)) error {
	var segs []*segment.Log
	for _, l := range p.Logs() {
		segs = append(segs, l.segment())
	}
	if p.sync(segs); p.Failed() != nil {
		return nil
	}
	return segment.Scrub(ctx, slices.Values(segs), bytesPerSecond, report)
}

// Repair puts in the place of a full file of a log, which is damaged, the same
// file of one of these replicas. The error is segment.ErrNoFile if none of those
// that answered has it, or if the file is still written.
func (p *Partition) Repair(ctx context.Context, log LogID, file segment.FileInfo, from []multiraft.Replica) error {
	l, err := p.Log(log)
	if err != nil {
		return err
	}
	done, err := p.stage(ctx)
	if err != nil {
		return err
	}
	defer done()
	k := kept{id: log, birth: l.born()}
	err = fmt.Errorf("partition: log %s: repair: nobody else has the file", log)
	for _, source := range from {
		if err = p.fetch(ctx, source, k, file, true, 0); errors.Is(err, store.ErrCorrupt) {
			err = p.fetch(ctx, source, k, file, false, 0) // the part that was taken from here was not well
		}
		if err == nil {
			return l.segment().Install(file)
		}
	}
	return err
}
