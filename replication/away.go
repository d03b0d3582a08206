package replication

import (
	"context"
	"path/filepath"
	"time"

	"github.com/skeinmesh/skein/replication/away"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/store/segment"
)

// ErrAwayFull: as much waits for other regions as may.
var ErrAwayFull = away.ErrFull

// Away is a record on its way to the region that keeps its stream.
type Away struct {
	Key  Key
	Data []byte
}

// openAway opens the outbox of what other regions keep.
func (r *Member) openAway() (err error) {
	if r.cfg.SendAway == nil {
		return nil
	}
	r.away, err = away.Open(away.Config{
		FS: r.cfg.FS, Dir: filepath.Join(r.cfg.Dir, "outbox"), Files: segment.NewFiles(r.cfg.FS, openOutboxes, 0), Send: r.sendAway, Log: r.log,
	})
	return err
}

func (r *Member) sendAway(ctx context.Context, to away.ID, records []segment.Record) error {
	list := make([]Away, len(records))
	for i, rec := range records {
		list[i] = Away{rec.Key, rec.Data}
	}
	return r.cfg.SendAway(ctx, meta.ID(to), list)
}

// PutAway keeps records of a stream on this node's disk until Config.SendAway has
// brought them, in order, to the region that keeps the stream. They survive a crash
// of this node. The error is ErrAwayFull, or the disk's.
func (r *Member) PutAway(stream meta.ID, records []Away) error {
	now := time.Now().UnixNano()
	list := make([]segment.Record, len(records))
	for i, rec := range records {
		list[i] = segment.Record{Time: now, Key: rec.Key, Data: rec.Data}
	}
	return r.away.Put(away.ID(stream), list)
}

// DrainedAway reports whether no record of a stream waits on this node for the
// region that keeps it; else others must wait, too, or they would overtake. It waits
// for that while what waits gets through.
func (r *Member) DrainedAway(ctx context.Context, stream meta.ID) bool {
	return r.away.Drained(ctx, away.ID(stream))
}
