// Package queue is the bounded queue of one subscriber: events go in without
// ever waiting, and events and gaps come out in order.
//
// When the queue is full the oldest events make room, and a gap takes their
// place: it says how many were lost, why, and when. Since it is always the
// oldest that go, that gap is at the head, and one is enough. Gaps that others
// report, of events that never came here, keep their place among the events; when
// they have to go with those, there is one at the head for each cause and origin.
//
// A queue owns its bytes. Push copies the envelope into a chunk of memory, which
// goes back to a pool once all of its events are gone: so a queue holds little
// more than it counts, whatever frame an event came in, an idle one holds
// nothing, and a subscriber that keeps up makes no garbage.
package queue

import (
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/transport/event"
)

// Cause says why events were lost.
type Cause string

// Overflow: the subscriber did not keep up.
const Overflow Cause = "overflow"

// Gap stands where events were lost.
type Gap struct {
	// Count is how many. Of events that were lost before they came to this
	// queue it is the most that there can have been, since not all of them need
	// have been for this subscriber; 0 is: nobody knows.
	Count    uint64
	Cause    Cause
	Origin   string    // the node where they had been published; empty when the subscriber was too slow
	From, To time.Time // when the first and the last of them were dropped, or found missing
}

// add lets a gap stand for another, later one, too.
func (g *Gap) add(other *Gap) {
	if g.Count == 0 || other.Count == 0 {
		g.Count = 0 // of some of it nobody knows
	} else {
		g.Count += other.Count
	}
	if g.Origin != other.Origin {
		g.Origin = ""
	}
	if other.From.Before(g.From) {
		g.From = other.From
	}
	if other.To.After(g.To) {
		g.To = other.To
	}
}

// Item is an event or, when Gap is not nil, a gap.
type Item struct {
	Event event.Event
	Gap   *Gap
}

// eventOverhead is what an event costs besides its envelope, in bytes.
const eventOverhead = 96

// maxGaps is how many gaps at the head are told apart by origin, too.
const maxGaps = 8

// maxIdleRing is the longest ring that an empty queue keeps, in events.
const maxIdleRing = 4096

// Queue is made by New. Any number of goroutines may push; one may pop.
type Queue struct {
	limit int
	pool  *Pool
	ready chan struct{}
	done  chan struct{}

	mu     sync.Mutex // guards the fields below
	ring   []entry
	head   int
	count  int
	bytes  int
	last   *chunk   // where the next event goes, if it has room; nil if there is none
	popped []*chunk // one for each event of the last Pop
	gaps   []*Gap   // at the head; of as many causes and origins
	lost   uint64
	closed bool
}

// entry is an event in the queue and where its bytes are, or a gap.
type entry struct {
	event event.Event
	chunk *chunk
	gap   *Gap
}

// size is what an entry counts, in bytes.
func (e *entry) size() int { return len(e.event.Bytes()) + eventOverhead }

// New makes an empty queue of at most limit bytes: those of the envelopes, and
// 96 for each event. An event larger than the limit is kept while it is alone.
// The bytes lie in memory of the pool.
func New(limit int, pool *Pool) *Queue {
	return &Queue{limit: limit, pool: pool, ready: make(chan struct{}, 1), done: make(chan struct{})}
}

// Push adds a copy of an event. It never waits; a closed queue drops it.
func (q *Queue) Push(ev *event.Event) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	e := q.place(len(ev.Bytes()) + eventOverhead)
	e.chunk = q.room(len(ev.Bytes()))
	e.event, e.chunk.buf = ev.CopyTo(e.chunk.buf)
	e.chunk.events++
	first := q.count == 1
	q.mu.Unlock()
	if first {
		q.signal()
	}
}

// PushGap reports, in its place, that events did not come here. It never waits;
// a closed queue drops it.
func (q *Queue) PushGap(g Gap) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if q.count > 0 {
		if last := q.ring[(q.head+q.count-1)&(len(q.ring)-1)].gap; last != nil && last.Cause == g.Cause && last.Origin == g.Origin {
			last.add(&g)
			return
		}
	}
	q.place(eventOverhead).gap = &g
	if q.count == 1 {
		q.signal()
	}
}

// place makes room for an entry of so many bytes at the end.
func (q *Queue) place(size int) *entry {
	for q.count > 0 && q.bytes+size > q.limit {
		q.drop()
	}
	if q.count == len(q.ring) {
		q.grow()
	}
	q.count++
	q.bytes += size
	return &q.ring[(q.head+q.count-1)&(len(q.ring)-1)]
}

func (q *Queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// room is a chunk with room for size bytes.
func (q *Queue) room(size int) *chunk {
	if q.last == nil || size > cap(q.last.buf)-len(q.last.buf) {
		q.last = q.pool.get(size, q.bytes)
	}
	return q.last
}

// release gives back the place of one event.
func (q *Queue) release(c *chunk) {
	if c.events--; c.events > 0 {
		return
	}
	if c == q.last {
		q.last = nil
	}
	q.pool.put(c)
}

// drop turns the oldest entry into a gap, or adds it to the one that is there.
func (q *Queue) drop() {
	e := q.take()
	g := e.gap
	if g == nil {
		q.release(e.chunk)
		now := time.Now()
		g = &Gap{Count: 1, Cause: Overflow, From: now, To: now}
		q.lost++
	}
	same := slices.IndexFunc(q.gaps, func(h *Gap) bool { return h.Cause == g.Cause && h.Origin == g.Origin })
	if same < 0 && len(q.gaps) >= maxGaps {
		same = slices.IndexFunc(q.gaps, func(h *Gap) bool { return h.Cause == g.Cause })
	}
	switch {
	case same >= 0:
		q.gaps[same].add(g)
	case len(q.gaps) < 2*maxGaps:
		q.gaps = append(q.gaps, g)
	default: // there are not so many causes
		q.gaps[0].add(g)
	}
}

// take removes the oldest entry. Its chunk is not released.
func (q *Queue) take() entry {
	e := q.ring[q.head]
	q.ring[q.head] = entry{}
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.count--
	q.bytes -= e.size()
	return e
}

// grow doubles the ring; its length is a power of two.
func (q *Queue) grow() {
	ring := make([]entry, max(16, 2*len(q.ring)))
	n := copy(ring, q.ring[q.head:])
	copy(ring[n:], q.ring[:q.head])
	q.ring, q.head = ring, 0
}

// Pop moves up to len(buf) items, the oldest first, into buf and says how many;
// 0 when the queue is empty. The events are valid until the next Pop: who keeps
// one longer clones it.
func (q *Queue) Pop(buf []Item) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range q.popped {
		q.release(c)
	}
	clear(q.popped)
	q.popped = q.popped[:0]
	n := 0
	if len(q.gaps) > 0 {
		for ; n < min(len(buf), len(q.gaps)); n++ {
			buf[n] = Item{Gap: q.gaps[n]}
		}
		q.gaps = slices.Delete(q.gaps, 0, n)
	}
	for ; n < len(buf) && q.count > 0; n++ {
		e := q.take()
		buf[n] = Item{Event: e.event, Gap: e.gap}
		if e.chunk != nil {
			q.popped = append(q.popped, e.chunk)
		}
	}
	if q.count == 0 && len(q.ring) > maxIdleRing {
		q.ring, q.head = nil, 0
	}
	return n
}

// Ready receives when the queue was empty and is not any more. Pop first: one
// receive may stand for many events, or for some that are gone already.
func (q *Queue) Ready() <-chan struct{} { return q.ready }

// Done is closed when the queue is.
func (q *Queue) Done() <-chan struct{} { return q.done }

// Bytes is how much of the limit is in use.
func (q *Queue) Bytes() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// Lost counts the events that were dropped.
func (q *Queue) Lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// Close drops what is in the queue and what comes later; what was popped stays
// valid. It may be called twice.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed = true
	q.ring, q.count, q.bytes, q.gaps, q.popped, q.last = nil, 0, 0, nil, nil, nil
	close(q.done)
}
