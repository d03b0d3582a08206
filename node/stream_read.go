package node

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/transport/event"
)

// StreamRead says what to read of a stream.
type StreamRead struct {
	Namespace, Name string
	// From is where to begin: earliest (the default), latest, a time as RFC 3339
	// writes it, an offset if the stream has one log, or a cursor that a reader of
	// the stream has told.
	From string
	// Until is where to end, unless Follow is set: what End of an earlier reader said.
	// Default: with what is there when reading begins.
	Until string
	// Follow goes on with what comes, as it comes.
	Follow bool
	// Filter is which events are wanted, in JSON as filter.Parse reads it; empty is
	// all. It is evaluated in the region that keeps them.
	Filter []byte
	// Order is the order of events of different logs. Default: ByTime, or ByArrival
	// with Follow.
	Order Order
	// Hold is how long an event is held back, with Follow and ByTime, for one of an
	// earlier time from a log that has none now. Default: DefaultHold; at most
	// MaxHold.
	Hold time.Duration
	// GoOn has Next tell of a From that retention has passed, and go on with what is
	// left. Without it, ReadStream refuses.
	GoOn bool
	// Partial reads what can be read while a region is out of reach; Next says which
	// are missing, with a *MissingError. Follow means it, too, and goes on with the
	// missing ones when they are back; else the Cursor keeps their place. Without
	// either, ReadStream refuses, or Next fails.
	Partial bool
}

// StreamEvent is an event that a stream keeps.
type StreamEvent struct {
	Position Position
	Time     time.Time // when it was kept, by the clock of the leader that did
	Event    event.Event
}

// StreamReader reads a stream's logs, of all regions that keep it, as one. It is
// for one goroutine at a time.
type StreamReader struct {
	n      *Node
	stream meta.Stream
	q      StreamRead
	filter string
	began  time.Time
	start  starting

	logs    []*logReader
	at      *logReader      // whose records were handed out last
	absent  map[string]bool // regions of which not even the logs are known
	missing []string        // regions that Next has told of
	tell    []error         // what Next has to tell before the next event
	err     error           // what ended it

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	came   chan fetched
}

// logReader is one log of a stream that is read. Its fetcher uses what never
// changes, and a copy of ask; the rest is the reader's.
type logReader struct {
	region string
	ask    replication.Read
	end    int64         // reading ends there, unless it follows
	more   chan struct{} // the fetcher may hand over one more block

	got    []replication.BlockRecord // not handed out yet
	after  int64                     // the offset behind the block that they are from
	next   int64                     // where reading goes on; -1 while only the time is known
	since  int64                     // that time, in nanoseconds since 1970
	came   time.Time                 // when got did
	behind bool                      // more was there when it was asked
	lost   error                     // why it cannot be read now
	left   bool                      // it is not read any further
}

// readWait is how long a question for records waits for the first.
const readWait = 5 * time.Second

// ReadStream begins to read a stream. Close must follow. What was acknowledged
// before the call is there to be read. Errors: ErrNoStream, ErrPosition, ErrInvalid,
// *TrimmedError, and a *MissingError if a region cannot be asked that must be.
func (n *Node) ReadStream(ctx context.Context, q StreamRead) (*StreamReader, error) {
	s, err := n.find(ctx, q.Namespace, q.Name, false)
	if err != nil {
		return nil, err
	}
	r := &StreamReader{n: n, stream: s, q: q, began: time.Now(), absent: map[string]bool{}, came: make(chan fetched)}
	r.ctx, r.cancel = context.WithCancel(n.ctx)
	if err = r.check(); err == nil {
		err = r.open(ctx)
	}
	if err != nil {
		r.cancel()
		return nil, fmt.Errorf("read stream %s: %w", s.Name, err)
	}
	for _, l := range r.logs {
		r.wg.Go(func() { r.fetch(l) })
	}
	if q.Follow {
		w := r.newWatched()
		r.wg.Go(func() { r.watch(w) })
	}
	return r, nil
}

// check reads what the question says.
func (r *StreamReader) check() (err error) {
	if r.q.Order, err = ParseOrder(string(r.q.Order)); err != nil {
		return err
	}
	switch {
	case r.q.Order == "" && r.q.Follow:
		r.q.Order = ByArrival
	case r.q.Order == "":
		r.q.Order = ByTime
	}
	if r.q.Hold <= 0 {
		r.q.Hold = DefaultHold
	}
	r.q.Hold = min(r.q.Hold, MaxHold)
	if r.filter, err = canonical(r.q.Filter); err != nil {
		return err
	}
	r.start, err = parseStart(r.q.From)
	return err
}

// Close ends the reader.
func (r *StreamReader) Close() {
	r.cancel()
	r.wg.Wait()
}

// Ready reports whether Next has an event without waiting.
func (r *StreamReader) Ready() bool {
	l, _ := r.pick(time.Now())
	return l != nil && len(r.tell) == 0 && r.err == nil
}

// Next returns the next event. The error is io.EOF at the end of a reader that does
// not follow; a *TrimmedError if retention has passed where it should go on, or a
// *MissingError if other regions than before are out of reach, after which Next goes
// on with what is left; a *MissingError again and again if all regions had to be
// read; or ctx's.
func (r *StreamReader) Next(ctx context.Context) (StreamEvent, error) {
	for r.err == nil {
		if len(r.tell) > 0 {
			told := r.tell[0]
			r.tell = r.tell[1:]
			return StreamEvent{}, told
		}
		l, wait := r.pick(time.Now())
		switch {
		case len(r.tell) > 0: // it came just now
			continue
		case l != nil:
			return r.hand(l)
		case wait == nothing:
			return StreamEvent{}, io.EOF
		}
		if err := r.take(ctx, wait); err != nil {
			return StreamEvent{}, err
		}
	}
	return StreamEvent{}, r.err
}

// hand hands out a log's next event.
func (r *StreamReader) hand(l *logReader) (ev StreamEvent, err error) {
	rec := l.got[0]
	ev.Position = Position{Stream: r.stream.Name, Region: l.region, Partition: l.ask.Partition, Offset: rec.Offset}
	ev.Time = time.Unix(0, rec.Time).UTC()
	if l.got, l.next = l.got[1:], rec.Offset+1; len(l.got) == 0 {
		l.empty()
	}
	r.at = l
	if err := ev.Event.Scan(rec.Data); err != nil {
		return ev, fmt.Errorf("stream %s holds something at %s that is no event: %w", r.stream.Name, ev.Position, err)
	}
	return ev, nil
}

// empty notes that a log's block is handed out, and lets the next one come.
func (l *logReader) empty() {
	l.got, l.next = nil, l.after
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// take waits for what comes of the logs and notes it, or for a time that is not 0.
func (r *StreamReader) take(ctx context.Context, wait time.Duration) error {
	var over <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		over = t.C
	}
	select {
	case f := <-r.came:
		r.note(&f)
		return nil
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ctx.Done():
		return ErrClosed
	}
}
