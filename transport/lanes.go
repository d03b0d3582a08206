package transport

import (
	"context"
	"errors"
	"math/bits"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/wire"
)

// After a failed attempt to get more lanes there is a pause, which doubles from the
// first to the last of these.
const (
	minLanePause = 5 * time.Second
	maxLanePause = time.Minute
)

// lockQueue is the queue of the lane that a slice is on, locked, so that the slice
// stays there until the queue is unlocked.
func (s *session) lockQueue(slice uint8) *laneQueue {
	slot := &s.slices[slice%wire.MaxLanes]
	for {
		l := slot.Load()
		l.queue.mu.Lock()
		if slot.Load() == l {
			return l.queue
		}
		l.queue.mu.Unlock()
	}
}

// join makes a connection the lane of that index. It serves the lane at once;
// slices come to it when all lanes below it are there as well.
func (s *session) join(index int, conn *quic.Conn, stream *quic.Stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.free(index); err != nil {
		return err
	}
	s.attach(s.newLane(index, conn, stream))
	return nil
}

// free says why there can be no further lane of that index, if so. s.mu is held.
func (s *session) free(index int) error {
	switch {
	case s.closed:
		return refuse(codeDuplicate, "the link has ended meanwhile")
	case index < 1 || index >= s.most:
		return refuse(codeRefused, "lane %d, when there are at most %d", index, s.most)
	case s.lanes[index] != nil:
		return refuse(codeDuplicate, "there is a lane %d already", index)
	}
	return nil
}

// attach serves a lane. s.mu is held, and the session has not ended.
func (s *session) attach(l *lane) {
	s.lanes[l.index] = l
	s.wg.Go(func() { s.readLane(l) })
	s.wg.Go(func() { s.writeLane(l) })
}

// grown is up to how many lanes slices can be spread: a power of two. The dialer
// begins; the other follows to the lanes that the dialer's slices have come to.
// s.mu is held.
func (s *session) grown() int {
	n := 1
	for n < len(s.lanes) && s.lanes[n] != nil && !s.lanes[n].retired && (s.dialled || s.lanes[n].proven) {
		n++
	}
	return 1 << (bits.Len(uint(n)) - 1)
}

// spread spreads the slices over the first n lanes. When n doubles, half of them
// move, and when it halves, half of them move back. s.mu is held.
func (s *session) spread(n int, why string) {
	if s.closed || n == s.open {
		return
	}
	for slice := range s.slices {
		s.move(uint8(slice), s.lanes[slice%n])
	}
	s.open, s.lanesWhy = n, why
	s.demand.became(time.Now())
	s.link.e.log.Info("lanes of a link", "peer", s.peer.ID, "name", s.peer.Name, "lanes", n, "reason", why)
}

// move takes a slice to another lane, see whereabouts. s.mu is held.
func (s *session) move(slice uint8, to *lane) {
	from := s.slices[slice].Load()
	if from == to {
		return
	}
	s.epoch++
	from.queue.mu.Lock()
	defer from.queue.mu.Unlock()
	to.queue.mu.Lock()
	defer to.queue.mu.Unlock()
	from.queue.pass(slice, to.queue,
		wire.AppendShift(nil, wire.Move, wire.Shift{Slice: slice, Lane: uint8(to.index), Epoch: s.epoch}),
		wire.AppendShift(nil, wire.Moved, wire.Shift{Slice: slice, Lane: uint8(from.index), Epoch: s.epoch}))
	s.slices[slice].Store(to)
}

// leave is called when a lane's writer has written the last of a lane that closes.
// The dialer begins, and its lane is gone when the peer has done the same; the
// peer's place for a new lane is free before the dialer knows.
func (s *session) leave(l *lane) {
	if s.dialled {
		l.stream.Close()
		return
	}
	s.forget(l)
	l.stream.Close()
	select {
	case <-l.conn.Context().Done(): // the dialer has read all of it
	case <-s.done:
	}
	s.link.e.shut(l.conn, codeDone, "the lane is not needed any more")
}

// peerLeft is called when the peer has written the last of a lane.
func (s *session) peerLeft(l *lane) error {
	if slice, found := s.where.on(l.index); found {
		return refuse(codeProtocol, "lane %d ended with slice %d on it", l.index, slice)
	}
	if s.dialled {
		s.mu.Lock()
		retired := l.retired
		s.mu.Unlock()
		if !retired {
			return refuse(codeProtocol, "the peer ended lane %d, which this node has dialled", l.index)
		}
		s.forget(l)
		s.link.e.shut(l.conn, codeDone, "the lane is not needed any more")
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retire(l.index, "the peer closes them")
	return nil
}

// retire takes the slices off a lane, and those above it that they are spread
// over, and has it closed. s.mu is held.
func (s *session) retire(index int, why string) {
	l := s.lanes[index]
	if n := 1 << (bits.Len(uint(index)) - 1); n < s.open {
		s.spread(n, why)
	}
	l.retired = true
	l.queue.finish()
}

// follow notes, at who has not dialled, that slices of the dialer's have come to a
// lane.
func (s *session) follow(l *lane) {
	if s.dialled {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.proven = true; s.grown() > s.open {
		s.spread(s.grown(), "the peer uses them")
	}
}

// abandon drops a lane whose connection has failed before it was used: the dialer
// has given it up. It reports whether that is so.
func (s *session) abandon(l *lane) bool {
	if s.dialled || l.index == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.proven || l.index < s.open || s.lanes[l.index] != l {
		return false
	}
	l.queue.close()
	s.drop(l)
	return true
}

// forget removes a lane that has no slices.
func (s *session) forget(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(l)
}

// drop is forget with s.mu held.
func (s *session) drop(l *lane) {
	stats := l.conn.ConnectionStats()
	s.past.sent += stats.PacketsSent
	s.past.lost += stats.PacketsLost
	s.lanes[l.index] = nil
	close(l.gone)
}

// tend opens and closes lanes as they are needed: the dialer of the link does, the
// other tells it.
func (s *session) tend(ctx context.Context) {
	told := 1
	var retry time.Time
	pause := minLanePause
	for {
		select {
		case <-s.stirred:
		case <-s.done:
			return
		}
		n, why := s.demand.wants()
		open := s.openLanes()
		switch {
		case !s.dialled && n != told:
			if s.out.put(wire.Lanes, []byte{byte(n)}) == nil {
				told = n
			}
		case !s.dialled:
		case n > open && !time.Now().Before(retry):
			err := s.widen(ctx, open, n, why)
			switch {
			case err == nil:
				pause = minLanePause
			case ctx.Err() == nil:
				s.link.e.log.Warn("no more lanes", "peer", s.peer.ID, "name", s.peer.Name, "cause", err)
				retry = time.Now().Add(pause)
				pause = min(2*pause, maxLanePause)
			}
		case n < open:
			s.narrow(n, why)
		}
	}
}

// widen dials the lanes that are missing to n.
func (s *session) widen(ctx context.Context, open, n int, why string) error {
	to := s.peer
	to.Addr = addrPort(s.control.RemoteAddr())
	var errs [wire.MaxLanes]error
	var wg sync.WaitGroup
	for i := open; i < n; i++ {
		if s.lane(i) != nil {
			continue // of an earlier attempt, at which others failed
		}
		wg.Go(func() {
			d, err := s.link.greet(ctx, to, s.link.e.laneHello(s.id, i), nil)
			if err == nil {
				if err = s.join(i, d.conn, d.stream); err != nil {
					s.link.e.shut(d.conn, codeDone, err.Error())
				}
			}
			errs[i] = err
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spread(s.grown(), why)
	return errors.Join(errs[:]...)
}

// narrow closes the lanes from n on, and waits until they are gone.
func (s *session) narrow(n int, why string) {
	s.mu.Lock()
	s.spread(n, why)
	var gone []chan struct{}
	for _, l := range s.lanes[n:] {
		if l != nil {
			s.retire(l.index, why)
			gone = append(gone, l.gone)
		}
	}
	s.mu.Unlock()
	for _, c := range gone {
		select {
		case <-c:
		case <-s.done:
			return
		}
	}
}

// stir wakes tend.
func (s *session) stir() {
	select {
	case s.stirred <- struct{}{}:
	default:
	}
}

// laneCount is how many lanes there are, and why.
func (s *session) laneCount() (n int, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		if l != nil {
			n++
		}
	}
	return n, s.lanesWhy
}

// openLanes is how many lanes the slices are spread over.
func (s *session) openLanes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

func (s *session) lane(index int) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes[index]
}

// laneTraffic is what went out on all lanes there have been.
func (s *session) laneTraffic() traffic {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.past
	for _, l := range s.lanes {
		if l != nil {
			stats := l.conn.ConnectionStats()
			t.sent += stats.PacketsSent
			t.lost += stats.PacketsLost
		}
	}
	return t
}
