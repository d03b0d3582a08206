package transport

import (
	"slices"
	"sync"
	"sync/atomic"

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
)

// backlog is what waits on all lanes of a session: they share one limit.
type backlog struct {
	low     int64        // bytes, below which those hear who were refused
	size    atomic.Int64 // bytes
	refused atomic.Bool  // an offer was
}

// laneQueue is the batches that wait for a lane's writer. Records are appended
// to the last batch until it is full; the writer takes the first. So an idle lane
// sends a record at once, and a busy one sends full batches.
type laneQueue struct {
	all  *backlog
	pool *sync.Pool    // of *batch, the endpoint's
	wake chan struct{} // holds a token when there is something to do again

	mu      sync.Mutex // guards the fields below
	batches []*batch   // those from at on wait
	at      int
	state   queueState
}

// queueState is what may still come.
type queueState uint8

const (
	queueOpen queueState = iota
	queueLast            // what waits is the last
	queueShut            // nothing: the session has ended
)

// batch is a frame under construction: room for its head, then records. Or it
// is a mark, a whole frame already.
type batch struct {
	buf   []byte
	count int // events
	parts []part
	mark  bool
}

// part is some records of one slice in a row.
type part struct {
	slice  uint8
	events int32
	end    int32 // in the batch's buf
}

func newBatchPool() *sync.Pool {
	return &sync.Pool{New: func() any { return &batch{buf: make([]byte, batchHead, batchRoom)} }}
}

func newLaneQueue(all *backlog, pool *sync.Pool) *laneQueue {
	return &laneQueue{all: all, pool: pool, wake: make(chan struct{}, 1)}
}

// frame completes the batch's head and returns its bytes on the wire.
func (b *batch) frame() []byte {
	b.buf[0] = byte(wire.Batch)
	wire.PutLength(b.buf[1:1+lengthRoom], len(b.buf)-1-lengthRoom)
	wire.PutLength(b.buf[1+lengthRoom:batchHead], b.count)
	return b.buf
}

// append adds rec, unless limit bytes wait already on all lanes. It reports
// whether the writer is to be woken. q.mu is held.
func (q *laneQueue) append(slice uint8, rec Record, events, limit int) (first bool, err error) {
	switch {
	case q.state != queueOpen: // no slice is on a lane that goes
		return false, ErrLinkDown
	case q.all.size.Load() >= int64(limit):
		return false, ErrLinkFull
	}
	first = q.at == len(q.batches)
	b := q.last()
	before := len(b.buf)
	b.buf = rec.AppendTo(wire.BeginRecord(b.buf))
	wire.EndRecord(b.buf, before)
	b.note(slice, events)
	q.all.size.Add(int64(len(b.buf) - before))
	return first, nil
}

// last is the batch that takes the next record. q.mu is held.
func (q *laneQueue) last() *batch {
	if n := len(q.batches); n > q.at {
		if b := q.batches[n-1]; !b.mark && len(b.buf) < batchSize {
			return b
		}
	}
	return q.fresh()
}

// fresh is a new batch at the end. q.mu is held.
func (q *laneQueue) fresh() *batch {
	b := q.pool.Get().(*batch)
	q.batches = append(q.batches, b)
	return b
}

// note says of which slice the bytes at the batch's end are.
func (b *batch) note(slice uint8, events int) {
	b.count += events
	if n := len(b.parts) - 1; n >= 0 && b.parts[n].slice == slice {
		b.parts[n].events += int32(events)
		b.parts[n].end = int32(len(b.buf))
		return
	}
	b.parts = append(b.parts, part{slice, int32(events), int32(len(b.buf))})
}

// mark puts a frame of its own behind what waits. q.mu is held.
func (q *laneQueue) mark(frame []byte) {
	q.batches = append(q.batches, &batch{buf: frame, mark: true})
}

// next takes the first batch that waits; nil if none does. more says whether
// others do, state what may come after them. It waits for nothing.
func (q *laneQueue) next() (b *batch, more bool, state queueState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.at == len(q.batches) {
		return nil, false, q.state
	}
	b = q.batches[q.at]
	q.batches[q.at] = nil
	q.at++
	if q.at == len(q.batches) || q.at >= 64 && q.at > len(q.batches)/2 {
		rest := copy(q.batches, q.batches[q.at:])
		clear(q.batches[rest:])
		q.at, q.batches = 0, q.batches[:rest]
	}
	return b, len(q.batches) > q.at, q.state
}

// sent gives back a batch that was taken, and its room. It reports whether the
// lanes are low.
func (q *laneQueue) sent(b *batch) (low bool) {
	if b.mark {
		return false
	}
	size := len(b.buf) - batchHead
	q.recycle(b)
	return q.all.size.Add(int64(-size)) < q.all.low
}

func (q *laneQueue) recycle(b *batch) {
	if cap(b.buf) <= batchRoom { // one big event must not be paid for ever
		*b = batch{buf: b.buf[:batchHead], parts: b.parts[:0]}
		q.pool.Put(b)
	}
}

// finish says that nothing comes after what waits.
func (q *laneQueue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state == queueOpen {
		q.state = queueLast
		q.signal()
	}
}

// close empties the queue, and says how many events were lost.
func (q *laneQueue) close() (lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range q.batches[q.at:] {
		lost += uint64(b.count)
	}
	q.state, q.batches, q.at = queueShut, nil, 0
	q.signal()
	return lost
}

func (q *laneQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// pass hands what waits of a slice, and what will come, on to another queue. Both
// marks come behind all older ones of their queues; what waits goes along, so that
// it need not go the slow way that the move is to relieve. The locks of both are
// held, and both are open.
func (q *laneQueue) pass(slice uint8, to *laneQueue, move, moved []byte) {
	to.mark(moved)
	kept := make([]*batch, 0, len(q.batches)-q.at+1)
	marks := 0 // of kept, up to the last mark
	for _, b := range q.batches[q.at:] {
		if b.mark {
			kept = append(kept, b)
			marks = len(kept)
			continue
		}
		if rest := q.split(b, slice, to); rest != nil {
			kept = append(kept, rest)
		}
	}
	kept = slices.Insert(kept, marks, &batch{buf: move, mark: true})
	q.batches, q.at = kept, 0
	q.signal()
	to.signal()
}

// split moves a slice's records from a batch to the end of another queue. It
// returns the batch with what is left, or nil.
func (q *laneQueue) split(b *batch, slice uint8, to *laneQueue) *batch {
	if !slices.ContainsFunc(b.parts, func(p part) bool { return p.slice == slice }) {
		return b
	}
	parts := b.parts
	all := b.buf
	begin := int32(batchHead)
	b.buf, b.parts, b.count = all[:batchHead], nil, 0
	for _, p := range parts {
		records := all[begin:p.end]
		begin = p.end
		into := b
		if p.slice == slice {
			// Full batches are larger than batchSize by one record at most, which is
			// what readers take: so these are not put on top of others.
			if into = to.last(); len(into.buf) > batchHead && len(into.buf)+len(records) > batchSize {
				into = to.fresh()
			}
		}
		into.buf = append(into.buf, records...) // to the front of itself, if it stays
		into.note(p.slice, int(p.events))
	}
	if len(b.parts) == 0 {
		q.recycle(b)
		return nil
	}
	return b
}
