package replication

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/skeinmesh/skein/replication/fields"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/transport/peer"
)

// ErrAhead: a replica does not have yet what is read.
var ErrAhead = segment.ErrAhead

// End says which offsets of a log can be read now: from start up to end, which the
// next record gets. All that was acknowledged before the call lies below end, since
// the leader proves that it leads, and has applied what is committed. A leader is
// waited for as long as ctx lives; then the error is ErrNoLeader.
func (r *Member) End(ctx context.Context, number uint32, log meta.ID) (start, end int64, err error) {
	q, err := json.Marshal(statusQuestion{number, log})
	if err != nil {
		return 0, 0, err
	}
	for pause := retryPause / 10; ; pause = min(2*pause, retryPauseTo) {
		if start, end, err = r.endOnce(ctx, number, log, q); err == nil {
			return start, end, nil
		}
		if !r.sleep(ctx, pause) {
			return 0, 0, fmt.Errorf("replication: the end of partition %d: %w: %w", number, ErrNoLeader, err)
		}
	}
}

func (r *Member) endOnce(ctx context.Context, number uint32, log meta.ID, q []byte) (start, end int64, err error) {
	if p, err := r.local(number); err == nil && p.Group().IsLeader() {
		return endHere(ctx, p, log)
	}
	var leader peer.ID
	if leader = r.leaderOf(number); leader == "" || leader == r.cfg.Self.ID {
		if leader = r.anyReplica(number); leader == "" {
			return 0, 0, ErrNoLeader
		}
	}
	answer, err := r.askLeader(ctx, number, leader, append([]byte{askEnd}, q...))
	if err != nil {
		var from *asked
		if errors.As(err, &from) {
			r.noteLeader(number, from.Leader)
		} else {
			r.noteLeader(number, "")
		}
		return 0, 0, err
	}
	r.noteLeader(number, leader)
	f := fields.Reader{Rest: answer}
	start, end = int64(f.Number(1<<62)), int64(f.Number(1<<62))
	return start, end, whole(&f)
}

func endHere(ctx context.Context, p *partition.Partition, log meta.ID) (start, end int64, err error) {
	if err := p.Group().Barrier(ctx); err != nil {
		return 0, 0, err
	}
	l, err := p.Log(partition.LogID(log))
	if errors.Is(err, partition.ErrGone) { // nothing was ever appended
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	return l.Start(), l.Next(), nil
}

func (r *Member) answerEnd(ctx context.Context, body []byte) ([]byte, error) {
	var q statusQuestion
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("replication: a malformed question: %w", err)
	}
	p, err := r.local(q.Partition)
	if err != nil {
		return nil, err
	}
	if !p.Group().IsLeader() {
		if leader, _, known := p.Group().Leader(); known && leader.Node != r.cfg.Self.ID {
			return nil, &ledElsewhere{leader.Node}
		}
		return nil, ErrNoLeader
	}
	start, end, err := endHere(ctx, p, q.Log)
	if err != nil {
		return nil, err
	}
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(start)), uint64(end)), nil
}
