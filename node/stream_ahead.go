package node

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication"
)

// Bounds of what is read ahead.
const (
	maxAhead = 8 // questions for a log at a time
	// For all readers of a node: blocks that are asked for or lie ready, and of these
	// those that are on their way. More would only wait for each other.
	maxAheadNode, maxAheadAsked = 128, 16
	// aheadWait is how long such a question waits for its answer, behind others. One that
	// has waited for aheadSlow waits for the link, which more of them would not help.
	aheadWait, aheadSlow = 20 * time.Second, 2 * time.Second
	// After one that has failed there is a pause, which doubles from the first to the
	// last of these.
	minAheadPause, maxAheadPause = time.Second, 30 * time.Second
	// aheadKept is how long a reader that has stopped keeps what was read ahead.
	aheadKept = 2 * time.Second
	// aheadLooked is how many records are looked at for a block that is full although
	// few of them are wanted.
	aheadLooked = 4096
)

// readAhead asks for more of a log of another region before its reader needs it, so that
// the way there and back is not waited for again with each block. How many records a
// block holds nobody knows before it is there, so each question is for a range of them,
// which is doubled while the answers are small, and becomes what an answer had when that
// does not reach its end. There are more questions at a time for as long as the reader
// has to wait for the next one's answer, and fewer when all are there before it wants
// them, or when that takes so long that the link must be full. Ranges begin at multiples
// of their size, so that readers of the same share a relay's answers.
//
// Goroutines: one for each question, in wg. drop must follow.
type readAhead struct {
	ask   func(context.Context, *blockAsk) (replication.Block, error)
	slots *aheadSlots // of the node; nil if nothing is to be read ahead
	wg    *sync.WaitGroup

	each  int64         // records, a power of two
	width int           // questions at a time
	pause time.Duration // after a failure
	later time.Time     // nothing is read ahead before
	queue []*ahead      // without a hole between them
}

// aheadSlots bounds what all readers of a node read ahead.
type aheadSlots struct {
	kept  chan struct{} // holds a token for each question until its answer is taken
	asked chan struct{} // and one until it is there
}

func newAheadSlots() *aheadSlots {
	return &aheadSlots{make(chan struct{}, maxAheadNode), make(chan struct{}, maxAheadAsked)}
}

// take takes a place, and reports whether there was one.
func (s *aheadSlots) take() bool {
	if s == nil {
		return false
	}
	select {
	case s.asked <- struct{}{}:
	default:
		return false
	}
	select {
	case s.kept <- struct{}{}:
		return true
	default:
		<-s.asked
		return false
	}
}

// ahead is a question for a range.
type ahead struct {
	from, until int64
	began       time.Time
	cancel      context.CancelFunc
	done        chan struct{} // closed with the fields below
	block       replication.Block
	err         error
}

// next is the answer to q. Nothing from limit on is read ahead.
func (a *readAhead) next(ctx context.Context, q *blockAsk, limit int64) (replication.Block, error) {
	if len(a.queue) == 0 || q.From != replication.FromOffset || a.queue[0].from != q.Offset {
		a.drop()
		b, err := a.ask(ctx, q)
		if size := blockSize(&b); err == nil && (size >= q.Bytes/4 || b.Next-b.From >= aheadLooked) {
			a.each, a.width = powerOfTwo(b.Next-b.From), 1
			if min(b.End, limit)-b.Next >= a.each && !time.Now().Before(a.later) {
				a.extend(ctx, q, b.Next, min(b.End, limit))
			}
		}
		return b, err
	}
	if err := a.await(ctx); err != nil {
		return replication.Block{}, err
	}
	head := a.queue[0]
	a.queue = a.queue[1:]
	<-a.slots.kept
	b := head.block.Before(head.until)
	switch {
	case head.err != nil || b.Next <= head.from:
		a.drop() // whoever asks again waits for it
		var trimmed *replication.TrimmedError
		if head.err != nil && !errors.As(head.err, &trimmed) {
			a.pause = min(max(minAheadPause, 2*a.pause), maxAheadPause)
			a.later = time.Now().Add(a.pause)
		}
		return b, head.err
	case b.Next < head.until:
		a.each = min(a.each, powerOfTwo(b.Next-b.From))
		a.drop() // they are too large, too
	case blockSize(&b) < q.Bytes/2 && head.until-head.from >= a.each:
		a.each = min(2*a.each, 1<<30)
	}
	a.pause = 0
	from := b.Next
	if n := len(a.queue); n > 0 {
		from = a.queue[n-1].until
	}
	a.extend(ctx, q, from, min(b.End, limit))
	return b, nil
}

// await waits for the answer to the first question, and learns from that how many there
// should be.
func (a *readAhead) await(ctx context.Context) error {
	head := a.queue[0]
	select {
	case <-head.done:
		if !slices.ContainsFunc(a.queue, (*ahead).pending) {
			a.width = max(1, a.width/2)
		}
		return nil
	default:
	}
	select {
	case <-head.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if time.Since(head.began) < aheadSlow {
		a.width = min(2*a.width, maxAhead)
	} else {
		a.width = max(1, a.width/2)
	}
	return nil
}

// extend asks for what follows, up to an end.
func (a *readAhead) extend(ctx context.Context, q *blockAsk, from, end int64) {
	for len(a.queue) < a.width && from < end {
		until := min(end, from-from%a.each+a.each)
		next := a.begin(ctx, q, from, until)
		if next == nil {
			return
		}
		a.queue = append(a.queue, next)
		from = until
	}
}

// begin asks for a range, or returns nil if the node asks for enough.
func (a *readAhead) begin(ctx context.Context, q *blockAsk, from, until int64) *ahead {
	if !a.slots.take() {
		return nil
	}
	ask := *q
	ask.From, ask.Offset, ask.Until = replication.FromOffset, from, until
	ask.Wait, ask.Bulk = 0, true
	ctx, cancel := context.WithCancel(ctx)
	one := &ahead{from: from, until: until, began: time.Now(), cancel: cancel, done: make(chan struct{})}
	a.wg.Go(func() {
		defer cancel()
		defer close(one.done)
		defer func() { <-a.slots.asked }()
		one.block, one.err = a.ask(ctx, &ask)
	})
	return one
}

// drop gives up all questions.
func (a *readAhead) drop() {
	for _, one := range a.queue {
		one.cancel()
		<-a.slots.kept
	}
	a.queue = nil
}

func (a *ahead) pending() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// blockSize is how many bytes the records of a block have.
func blockSize(b *replication.Block) (size int) {
	for i := range b.List {
		size += len(b.List[i].Data)
	}
	return size
}

// powerOfTwo is the highest that is not above n, or 1.
func powerOfTwo(n int64) int64 { return 1 << (bits.Len64(uint64(max(n, 1))) - 1) }
