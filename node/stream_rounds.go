package node

import (
	"context"
	"time"
)

// changed brings the routing table, the region and the mesh up to what the
// metadata says. It does not block.
func (s *streams) changed() {
	select {
	case s.stirred <- struct{}{}:
	default:
	}
}

// follow does what changed asks for: what has changed is routed, then on the disk,
// and only then known.
func (s *streams) follow() {
	defer s.closeBook()
	var again <-chan time.Time // what could not be written is tried again
	for {
		select {
		case <-s.stirred:
		case <-again:
		case <-s.n.ctx.Done():
			return
		}
		m := s.member.Load()
		if m == nil {
			continue
		}
		round := s.begin()
		s.update(m, s.heard()) // before what they told is looked at
		if again = nil; !s.record() {
			again = time.After(writeAgain)
		}
		s.end(round)
		s.n.spread.poke()
	}
}

// writeAgain is how soon what could not be written is tried again.
const writeAgain = time.Second

// rounds are those of follow, counted.
type rounds struct {
	begun, ended uint64
	looked       uint64 // at so many streams in all
}

func (s *streams) begin() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rounds.begun++
	return s.rounds.begun
}

func (s *streams) end(round uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rounds.ended = round
	close(s.moved)
	s.moved = make(chan struct{})
}

// await waits until a condition, which is asked with s.mu held, holds after a round
// of follow. It reports false when ctx ends first.
func (s *streams) await(ctx context.Context, cond func() bool) bool {
	for {
		s.mu.Lock()
		holds, moved := cond(), s.moved
		s.mu.Unlock()
		if holds {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		case <-s.n.ctx.Done():
			return false
		}
	}
}

// settled waits until what is known here now is routed and on the disk.
func (s *streams) settled(ctx context.Context) bool {
	s.mu.Lock()
	want := s.rounds.begun + 1
	s.mu.Unlock()
	s.changed()
	return s.await(ctx, func() bool { return s.rounds.ended >= want })
}
