package replication

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/transport/peer"
)

// sequence is a way to the leader of a partition, as far as is known: batches are sent in
// it that are kept in order, and none after one that is not.
type sequence struct {
	r      *Member
	number uint32
	local  *partition.Partition // the leader is here
	term   uint64               // in which it leads, once there was a batch
	leader peer.ID              // it is there; empty if nobody is known
	slots  chan struct{}        // of the leader's node, see appendsToNode
	turn   turn                 // of the next batch
	plain  bool                 // the leader does not know turns
	proven bool                 // a batch was kept
	broken bool
	closed bool // a batch was not sent: none after it may be
}

func (r *Member) newSequence(number uint32, made uint64) *sequence {
	s := &sequence{r: r, number: number, turn: turn{sender: r.instance, sequence: made}}
	if p, err := r.local(number); err == nil && p.Group().IsLeader() {
		s.local = p
		return s
	}
	if s.leader = r.leaderOf(number); s.leader == "" || s.leader == r.cfg.Self.ID {
		s.leader = r.anyReplica(number)
	}
	s.plain, s.slots = r.wayTo(s.leader)
	return s
}

// stale reports whether another leader is known than the one that the sequence leads to,
// or it is here now.
func (s *sequence) stale() bool {
	if s.local != nil {
		return !s.local.Group().IsLeader()
	}
	now := s.r.leaderOf(s.number)
	return now != "" && now != s.leader
}

// most is how many batches may be on their way: one until it is known that this is
// the way.
func (s *sequence) most() int {
	if s.plain || !s.proven {
		return 1
	}
	return appendsAtOnce
}

// full reports whether another batch would have to wait for a place at the leader's
// node.
func (s *sequence) full() bool {
	return s.local == nil && s.leader != "" && len(s.slots) == cap(s.slots)
}

// send sends a batch, whose settled is closed when there is an outcome.
func (s *sequence) send(b *batch) {
	settled := make(chan struct{})
	ctx, stop := context.WithCancel(b.ctx)
	b.settled, b.stop, b.results, b.err = settled, stop, nil, nil
	var once sync.Once
	end := func(results []partition.Appended, err error) {
		once.Do(func() {
			b.results, b.err = results, err
			close(settled)
		})
		stop()
	}
	refuse := func(err error) {
		s.closed = true
		end(nil, err)
	}
	if s.closed {
		refuse(errTurn)
		return
	}
	if ctx.Err() != nil {
		refuse(fmt.Errorf("%w: %w", ErrNoLeader, context.Cause(ctx)))
		return
	}
	if s.local != nil {
		if err := s.r.room(); err != nil {
			refuse(err)
			return
		}
		term, err := s.local.AppendAsync(s.term, b.records, end)
		if err != nil {
			refuse(err)
			return
		}
		s.term = term
		context.AfterFunc(ctx, func() { // its disk may hang
			end(nil, fmt.Errorf("%w: %w", multiraft.ErrUnknown, context.Cause(ctx)))
		})
		return
	}
	if s.leader == "" {
		refuse(ErrNoLeader)
		return
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		refuse(fmt.Errorf("%w: %w", ErrNoLeader, context.Cause(ctx)))
		return
	}
	t := s.turn
	s.turn.number++
	begun := s.r.begin(func() {
		defer func() { <-s.slots }()
		var answer []byte
		var err error
		if s.plain {
			answer, err = s.r.askLeader(ctx, s.number, s.leader, encodeAppend([]byte{askAppend}, s.number, b.records))
		} else {
			answer, err = s.r.askLeader(ctx, s.number, s.leader, encodeAppend(t.append([]byte{askTurn}), s.number, b.records))
		}
		if err != nil {
			end(nil, err)
			return
		}
		end(decodeAppended(answer, len(b.records)))
	})
	if !begun {
		<-s.slots
		refuse(partition.ErrClosed)
	}
}

// prove notes that a batch was kept: all up to the next are.
func (s *sequence) prove() {
	s.turn.since++
	if !s.proven && s.local == nil {
		s.r.noteLeader(s.number, s.leader)
	}
	s.proven = true
}

// learn notes what the error that broke a sequence says about the way. It reports whether
// somebody at its other end has said so.
func (s *sequence) learn(err error) bool {
	if s.local != nil {
		return !errors.Is(err, context.DeadlineExceeded)
	}
	var from *asked
	if !errors.As(err, &from) {
		s.r.noteLeader(s.number, "")
		return false
	}
	s.r.noteLeader(s.number, from.Leader)
	if older(err) {
		s.r.noteOlder(s.leader)
		s.r.noteLeader(s.number, s.leader)
	}
	return true
}

// older reports whether an error says that the one asked does not know the question:
// it is of a version before there were turns, and takes one batch at a time.
func older(err error) bool {
	var from *asked
	return errors.As(err, &from) && from.Code == "" && strings.HasPrefix(from.Text, unknownQuestion)
}

// nothingKept reports whether an error says that no record was kept.
func nothingKept(err error) bool {
	if older(err) {
		return true
	}
	for _, is := range []error{multiraft.ErrNotLeader, multiraft.ErrUnwell, partition.ErrBusy, partition.ErrClosed, ErrNoLeader, ErrElsewhere, store.ErrFull, errTurn} {
		if errors.Is(err, is) && !errors.Is(err, multiraft.ErrUnknown) {
			return true
		}
	}
	return false
}
