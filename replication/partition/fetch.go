package partition

import (
	"context"
	"fmt"
	"io"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store/segment"
)

// prepare fetches what a leader's snapshot names and is not here, from that
// leader, and leaves it beside the logs for Restore to put in place. What was
// fetched by an attempt before is not fetched again.
func (p *Partition) prepare(ctx context.Context, from multiraft.Replica, snapshot []byte) error {
	s, err := parseSnapshot(snapshot)
	if err != nil {
		return err
	}
	for _, k := range s.logs {
		missing, err := segment.Missing(p.config(k.id, k.birth), k.manifest)
		if err != nil {
			return fmt.Errorf("partition: log %s: %w", k.id, err)
		}
		for _, file := range missing {
			if err := p.fetch(ctx, from, k, file); err != nil {
				return fmt.Errorf("partition: log %s: fetch from %s: %w", k.id, from, err)
			}
		}
	}
	return nil
}

// fetch fetches a file into the log's staging place.
func (p *Partition) fetch(ctx context.Context, from multiraft.Replica, k kept, file segment.FileInfo) error {
	staged, err := segment.Stage(p.config(k.id, k.birth), file)
	if err != nil {
		return err
	}
	defer staged.Close()
	if staged.Have() == 0 {
		if err := staged.Seed(); err != nil {
			return err
		}
	}
	for staged.Have() < file.Bytes {
		chunk, err := p.cfg.Fetch(ctx, from, k.id, file, staged.Have())
		if err == nil && len(chunk) == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			_, err = staged.Write(chunk)
		}
		if err != nil {
			return err
		}
	}
	return staged.Finish()
}
