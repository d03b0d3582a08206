package transport

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

const (
	// batchSize is where a batch is full, in bytes.
	batchSize = 64 << 10
	// countRoom and lengthRoom are the bytes reserved for a batch's count and
	// length: 2^21 events, 2^28 bytes.
	countRoom  = 3
	lengthRoom = 4
	batchHead  = 1 + lengthRoom + countRoom
	batchRoom  = batchSize + 8<<10 // what a batch's memory begins with

	laneBuffer = 4 * batchSize // read ahead, in bytes: few batches are moved
)

// Record is what a lane carries: package wire has one.
type Record interface {
	// Size is an upper bound of the bytes that AppendTo adds.
	Size() int
	AppendTo(dst []byte) []byte
}

// offered is the part of a lane's queue that Offer may fill. The rest is for
// Forward: what others hand this node to send on.
const offered = 1.0 / 16

// Offer queues a record for a peer on a slice of its lanes, for a caller that
// keeps what is refused. It never waits: ErrLinkFull says that there is no room,
// and Handler.HandleRoom will say when there is. A record is not kept; events,
// how many events it holds, is for counting. What is queued when the link goes
// down is lost, and counted as dropped.
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
	if err != nil || s.lane.queued() < s.lane.low {
		return false
	}
	return s.refuse()
}

func (e *Endpoint) put(to peer.ID, _ uint8, rec Record, events, limit int) (*session, error) {
	s, err := e.session(to)
	if err != nil {
		return nil, err
	}
	if size := rec.Size() + wire.RecordRoom + countRoom; size > e.cfg.MaxFrame {
		return s, fmt.Errorf("%w: record of %d bytes", ErrTooLarge, size)
	}
	return s, s.lane.put(rec, events, limit)
}

// refuse notes that somebody waits for room. It reports whether he must: the
// lane may have been emptied meanwhile.
func (s *session) refuse() bool {
	s.lane.refused.Store(true)
	if s.lane.queued() >= s.lane.low && !s.ended() {
		return true
	}
	s.roomAgain()
	return false
}

// roomAgain tells the handler, once, that what was refused has room now.
func (s *session) roomAgain() {
	if s.lane.refused.CompareAndSwap(true, false) {
		s.link.e.cfg.Handler.HandleRoom(s.peer.ID)
	}
}

// laneQueue is the batches that wait for a lane's writer. Records are appended
// to the last batch until it is full; the writer takes all batches at once. So
// an idle lane sends a record at once, and a busy one sends full batches.
type laneQueue struct {
	low     int           // bytes, below which those hear who were refused
	pool    *sync.Pool    // of *batch, the endpoint's
	wake    chan struct{} // holds a token while there is something to do
	refused atomic.Bool   // an offer was

	mu      sync.Mutex // guards the fields below
	batches []*batch
	size    int // bytes of batches
	closed  bool
}

// batch is a frame under construction: room for its head, then records.
type batch struct {
	buf   []byte
	count int // events
}

// newLaneQueue makes the queue of a lane; limit is that of Forward.
func newLaneQueue(limit int, pool *sync.Pool) *laneQueue {
	return &laneQueue{low: int(offered * float64(limit) / 2), pool: pool, wake: make(chan struct{}, 1)}
}

// put appends rec, unless limit bytes wait already.
func (q *laneQueue) put(rec Record, events, limit int) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrLinkDown
	}
	if q.size >= limit {
		q.mu.Unlock()
		return ErrLinkFull
	}
	last := len(q.batches) - 1
	if last < 0 || len(q.batches[last].buf) >= batchSize {
		q.batches = append(q.batches, q.pool.Get().(*batch))
		last++
	}
	b := q.batches[last]
	before := len(b.buf)
	b.buf = rec.AppendTo(wire.BeginRecord(b.buf))
	wire.EndRecord(b.buf, before)
	b.count += events
	q.size += len(b.buf) - before
	first := last == 0 && before == batchHead
	q.mu.Unlock()
	if first {
		q.signal()
	}
	return nil
}

// take is all that waits, in exchange for a slice to go on with; false once
// the queue is closed. It waits for nothing.
func (q *laneQueue) take(spare []*batch) ([]*batch, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	full := q.batches
	q.batches = spare[:0]
	return full, !q.closed
}

// sent gives back a batch that was taken, and its room. It reports whether the
// queue is low.
func (q *laneQueue) sent(b *batch) (low bool) {
	size := len(b.buf) - batchHead
	if cap(b.buf) <= batchRoom { // one big event must not be paid for ever
		*b = batch{buf: b.buf[:batchHead]}
		q.pool.Put(b)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.size -= size
	return q.size < q.low
}

// close empties the queue, and says how many events were lost.
func (q *laneQueue) close() (lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range q.batches {
		lost += uint64(b.count)
	}
	q.closed, q.batches = true, nil
	q.signal()
	return lost
}

func (q *laneQueue) queued() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.size
}

func (q *laneQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func newBatchPool() *sync.Pool {
	return &sync.Pool{New: func() any { return &batch{buf: make([]byte, batchHead, batchRoom)} }}
}

// frame completes the batch's head and returns its bytes on the wire.
func (b *batch) frame() []byte {
	b.buf[0] = byte(wire.Batch)
	wire.PutLength(b.buf[1:1+lengthRoom], len(b.buf)-1-lengthRoom)
	wire.PutLength(b.buf[1+lengthRoom:batchHead], b.count)
	return b.buf
}

// writeLane writes the queued batches, in order.
func (s *session) writeLane() {
	var spare []*batch
	var packer packer
	for range s.lane.wake {
		batches, open := s.lane.take(spare)
		if !open {
			return
		}
		for i, b := range batches {
			plain := b.frame()
			frame := plain
			if s.far() {
				frame = packer.pack(plain)
			}
			if _, err := s.laneStream.Write(frame); err != nil {
				for _, lost := range batches[i:] {
					s.counters.dropped.Add(uint64(lost.count))
				}
				s.fail(s.laneConn, err)
				return
			}
			s.counters.eventsOut.Add(uint64(b.count))
			s.counters.bytesOut.Add(uint64(len(frame)))
			s.counters.bytesSaved.Add(uint64(len(plain) - len(frame)))
			if s.lane.sent(b) {
				s.roomAgain()
			}
		}
		clear(batches)
		spare = batches
	}
}

// readLane hands the peer's batches on, in order.
func (s *session) readLane() {
	frames := wire.NewReader(s.laneStream, laneBuffer)
	frames.Limit = s.link.e.cfg.MaxFrame + batchSize
	var unpacker unpacker
	for {
		kind, body, err := frames.Next()
		came := len(body)
		switch {
		case err != nil:
		case kind == wire.PackedBatch:
			body, err = unpacker.unpack(body, frames.Limit)
		case kind != wire.Batch:
			err = refuse(codeProtocol, "frame of kind %#x on a lane", kind)
		}
		var count uint64
		var records []byte
		if err == nil {
			count, records, err = wire.ReadBatch(body)
		}
		if err != nil {
			s.fail(s.laneConn, garbage(err))
			return
		}
		s.counters.eventsIn.Add(count)
		s.counters.bytesIn.Add(uint64(came))
		s.link.e.cfg.Handler.HandleBatch(s.peer.ID, records)
	}
}
