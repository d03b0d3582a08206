package node

import (
	"cmp"
	"context"
	"errors"
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
	// Follow goes on with what comes, as it comes; else reading ends with what was
	// there when it began, in the order of time.
	Follow bool
	// GoOn has Next tell of a From that retention has passed, and go on with what is
	// left. Without it, ReadStream refuses.
	GoOn bool
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
	logs   []*logReader
	follow bool
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	came   chan fetched // of a reader that follows
	at     *logReader   // whose records are handed out, of a reader that follows
}

// logReader is one log of a stream that is read.
type logReader struct {
	region string
	ask    replication.Read
	got    []replication.Stored // not handed out yet, the first at offset next
	next   int64                // -1 while only the time is known
	since  int64                // that time, in nanoseconds since 1970
	end    int64                // reading ends there, unless it follows
}

type fetched struct {
	log     *logReader
	first   bool // the log is new
	records replication.Records
	err     error
}

// readWait is how long a question for records waits for the first.
const readWait = 5 * time.Second

// ReadStream begins to read a stream. Close must follow. What was acknowledged
// before the call is there to be read. Errors: ErrNoStream, ErrPosition,
// *TrimmedError, and those of regions that cannot be asked: ErrNoLeader,
// ErrUnreachable.
func (n *Node) ReadStream(ctx context.Context, q StreamRead) (*StreamReader, error) {
	s, err := n.find(q.Namespace, q.Name, false)
	if err != nil {
		return nil, err
	}
	r := &StreamReader{n: n, stream: s, follow: q.Follow, came: make(chan fetched)}
	r.ctx, r.cancel = context.WithCancel(n.ctx)
	starts, err := r.open(ctx)
	if err == nil {
		err = r.seek(q.From)
	}
	if err == nil && !q.GoOn {
		err = r.trimmed(starts)
	}
	if err != nil {
		r.cancel()
		return nil, fmt.Errorf("read stream %s: %w", s.Name, err)
	}
	if q.Follow {
		for _, l := range r.logs {
			r.wg.Go(func() { r.fetchAll(l) })
		}
		known := map[string]bool{}
		for _, l := range r.logs {
			known[l.name()] = true
		}
		r.wg.Go(func() { r.watch(known) })
	}
	return r, nil
}

// open finds the logs, and where each begins.
func (r *StreamReader) open(ctx context.Context) (starts []int64, err error) {
	regions := r.n.keepers(&r.stream)
	found, errs := make([][]logEnd, len(regions)), make([]error, len(regions))
	ctx, cancel := context.WithTimeout(ctx, endWait+DefaultWait)
	defer cancel()
	var wg sync.WaitGroup
	for i, region := range regions {
		wg.Go(func() { found[i], errs[i] = r.n.endsOf(ctx, region, r.stream.UUID) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i, region := range regions {
		for _, e := range found[i] {
			r.logs = append(r.logs, r.log(region, e))
			starts = append(starts, e.Start)
		}
	}
	return starts, nil
}

// log is a log that is read from its beginning.
func (r *StreamReader) log(region string, e logEnd) *logReader {
	l := &logReader{region: region, end: e.Next, ask: replication.Read{Partition: e.Partition, Log: r.stream.UUID}}
	l.at(e.Start)
	return l
}

// Close ends the reader.
func (r *StreamReader) Close() {
	r.cancel()
	r.wg.Wait()
}

// Ready reports whether Next has an event without waiting.
func (r *StreamReader) Ready() bool {
	if r.follow {
		return r.at != nil && len(r.at.got) > 0
	}
	return len(r.logs) == 1 && len(r.logs[0].got) > 0
}

// Next returns the next event. The error is io.EOF
// at the end of a reader that does not follow, a *TrimmedError if retention has
// passed where it should go on, after which Next goes on with what is left, or
// ctx's.
func (r *StreamReader) Next(ctx context.Context) (StreamEvent, error) {
	if r.follow {
		return r.nextToCome(ctx)
	}
	return r.nextInTime(ctx)
}

// nextInTime merges the logs by the time of their records.
func (r *StreamReader) nextInTime(ctx context.Context) (StreamEvent, error) {
	var first *logReader
	for _, l := range r.logs {
		if len(l.got) == 0 && !l.over() {
			if err := r.fill(ctx, l); err != nil {
				return StreamEvent{}, err
			}
		}
		if len(l.got) > 0 && (first == nil || cmp.Compare(l.got[0].Time, first.got[0].Time) < 0) {
			first = l
		}
	}
	if first == nil {
		return StreamEvent{}, io.EOF
	}
	return r.hand(first)
}

// over reports whether all that was there when reading began is read.
func (l *logReader) over() bool { return l.next >= l.end }

// fill fetches a log's next records. The replica that answers may be behind the
// leader, who said where the log ends: then it is waited for.
func (r *StreamReader) fill(ctx context.Context, l *logReader) error {
	for began := time.Now(); ; {
		records, err := r.fetchFrom(ctx, l.region, l.ask, 0)
		var trimmed *replication.TrimmedError
		switch {
		case errors.As(err, &trimmed):
			passed := r.passed(l, l.next, trimmed.Start)
			l.at(trimmed.Start)
			return passed
		case err == nil && (len(records.List) > 0 || records.End >= l.end):
			l.take(&records)
			return nil
		case err != nil && !errors.Is(err, replication.ErrAhead):
			return err
		case time.Since(began) > readWait:
			return fmt.Errorf("%w: read stream %s: no replica of %s that answers has offset %d", ErrNoLeader, r.stream.Name, l.name(), l.next)
		}
		select {
		case <-time.After(fetchPause / 2):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take takes records that came for a log, up to where reading ends.
func (l *logReader) take(records *replication.Records) {
	l.got = records.List[:min(int64(len(records.List)), max(0, l.end-records.Offset))]
	l.at(records.Offset)
	l.ask.Offset = records.Next()
}

// hand hands out a log's next event.
func (r *StreamReader) hand(l *logReader) (ev StreamEvent, err error) {
	rec := l.got[0]
	ev.Position = Position{Stream: r.stream.Name, Region: l.region, Partition: l.ask.Partition, Offset: l.next}
	ev.Time = time.Unix(0, rec.Time).UTC()
	l.got, l.next = l.got[1:], l.next+1
	if err := ev.Event.Scan(rec.Data); err != nil {
		return ev, fmt.Errorf("stream %s holds something at %s that is no event: %w", r.stream.Name, ev.Position, err)
	}
	return ev, nil
}

// fetchFrom asks for a log's next records.
func (r *StreamReader) fetchFrom(ctx context.Context, region string, ask replication.Read, wait time.Duration) (records replication.Records, err error) {
	ask.Wait = wait
	if region == r.n.self.Region {
		m := r.n.streams.member.Load()
		if m == nil {
			return records, errNoStreams
		}
		records, err = m.Read(ctx, ask)
	} else {
		var b []byte
		if err = r.n.askAbroad(ctx, region, abroadRead, ask, &b); err == nil {
			records, err = replication.DecodeRecords(b)
		}
	}
	if err != nil {
		return records, fmt.Errorf("read stream %s, partition %d of region %s: %w", r.stream.Name, ask.Partition, region, err)
	}
	return records, nil
}
