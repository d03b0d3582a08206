package transport

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

const laneBuffer = 4 * batchSize // read ahead, in bytes: few batches are moved

// Record is what a lane carries: package wire has one.
type Record interface {
	// Size is an upper bound of the bytes that AppendTo adds.
	Size() int
	AppendTo(dst []byte) []byte
}

// offered is the part of a link's queue that Offer may fill. The rest is for
// Forward: what others hand this node to send on.
const offered = 1.0 / 16

// Offer queues a record of a slice of the keys, 0 to 15, for a peer, for a caller
// that keeps what is refused. Records of one slice arrive in order. It never
// waits: ErrLinkFull says that there is no room, and Handler.HandleRoom will say
// when there is. A record is not kept; events, how many events it holds, is for
// counting. What is queued when the link goes down is lost, and counted as
// dropped.
func (e *Endpoint) Offer(to peer.ID, slice uint8, rec Record, events int) error {
	s, err := e.put(to, slice, rec, events, int(offered*float64(e.cfg.LaneQueue)))
	if err == ErrLinkFull {
		s.refuse()
	}
	return err
}

// Forward is Offer for a caller that cannot keep what is refused: it has the
// whole queue, and what it refuses is counted as dropped.
func (e *Endpoint) Forward(to peer.ID, slice uint8, rec Record, events int) error {
	s, err := e.put(to, slice, rec, events, e.cfg.LaneQueue)
	if err == ErrLinkFull {
		s.counters.dropped.Add(uint64(events))
	}
	return err
}

// Full reports whether Offer would refuse a record of a slice now, or soon: it
// leaves room for those who asked at the same time.
func (e *Endpoint) Full(to peer.ID, _ uint8) bool {
	s, err := e.session(to)
	if err != nil || s.backlog.size.Load() < s.backlog.low {
		return false
	}
	return s.refuse()
}

func (e *Endpoint) put(to peer.ID, slice uint8, rec Record, events, limit int) (*session, error) {
	s, err := e.session(to)
	if err != nil {
		return nil, err
	}
	if size := rec.Size() + wire.RecordRoom + countRoom; size > e.cfg.MaxFrame {
		return s, fmt.Errorf("%w: record of %d bytes", ErrTooLarge, size)
	}
	q := s.lockQueue(slice)
	first, err := q.append(slice%wire.MaxLanes, rec, events, limit)
	q.mu.Unlock()
	if first {
		q.signal()
	}
	return s, err
}

// refuse notes that somebody waits for room. It reports whether he must: the
// lanes may have been emptied meanwhile.
func (s *session) refuse() bool {
	s.backlog.refused.Store(true)
	if s.backlog.size.Load() >= s.backlog.low && !s.ended() {
		return true
	}
	s.roomAgain()
	return false
}

// roomAgain tells the handler, once, that what was refused has room now.
func (s *session) roomAgain() {
	if s.backlog.refused.CompareAndSwap(true, false) {
		s.link.e.cfg.Handler.HandleRoom(s.peer.ID)
	}
}

// lane is one of the connections that carry a session's batches, with a
// congestion window of its own.
type lane struct {
	index   int
	queue   *laneQueue
	conn    *quic.Conn
	stream  *quic.Stream  // the hellos, then frames
	retired bool          // it will close: no slice comes to it; guarded by session.mu
	proven  bool          // the peer's slices have come to it; guarded by session.mu
	gone    chan struct{} // closed when it is not of the session any more

	frames atomic.Uint64 // that came
	hungry atomic.Bool   // the reader waits for another one
}

func (s *session) newLane(index int, conn *quic.Conn, stream *quic.Stream) *lane {
	return &lane{index: index, queue: newLaneQueue(&s.backlog, s.link.e.batches), conn: conn, stream: stream, gone: make(chan struct{})}
}

// writeLane writes the queued batches, in order.
func (s *session) writeLane(l *lane) {
	var packer packer
	defer packer.close()
	var load load
	for {
		b, more, state := l.queue.next()
		switch {
		case b != nil:
		case state == queueShut:
			return
		case state == queueLast:
			s.leave(l)
			return
		default:
			<-l.queue.wake
			load = newLoad(time.Now())
			continue
		}
		written, err := s.write(l, b, &packer)
		if err != nil {
			s.counters.dropped.Add(uint64(b.count))
			s.fail(l.conn, err)
			return
		}
		load.sent += written
		if l.queue.sent(b) {
			s.roomAgain()
		}
		if more {
			s.bear(l, &load)
		}
	}
}

// write writes one batch, or mark, and returns how many bytes that took.
func (s *session) write(l *lane, b *batch, packer *packer) (int, error) {
	if b.mark {
		return l.stream.Write(b.buf)
	}
	plain := b.frame()
	frame := plain
	if far := s.far(); far > 0 {
		frame = packer.pack(plain, far)
	}
	if _, err := l.stream.Write(frame); err != nil {
		return 0, err
	}
	s.counters.eventsOut.Add(uint64(b.count))
	s.counters.bytesOut.Add(uint64(len(frame)))
	s.counters.bytesSaved.Add(uint64(len(plain) - len(frame)))
	return len(frame), nil
}

// readLane hands the peer's batches on, in order.
func (s *session) readLane(l *lane) {
	frames := wire.NewReader(l.stream, laneBuffer)
	frames.Limit = s.link.e.cfg.MaxFrame + batchSize
	var unpacker unpacker
	defer unpacker.close()
	for {
		l.hungry.Store(true)
		kind, body, err := frames.Next()
		l.hungry.Store(false)
		l.frames.Add(1)
		came := len(body)
		switch {
		case err == io.EOF && l.index > 0:
			if err = s.peerLeft(l); err == nil {
				return
			}
		case err != nil && s.abandon(l):
			s.link.e.shut(l.conn, codeDone, "")
			return
		case err != nil:
		case kind == wire.Move || kind == wire.Moved:
			if err = s.shift(l, kind, body); err == nil {
				continue
			}
		case kind == wire.PackedBatch, kind == wire.StreamBatch:
			body, err = unpacker.unpack(kind, body, frames.Limit)
		case kind != wire.Batch:
			err = refuse(codeProtocol, "frame of kind %#x on a lane", kind)
		}
		var count uint64
		var records []byte
		if err == nil {
			count, records, err = wire.ReadBatch(body)
		}
		if err != nil {
			s.fail(l.conn, garbage(err))
			return
		}
		s.counters.eventsIn.Add(count)
		s.counters.bytesIn.Add(uint64(came))
		s.link.e.cfg.Handler.HandleBatch(s.peer.ID, records)
	}
}
