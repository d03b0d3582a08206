package transport

import (
	"context"
	"fmt"
	"sync"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

const (
	// batchSize is where a batch is full, in bytes.
	batchSize = 64 << 10
	// countRoom and lengthRoom are the bytes reserved for a batch's count and
	// length: 2^21 records, 2^28 bytes.
	countRoom  = 3
	lengthRoom = 4
	batchHead  = 1 + lengthRoom + countRoom
	batchRoom  = batchSize + 8<<10 // what a batch's memory begins with

	laneBuffer = 4 * batchSize // read ahead, in bytes: few batches are moved
)

// Forward queues a record for a peer. It waits for room while the queue is
// full, the link up and ctx alive. What is queued when the link goes down is
// lost, and counted as dropped. rec is not kept.
func (e *Endpoint) Forward(ctx context.Context, to peer.ID, rec *wire.Record) error {
	s, err := e.session(to)
	if err != nil {
		return err
	}
	if err := s.fits(rec); err != nil {
		return err
	}
	for {
		room, err := s.lane.put(rec, true)
		if room == nil {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrLinkFull, context.Cause(ctx))
		}
	}
}

// TryForward is Forward that never waits: ErrLinkFull if there is no room, and
// the record is counted as dropped.
func (e *Endpoint) TryForward(to peer.ID, rec *wire.Record) error {
	s, err := e.session(to)
	if err != nil {
		return err
	}
	if err := s.fits(rec); err != nil {
		return err
	}
	_, err = s.lane.put(rec, false)
	if err == ErrLinkFull {
		s.counters.dropped.Add(1)
	}
	return err
}

func (s *session) fits(rec *wire.Record) error {
	if wire.RecordSize(rec)+countRoom > s.link.e.cfg.MaxFrame || len(rec.Namespace) > wire.MaxNamespace || len(rec.Targets) > wire.MaxTargets {
		return fmt.Errorf("%w: event of %d bytes", ErrTooLarge, len(rec.Envelope))
	}
	return nil
}

// laneQueue is the batches that wait for a lane's writer. Records are appended
// to the last batch until it is full; the writer takes all batches at once. So
// an idle lane sends a record at once, and a busy one sends full batches.
type laneQueue struct {
	limit int           // bytes
	pool  *sync.Pool    // of *batch, the endpoint's
	wake  chan struct{} // holds a token while there is something to do

	mu      sync.Mutex // guards the fields below
	batches []*batch
	size    int // bytes of batches
	closed  bool
	room    chan struct{} // closed when there is room again; nil if nobody waits
}

// batch is a frame under construction: room for its head, then records.
type batch struct {
	buf   []byte
	count int
}

func newLaneQueue(limit int, pool *sync.Pool) *laneQueue {
	return &laneQueue{limit: limit, pool: pool, wake: make(chan struct{}, 1)}
}

// put appends rec. If there is no room it returns ErrLinkFull and, on request,
// what to wait for.
func (q *laneQueue) put(rec *wire.Record, wait bool) (room <-chan struct{}, err error) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return nil, ErrLinkDown
	}
	if q.size >= q.limit {
		if wait && q.room == nil {
			q.room = make(chan struct{})
		}
		room = q.room
		q.mu.Unlock()
		if !wait {
			room = nil
		}
		return room, ErrLinkFull
	}
	last := len(q.batches) - 1
	if last < 0 || len(q.batches[last].buf) >= batchSize {
		q.batches = append(q.batches, q.pool.Get().(*batch))
		last++
	}
	b := q.batches[last]
	before := len(b.buf)
	b.buf = wire.AppendRecord(b.buf, rec)
	b.count++
	q.size += len(b.buf) - before
	first := last == 0 && b.count == 1
	q.mu.Unlock()
	if first {
		q.signal()
	}
	return nil, nil
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

// sent gives back a batch that was taken, and its room.
func (q *laneQueue) sent(b *batch) {
	size := len(b.buf) - batchHead
	if cap(b.buf) <= batchRoom { // one big event must not be paid for ever
		*b = batch{buf: b.buf[:batchHead]}
		q.pool.Put(b)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.size -= size
	if q.room != nil && q.size < q.limit {
		close(q.room)
		q.room = nil
	}
}

// close empties the queue, lets go those who wait, and says how many records
// were lost.
func (q *laneQueue) close() (lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range q.batches {
		lost += uint64(b.count)
	}
	q.closed, q.batches = true, nil
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
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
			s.lane.sent(b)
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
