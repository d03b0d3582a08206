package replication

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/transport/peer"
)

// Status is what a partition's leader, or another replica, says of one log.
type Status struct {
	Partition uint32  `json:"partition"`
	Leader    peer.ID `json:"leader,omitempty"`
	Start     int64   `json:"start"`
	Next      int64   `json:"next"`
	Bytes     int64   `json:"bytes"`
	// Behind is how many entries of the partition's log replicas are behind, by
	// node, as the leader knows; nil if another replica was asked.
	Behind map[peer.ID]uint64 `json:"behind,omitempty"`
}

type statusQuestion struct {
	Partition uint32  `json:"partition"`
	Log       meta.ID `json:"log"`
}

// Status asks about a log: the leader if it can be reached, else any replica.
func (r *Member) Status(ctx context.Context, number uint32, log meta.ID) (Status, error) {
	if leader := r.leaderOf(number); leader == r.cfg.Self.ID {
		return r.status(number, log)
	}
	body, err := json.Marshal(statusQuestion{number, log})
	if err != nil {
		return Status{}, err
	}
	nodes := slices.DeleteFunc(r.able(number), func(id peer.ID) bool { return id == r.cfg.Self.ID })
	if leader := r.leaderOf(number); leader != "" {
		nodes = append([]peer.ID{leader}, nodes...)
	}
	for _, id := range nodes {
		var answer []byte
		if answer, err = r.ask(ctx, id, askStatus, body); err == nil {
			var s Status
			return s, json.Unmarshal(answer, &s)
		}
	}
	if s, here := r.status(number, log); here == nil {
		return s, nil
	}
	if err == nil {
		err = ErrNoLeader
	}
	return Status{}, fmt.Errorf("replication: status of partition %d: %w", number, err)
}

// Led reports whether a partition has a leader: as this node's replica knows, or the
// node that is asked.
func (r *Member) Led(ctx context.Context, number uint32) bool {
	if _, err := r.local(number); err == nil {
		return r.leaderOf(number) != ""
	}
	s, err := r.Status(ctx, number, meta.ID{})
	return err == nil && s.Leader != ""
}

func (r *Member) status(number uint32, log meta.ID) (Status, error) {
	p, err := r.local(number)
	if err != nil {
		return Status{}, err
	}
	s := Status{Partition: number}
	stats := p.Group().Stats()
	s.Leader = stats.Leader.Node
	if p.Group().IsLeader() {
		s.Behind = map[peer.ID]uint64{}
		for _, f := range stats.Follower {
			s.Behind[f.Node] = stats.Last - min(stats.Last, f.Matched)
		}
	}
	if l, err := p.Log(partition.LogID(log)); err == nil {
		s.Start, s.Next = l.Start(), l.Next()
		for _, f := range l.Files() {
			s.Bytes += f.Bytes
		}
	}
	return s, nil
}

func (r *Member) answerStatus(body []byte) ([]byte, error) {
	var q statusQuestion
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("replication: a malformed question: %w", err)
	}
	s, err := r.status(q.Partition, q.Log)
	if err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

type trimQuestion struct {
	Partition uint32  `json:"partition"`
	Log       meta.ID `json:"log"`
	Offset    int64   `json:"offset"`
}

// Trim drops a log's records before an offset.
func (r *Member) Trim(ctx context.Context, number uint32, log meta.ID, offset int64) error {
	q, err := json.Marshal(trimQuestion{number, log, offset})
	if err != nil {
		return err
	}
	leader := r.leaderOf(number)
	switch leader {
	case "":
		return fmt.Errorf("replication: trim partition %d: %w", number, ErrNoLeader)
	case r.cfg.Self.ID:
		return r.answerTrim(ctx, q)
	}
	_, err = r.ask(ctx, leader, askTrim, q)
	return err
}

func (r *Member) answerTrim(ctx context.Context, body []byte) error {
	var q trimQuestion
	if err := json.Unmarshal(body, &q); err != nil {
		return fmt.Errorf("replication: a malformed question: %w", err)
	}
	p, err := r.local(q.Partition)
	if err != nil {
		return err
	}
	return p.Trim(ctx, partition.LogID(q.Log), q.Offset)
}
