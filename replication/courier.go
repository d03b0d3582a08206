package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store"
)

const (
	appendRecords = 1024      // that go to a leader at once
	appendBytes   = 512 << 10 // unless the only record is larger
	appendsAtOnce = 4         // batches on their way to a leader
	appendsToNode = 32        // of all partitions: a node takes only so many questions
	appendWait    = 10 * time.Second
	appendPauseTo = 50 * time.Millisecond
	fullWait      = 3 * time.Second // for another leader, when the disk of this one is full
)

// courier carries records to the leader of one partition, wherever it is: in order,
// several batches at once. See the package about sequences.
type courier struct {
	r       *Member
	number  uint32
	stirred chan struct{} // that there are calls

	mu      sync.Mutex // guards the fields below
	calls   []*appendCall
	bytes   int
	running bool // run is

	sequence *sequence // run's alone; nil before the first
	made     uint64
}

// appendCall is an AppendAsync on its way.
type appendCall struct {
	ctx     context.Context
	until   time.Time // when it is given up
	records []partition.Record
	done    func([]partition.Appended, error)
	whole   *divided // of which it is a part, or nil
}

// batch is calls whose records go to the leader together, until they are kept or
// given up.
type batch struct {
	calls   []*appendCall
	records []partition.Record
	safe    bool // to send again what may be kept
	began   time.Time
	unknown error // why it may be kept although no attempt has succeeded

	ctx     context.Context // ends when it is given up
	cancel  context.CancelFunc
	stop    context.CancelFunc // ends this attempt
	settled chan struct{}      // closed with the outcome of this attempt:
	results []partition.Appended
	err     error
}

func recordSize(rec *partition.Record) int { return len(rec.Data) + 96 }

func (r *Member) courier(number uint32) *courier {
	r.mu.Lock()
	defer r.mu.Unlock()
	co := r.couriers[number]
	if co == nil {
		co = &courier{r: r, number: number, stirred: make(chan struct{}, 1)}
		r.couriers[number] = co
	}
	return co
}

// busy reports whether something is on its way.
func (co *courier) busy() bool {
	co.mu.Lock()
	defer co.mu.Unlock()
	return co.running
}

// put takes calls, all of them or none.
func (co *courier) put(calls ...*appendCall) error {
	size := 0
	for _, c := range calls {
		for i := range c.records {
			size += recordSize(&c.records[i])
		}
	}
	co.mu.Lock()
	defer co.mu.Unlock()
	if co.bytes > 0 && co.bytes+size > MaxQueued {
		return partition.ErrBusy
	}
	if !co.running && !co.r.begin(co.run) {
		return partition.ErrClosed
	}
	co.bytes += size
	co.calls = append(co.calls, calls...)
	if !co.running {
		co.running = true
		return nil
	}
	select {
	case co.stirred <- struct{}{}:
	default:
	}
	return nil
}

// take is the next batch: whole calls, at least one, without those that nobody waits
// for. It is nil when nothing waits.
func (co *courier) take() *batch {
	for {
		co.mu.Lock()
		n, records, bytes := 0, 0, 0
		for ; n < len(co.calls); n++ {
			c := co.calls[n]
			size := 0
			for i := range c.records {
				size += recordSize(&c.records[i])
			}
			if n > 0 && (records+len(c.records) > appendRecords || bytes+size > appendBytes) {
				break
			}
			records, bytes = records+len(c.records), bytes+size
		}
		calls := slices.Clone(co.calls[:n])
		clear(co.calls[:n])
		if co.calls = co.calls[n:]; len(co.calls) == 0 {
			co.calls = nil
		}
		co.bytes -= bytes
		co.mu.Unlock()
		if n == 0 {
			return nil
		}
		if b := co.pack(calls, records); len(b.calls) > 0 {
			return b
		}
	}
}

// pack makes a batch of calls.
func (co *courier) pack(calls []*appendCall, records int) *batch {
	b := &batch{calls: calls[:0], safe: true, began: time.Now()}
	for _, c := range calls {
		err := c.ctx.Err()
		if err == nil && !time.Now().Before(c.until) {
			err = context.DeadlineExceeded
		}
		if err != nil {
			c.done(nil, fmt.Errorf("%w: %w", ErrNoLeader, err))
			continue
		}
		if c.headless() {
			c.done(nil, errHeadless)
			continue
		}
		b.calls = append(b.calls, c)
	}
	if len(b.calls) == 0 {
		return b
	}
	if len(b.calls) == 1 {
		b.records = b.calls[0].records
	} else {
		b.records = make([]partition.Record, 0, records)
		for _, c := range b.calls {
			b.records = append(b.records, c.records...)
		}
	}
	for i := range b.records {
		b.safe = b.safe && b.records[i].Key != (partition.Key{}) && b.records[i].Window.Events > 0
	}
	b.ctx, b.cancel = context.WithDeadline(co.r.ctx, b.calls[0].until)
	return b
}

// finish tells the callers the outcome.
func (b *batch) finish(results []partition.Appended, err error) {
	b.cancel()
	for _, c := range b.calls {
		if err != nil {
			c.done(nil, err)
			continue
		}
		n := len(c.records)
		c.done(results[:n:n], nil)
		results = results[n:]
	}
}

// giveUp reports whether the error of an attempt is the end of it, and says then
// what the callers are told.
func (b *batch) giveUp(number uint32) error {
	var end error
	switch {
	case !nothingKept(b.err):
		b.unknown = fmt.Errorf("%w: %w", multiraft.ErrUnknown, b.err)
		if !b.safe {
			end = b.unknown
		}
	case errors.Is(b.err, partition.ErrBusy), errors.Is(b.err, store.ErrFull) && time.Since(b.began) > fullWait:
		end = b.err
	}
	if end == nil && b.ctx.Err() != nil {
		end = fmt.Errorf("replication: partition %d: %w: %w", number, ErrNoLeader, b.err)
	}
	if end != nil && b.unknown != nil {
		return b.unknown
	}
	return end
}

// run sends what there is until nothing is left.
func (co *courier) run() {
	var again []*batch // in order, before all that waits
	pause := retryPause / 10
	for {
		kept := false
		if again, kept = co.pass(again); kept {
			pause = retryPause / 10
		}
		if len(again) == 0 {
			if co.rest() {
				return
			}
			continue
		}
		again = slices.DeleteFunc(again, func(b *batch) bool {
			end := b.giveUp(co.number)
			if end != nil {
				b.finish(nil, end)
				return true
			}
			if !b.behead() {
				b.cancel()
				return true
			}
			return false
		})
		if len(again) > 0 {
			co.r.sleep(again[0].ctx, pause)
			pause = min(2*pause, appendPauseTo)
		}
	}
}

// rest ends run if nothing waits.
func (co *courier) rest() bool {
	co.mu.Lock()
	defer co.mu.Unlock()
	co.running = len(co.calls) > 0
	return !co.running
}

// pass sends batches in a sequence, in order, until one fails or there are no more. It
// returns those that failed, all of what is after the first of them and was to be
// sent again, and whether any was kept.
func (co *courier) pass(again []*batch) (failed []*batch, kept bool) {
	if co.sequence == nil || co.sequence.broken || co.sequence.stale() {
		co.made++
		co.sequence = co.r.newSequence(co.number, co.made)
	}
	l := co.sequence
	var way []*batch
	for {
		for len(way) < l.most() && (len(way) == 0 || !l.full()) { // the first must not wait for the next
			var b *batch
			if len(again) > 0 {
				b, again = again[0], again[1:]
			} else if b = co.take(); b == nil {
				break
			}
			l.send(b)
			way = append(way, b)
		}
		if len(way) == 0 {
			return nil, kept
		}
		if len(way) < l.most() {
			select {
			case <-way[0].settled:
			case <-co.stirred: // there is room for more
				continue
			}
		}
		b := way[0]
		<-b.settled
		if b.err != nil {
			break
		}
		b.finish(b.results, nil)
		way, kept = way[1:], true
		l.prove()
	}
	l.broken = true
	if !l.learn(way[0].err) {
		for _, b := range way {
			b.stop() // those that were let in before it are not answered either
		}
	}
	for _, b := range way {
		// One that is kept although the answer about one before it was lost says
		// that that one is kept, too: its turn was before.
		if <-b.settled; b.err != nil {
			failed = append(failed, b)
		} else {
			b.finish(b.results, nil)
			kept = true
		}
	}
	return append(failed, again...), kept
}
