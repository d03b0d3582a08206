package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
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
	next   int64
	end    int64 // reading ends there, unless it follows; -1 until it is known
	began  bool
}

type fetched struct {
	log     *logReader
	records replication.Records
	err     error
}

// readWait is how long a question for records waits for the first.
const readWait = 5 * time.Second

// ReadStream begins to read a stream. Close must follow. Errors: ErrNoStream,
// ErrPosition, and those of the regions that cannot be asked.
func (n *Node) ReadStream(ctx context.Context, q StreamRead) (*StreamReader, error) {
	s, err := n.find(q.Namespace, q.Name, false)
	if err != nil {
		return nil, err
	}
	r := &StreamReader{n: n, stream: s, follow: q.Follow, came: make(chan fetched)}
	r.ctx, r.cancel = context.WithCancel(n.ctx)
	for _, region := range n.keepers(&s) {
		limit, cancel := context.WithTimeout(ctx, DefaultWait)
		logs, err := n.logsOf(limit, region, s.UUID)
		cancel()
		if err != nil {
			r.cancel()
			return nil, fmt.Errorf("read stream %s: %w", s.Name, err)
		}
		for _, l := range logs {
			r.logs = append(r.logs, &logReader{region: region, end: -1, ask: replication.Read{Partition: l.Partition, Log: s.UUID}})
		}
	}
	if err := r.seek(q.From); err != nil {
		r.cancel()
		return nil, err
	}
	if q.Follow {
		for _, l := range r.logs {
			r.wg.Go(func() { r.fetchAll(l) })
		}
	}
	return r, nil
}

// ErrPosition is wrapped by what is wrong with where reading should begin.
var ErrPosition = errors.New("node: bad position")

// seek sets where the logs are read from.
func (r *StreamReader) seek(from string) error {
	set := func(f replication.From, at int64) {
		for _, l := range r.logs {
			l.ask.From, l.ask.Time, l.ask.Offset = f, at, at
		}
	}
	switch from {
	case "", "earliest":
		set(replication.FromEarliest, 0)
		return nil
	case "latest":
		set(replication.FromLatest, 0)
		return nil
	}
	if at, err := time.Parse(time.RFC3339Nano, from); err == nil {
		set(replication.FromTime, at.UnixNano())
		return nil
	}
	if at, err := strconv.ParseInt(from, 10, 64); err == nil && at >= 0 {
		if len(r.logs) > 1 {
			return fmt.Errorf("%w: offset %d: stream %s has %d logs, each with offsets of its own: say a time, or a cursor like %s",
				ErrPosition, at, r.stream.Name, len(r.logs), r.Cursor())
		}
		set(replication.FromOffset, at)
		return nil
	}
	return r.seekCursor(from)
}

// seekCursor sets the logs as a cursor says; logs that it does not name are read
// from the beginning: they are newer than the cursor.
func (r *StreamReader) seekCursor(cursor string) error {
	at := map[string]int64{}
	for part := range strings.SplitSeq(cursor, ",") {
		log, offset, ok := strings.Cut(part, ":")
		n, err := strconv.ParseInt(offset, 10, 64)
		if !ok || err != nil || n < 0 || !strings.Contains(log, "/") {
			return fmt.Errorf("%w %.80q: want earliest, latest, an offset, a time like 2006-01-02T15:04:05Z, or a cursor like eu/0:17,us/3:4", ErrPosition, cursor)
		}
		at[log] = n
	}
	for _, l := range r.logs {
		l.ask.From = replication.FromEarliest
		if offset, named := at[l.name()]; named {
			l.ask.From, l.ask.Offset, l.next = replication.FromOffset, offset, offset
		}
	}
	return nil
}

func (l *logReader) name() string { return fmt.Sprintf("%s/%d", l.region, l.ask.Partition) }

// Cursor says how far the reader is: ReadStream goes on from there.
func (r *StreamReader) Cursor() string {
	var parts []string
	for _, l := range r.logs {
		parts = append(parts, fmt.Sprintf("%s:%d", l.name(), l.next))
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// Close ends the reader.
func (r *StreamReader) Close() {
	r.cancel()
	r.wg.Wait()
}

// Next returns the next event; it is valid until the next call. The error is io.EOF
// at the end of a reader that does not follow, a *replication.TrimmedError if
// retention has passed where it should go on, or ctx's.
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
		for len(l.got) == 0 && !l.over() {
			records, err := r.fetch(ctx, l, 0)
			if err != nil {
				return StreamEvent{}, err
			}
			l.take(&records)
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
func (l *logReader) over() bool { return l.began && l.next >= l.end }

// take takes records that came for a log.
func (l *logReader) take(records *replication.Records) {
	if !l.began {
		l.began, l.end = true, records.End
	}
	l.got, l.next = records.List, records.Offset
	l.ask.From, l.ask.Offset = replication.FromOffset, records.Next()
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

// fetch asks for a log's next records.
func (r *StreamReader) fetch(ctx context.Context, l *logReader, wait time.Duration) (records replication.Records, err error) {
	ask := l.ask
	ask.Wait = wait
	if l.region == r.n.self.Region {
		m := r.n.streams.member.Load()
		if m == nil {
			return records, errNoStreams
		}
		records, err = m.Read(ctx, ask)
	} else {
		var b []byte
		if err = r.n.askAbroad(ctx, l.region, abroadRead, ask, &b); err == nil {
			records, err = replication.DecodeRecords(b)
		}
	}
	if err != nil {
		return records, fmt.Errorf("read stream %s, partition %d of region %s: %w", r.stream.Name, ask.Partition, l.region, err)
	}
	return records, nil
}

// fetchAll fetches a log's records as they come, until the reader is closed. A
// region that cannot be asked is asked again: what it keeps does not go away.
func (r *StreamReader) fetchAll(l *logReader) {
	for pause := fetchPause; r.ctx.Err() == nil; {
		records, err := r.fetch(r.ctx, l, readWait)
		var trimmed *replication.TrimmedError
		switch {
		case errors.As(err, &trimmed):
			l.ask.Offset = trimmed.Start // and go on with what is left
		case err != nil:
			r.n.log.Debug("a stream's reader waits", "stream", r.stream.Name, "region", l.region, "err", err)
			select {
			case <-time.After(pause):
			case <-r.ctx.Done():
			}
			pause = min(2*pause, fetchPauseMax)
			continue
		case len(records.List) == 0:
			l.ask.From, l.ask.Offset = replication.FromOffset, records.Offset // what comes next is wanted
			continue
		default:
			l.ask.From, l.ask.Offset = replication.FromOffset, records.Next()
		}
		pause = fetchPause
		select {
		case r.came <- fetched{l, records, err}:
		case <-r.ctx.Done():
		}
	}
}

const (
	fetchPause    = 100 * time.Millisecond
	fetchPauseMax = 5 * time.Second
)

// nextToCome hands out what comes, log by log.
func (r *StreamReader) nextToCome(ctx context.Context) (StreamEvent, error) {
	for {
		if r.at != nil && len(r.at.got) > 0 {
			return r.hand(r.at)
		}
		select {
		case f := <-r.came:
			if f.err != nil {
				return StreamEvent{}, f.err
			}
			r.at = f.log
			f.log.got, f.log.next = f.records.List, f.records.Offset
		case <-ctx.Done():
			return StreamEvent{}, ctx.Err()
		case <-r.ctx.Done():
			return StreamEvent{}, ErrClosed
		}
	}
}
