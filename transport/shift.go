package transport

import (
	"fmt"
	"sync"
	"time"

	"github.com/skeinmesh/skein/transport/wire"
)

// moveWait is how long the reader of a lane waits for a slice while nothing at all
// comes on the lane that the slice is to leave.
const moveWait = 30 * time.Second

// whereabouts is on which lane each slice of the peer's keys is, for the readers
// of the lanes. The reader of a slice's new lane waits, at the Moved, until the
// reader of its old lane has come to the Move: so the slice keeps its order. Two
// readers never wait for each other: both marks of a move are queued at once, so
// they are in the order of their epochs on every lane, and the earliest move of
// those that are not over can always go on.
type whereabouts struct {
	mu     sync.Mutex // guards the fields below
	slices [wire.MaxLanes]place
	left   chan struct{} // closed, and replaced, at each Move
}

// place is where a slice is.
type place struct {
	lane   uint8  // that it is on, or was
	next   uint8  // that it is moving to
	moving bool   // it has left lane
	epoch  uint64 // of its last move
}

func newWhereabouts() *whereabouts { return &whereabouts{left: make(chan struct{})} }

// leave is a Move that came on a lane.
func (w *whereabouts) leave(lane int, s wire.Shift) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &w.slices[s.Slice]
	if p.moving || int(p.lane) != lane || int(s.Lane) == lane || s.Epoch <= p.epoch {
		return fmt.Errorf("%w: move %d of slice %d from lane %d, which it is not on", wire.ErrMalformed, s.Epoch, s.Slice, lane)
	}
	*p = place{lane: p.lane, next: s.Lane, moving: true, epoch: s.Epoch}
	close(w.left)
	w.left = make(chan struct{})
	return nil
}

// arrive is a Moved that came on a lane. If the slice has not left its old lane
// yet, arrive returns what is closed before it is worth another try.
func (w *whereabouts) arrive(lane int, s wire.Shift) (wait <-chan struct{}, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &w.slices[s.Slice]
	switch {
	case p.epoch < s.Epoch && int(s.Lane) != lane:
		return w.left, nil
	case p.epoch == s.Epoch && p.moving && int(p.next) == lane && p.lane == s.Lane:
		p.lane, p.moving = p.next, false
		return nil, nil
	}
	return nil, fmt.Errorf("%w: slice %d comes to lane %d by move %d, which was none", wire.ErrMalformed, s.Slice, lane, s.Epoch)
}

// on is a slice that is on a lane, or was last, if there is one.
func (w *whereabouts) on(lane int) (slice int, found bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, p := range w.slices {
		if int(p.lane) == lane && !p.moving || int(p.next) == lane && p.moving {
			return i, true
		}
	}
	return 0, false
}

// shift handles a Move or a Moved that came on a lane.
func (s *session) shift(l *lane, kind wire.Kind, body []byte) error {
	shift, err := wire.ReadShift(body)
	if err != nil {
		return err
	}
	if kind == wire.Move {
		return s.where.leave(l.index, shift)
	}
	timer := time.NewTimer(moveWait)
	defer timer.Stop()
	frames := ^uint64(0) // of the old lane, at the last look: none yet
	for {
		wait, err := s.where.arrive(l.index, shift)
		switch {
		case err != nil:
			return err
		case wait == nil:
			s.follow(l)
			return nil
		}
		select {
		case <-wait:
		case <-s.done:
			return ErrLinkDown
		case <-timer.C:
			old := s.lane(int(shift.Lane))
			if old == nil || old.hungry.Load() && old.frames.Load() == frames {
				return refuse(codeProtocol, "slice %d did not leave lane %d within %v", shift.Slice, shift.Lane, moveWait)
			}
			frames = old.frames.Load()
			timer.Reset(moveWait)
		}
	}
}
