package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication/multiraft"
)

// Appended is what became of a record.
type Appended struct {
	Offset    int64
	Duplicate bool // it was there already, at that offset
}

const (
	maxRecords  = 256       // of an entry
	entryBytes  = 128 << 10 // of an entry, unless its only record is larger
	outstanding = 4         // entries that are on their way
	// MaxQueued is how many bytes of records may wait for one partition.
	MaxQueued = 64 << 20
)

var (
	// ErrBusy: as much waits as may; what was offered was not taken.
	ErrBusy = errors.New("partition: too much waits to be appended")
	// ErrClosed: the replica was closed.
	ErrClosed = errors.New("partition: closed")
)

// call is an Append on its way.
type call struct {
	term    uint64 // in which alone they may be appended
	records []Record
	next    int // the first that no entry has
	open    int // records without an outcome
	kept    int // of them
	results []Appended
	err     error // what kept records from being kept
	done    func([]Appended, error)
}

// queue holds what is to be appended.
type queue struct {
	mu      sync.Mutex // guards the fields below
	calls   []*call    // with records that no entry has
	bytes   int
	running bool // flush is
	closed  bool
	stirred chan struct{}

	batch batch // flush's alone
}

func (q *queue) init() { q.stirred = make(chan struct{}, 1) }

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// Append appends records and waits for the outcome, one for each. This replica
// must lead. The error says what became of all of them: of
// multiraft.ErrNotLeader, ErrBusy and ErrClosed that none is kept; of any other,
// multiraft.ErrUnknown and ctx's among them, that nobody knows.
func (p *Partition) Append(ctx context.Context, records []Record) ([]Appended, error) {
	type outcome struct {
		results []Appended
		err     error
	}
	got := make(chan outcome, 1)
	if _, err := p.AppendAsync(0, records, func(r []Appended, err error) { got <- outcome{r, err} }); err != nil {
		return nil, err
	}
	select {
	case o := <-got:
		return o.results, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("partition: append: %w", context.Cause(ctx))
	}
}

// AppendAsync is Append for those who do not wait: done is called once if the
// error is nil, soon after the outcome is known; it must not block. The records'
// bytes must not be changed until then.
//
// The records are appended in a term, or not at all: in the one given, or, if that
// is 0, in the one that is returned. Of two calls in the same term, the first of
// which is accepted before the second is made, the second is not kept unless all of
// the first is.
func (p *Partition) AppendAsync(term uint64, records []Record, done func([]Appended, error)) (uint64, error) {
	now, leads := p.group.Leads()
	if !leads || term != 0 && term != now {
		return 0, multiraft.ErrNotLeader
	}
	return now, p.enqueue(&call{term: now, records: records, open: len(records), done: done})
}

// enqueue has a call's records appended after those before it.
func (p *Partition) enqueue(c *call) error {
	records := c.records
	size := 0
	for i := range records {
		if len(records[i].Data) > MaxData {
			return fmt.Errorf("partition: a record of %d bytes, at most %d are allowed", len(records[i].Data), MaxData)
		}
		size += room(&records[i])
	}
	if len(records) == 0 {
		c.done(nil, nil)
		return nil
	}
	c.results = make([]Appended, len(records))
	q := &p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return ErrClosed
	case q.bytes+size > MaxQueued && q.bytes > 0:
		return ErrBusy
	}
	q.bytes += size
	q.calls = append(q.calls, c)
	if q.running {
		select {
		case q.stirred <- struct{}{}:
		default:
		}
		return nil
	}
	q.running = true
	p.wg.Go(p.flush)
	return nil
}

// piece is a run of a call's records in an entry.
type piece struct {
	call *call
	from int
	n    int
}

// sending is an entry on its way.
type sending struct {
	proposal *multiraft.Proposal
	err      error // why there is none
	pieces   []piece
}

// flush makes entries of what waits until nothing waits or is on its way.
func (p *Partition) flush() {
	b := &p.queue.batch
	var way []sending
	for {
		for len(way) < outstanding {
			pieces := p.queue.take(b)
			if len(pieces) == 0 {
				break
			}
			s := sending{pieces: pieces}
			s.proposal, s.err = p.group.ProposeIn(p.ctx, pieces[0].call.term, b.entry(time.Now().UnixNano()))
			way = append(way, s)
		}
		if len(way) == 0 {
			if p.queue.rest() {
				return
			}
			continue
		}
		s, err := way[0], way[0].err
		var result any
		if err == nil {
			if len(way) < outstanding {
				select {
				case <-s.proposal.Done():
				case <-p.queue.stirred: // there is room for more
					continue
				}
			}
			<-s.proposal.Done()
			_, result, err = s.proposal.Outcome()
		}
		if !s.settle(result, err) {
			p.queue.refuse()
		}
		way = way[:copy(way, way[1:])]
	}
}

// refuse refuses all that waits: it must not be kept without what was before it,
// which is not.
func (q *queue) refuse() {
	q.mu.Lock()
	calls := q.calls
	q.calls = nil
	for _, c := range calls {
		for i := c.next; i < len(c.records); i++ {
			q.bytes -= room(&c.records[i])
		}
	}
	q.mu.Unlock()
	for _, c := range calls {
		c.settle(len(c.records)-c.next, fmt.Errorf("%w: an append before it has failed", multiraft.ErrNotLeader))
	}
}

// rest ends flush if nothing waits.
func (q *queue) rest() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running = len(q.calls) > 0
	return !q.running
}

// take makes the next entry's batch.
func (q *queue) take(b *batch) (pieces []piece) {
	b.reset()
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.calls) > 0 {
		c := q.calls[0]
		if len(pieces) > 0 && c.term != pieces[0].call.term {
			break
		}
		from := c.next
		for c.next < len(c.records) {
			r := &c.records[c.next]
			if b.count == maxRecords || b.count > 0 && b.size()+room(r) > entryBytes {
				break
			}
			b.add(r)
			q.bytes -= room(r)
			c.next++
		}
		if c.next > from {
			pieces = append(pieces, piece{c, from, c.next - from})
		}
		if c.next < len(c.records) {
			break
		}
		q.calls[0] = nil
		q.calls = q.calls[1:]
	}
	return pieces
}

// settle tells those whose records were in an entry what became of them. It
// reports whether they are kept.
func (s *sending) settle(result any, err error) bool {
	results, _ := result.([]Appended)
	if refused, is := result.(error); is && err == nil {
		err = refused
	}
	at := 0
	for _, piece := range s.pieces {
		if err == nil {
			at += copy(piece.call.results[piece.from:piece.from+piece.n], results[at:])
			piece.call.kept += piece.n
		}
		piece.call.settle(piece.n, err)
	}
	return err == nil
}

// settle notes what became of n records of a call, and tells it once that is known
// of all.
func (c *call) settle(n int, err error) {
	if c.err == nil || errors.Is(err, multiraft.ErrUnknown) {
		c.err = err
	}
	if c.open -= n; c.open > 0 {
		return
	}
	switch {
	case c.err == nil:
		c.done(c.results, nil)
	case c.kept > 0:
		c.done(nil, fmt.Errorf("%w: %d of %d records are kept: %w", multiraft.ErrUnknown, c.kept, len(c.records), c.err))
	default:
		c.done(nil, c.err)
	}
}

// Trim drops the records of a log before an offset, on all replicas; those from
// there on stay. This replica must lead.
func (p *Partition) Trim(ctx context.Context, id LogID, offset int64) error {
	return p.propose(ctx, trimEntry(time.Now().UnixNano(), id, offset))
}

// Drop drops a log, on all replicas. This replica must lead.
func (p *Partition) Drop(ctx context.Context, id LogID) error {
	return p.propose(ctx, dropEntry(time.Now().UnixNano(), id))
}

func (p *Partition) propose(ctx context.Context, entry []byte) error {
	_, result, err := p.group.Apply(ctx, entry)
	if refused, is := result.(error); is && err == nil {
		err = refused
	}
	return err
}
