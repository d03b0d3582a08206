package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/skeinmesh/skein/replication/away"
	"github.com/skeinmesh/skein/replication/fields"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store/segment"
)

var (
	// ErrAwayFull: as much waits for other regions as may.
	ErrAwayFull = away.ErrFull
	// ErrAwayGone is for Config.SendAway: the stream is purged, and what waits for it is
	// to be dropped.
	ErrAwayGone = away.ErrGone
)

// Away is a record on its way to the region that keeps its stream.
type Away struct {
	Key  Key
	Data []byte
}

// awayVersion is the first byte of records on their way.
const awayVersion = 1

// AppendAway appends records in a binary form, which DecodeAway reads:
//
//	version (1) | records | record …
//	record: key (16) | length | data
//
// Numbers are unsigned varints.
func AppendAway(dst []byte, records []Away) []byte {
	size := 1 + binary.MaxVarintLen64
	for i := range records {
		size += len(Key{}) + binary.MaxVarintLen64 + len(records[i].Data)
	}
	dst = append(slices.Grow(dst, size), awayVersion)
	dst = binary.AppendUvarint(dst, uint64(len(records)))
	for i := range records {
		rec := &records[i]
		dst = append(dst, rec.Key[:]...)
		dst = binary.AppendUvarint(dst, uint64(len(rec.Data)))
		dst = append(dst, rec.Data...)
	}
	return dst
}

// DecodeAway reads what AppendAway wrote: b whole, and nothing else. The records lie
// in b.
func DecodeAway(b []byte) ([]Away, error) {
	if len(b) == 0 || b[0] != awayVersion {
		return nil, fmt.Errorf("replication: records on their way: another version than %d, which this node knows", awayVersion)
	}
	f := fields.Reader{Rest: b[1:]}
	var list []Away
	for n := f.Number(uint64(len(b))); n > 0 && !f.Bad; n-- {
		var rec Away
		f.Fill(rec.Key[:])
		rec.Data = f.Take(f.Number(partition.MaxData))
		list = append(list, rec)
	}
	if !f.Over() {
		return nil, errors.New("replication: records on their way: they are malformed")
	}
	return list, nil
}

// openAway opens the outbox of what other regions keep.
func (r *Member) openAway() (err error) {
	if r.cfg.SendAway == nil {
		return nil
	}
	r.away, err = away.Open(away.Config{
		FS: r.cfg.FS, Dir: filepath.Join(r.cfg.Dir, "outbox"), Files: segment.NewFiles(r.cfg.FS, openOutboxes, 0), Send: r.sendAway, Failed: r.breaks, Log: r.log,
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
// of this node. It waits for the disk until ctx ends, or about as long as Append does:
// then the error is ErrUnknown, as when a sync fails. With another error they are not
// kept: ErrAwayFull, ErrBusy, store.ErrFull where the disk is as full as Append would not
// have it, or the disk's.
func (r *Member) PutAway(ctx context.Context, stream meta.ID, records []Away) error {
	if err := r.broken(); err != nil {
		return err
	}
	if err := r.room(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, appendWait)
	defer cancel()
	now := time.Now().UnixNano()
	list := make([]segment.Record, len(records))
	for i, rec := range records {
		list[i] = segment.Record{Time: now, Key: rec.Key, Data: rec.Data}
	}
	switch err := r.away.Put(ctx, away.ID(stream), list); {
	case errors.Is(err, away.ErrUnknown):
		return &awayError{err, multiraft.ErrUnknown}
	case errors.Is(err, away.ErrBusy):
		return &awayError{err, partition.ErrBusy}
	default:
		return err
	}
}

// awayError is an error in the words of its cause, which are not of partitions.
type awayError struct{ cause, is error }

func (e *awayError) Error() string   { return e.cause.Error() }
func (e *awayError) Unwrap() []error { return []error{e.is, e.cause} }

// DrainedAway reports whether no record of a stream waits on this node for the
// region that keeps it; else others must wait, too, or they would overtake. It waits
// for that while what waits gets through.
func (r *Member) DrainedAway(ctx context.Context, stream meta.ID) bool {
	return r.away.Drained(ctx, away.ID(stream))
}
