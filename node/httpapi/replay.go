package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/queue"
)

// source is where a subscriber's events come from: a live subscription, or a
// stream.
type source interface {
	// Next waits for the first and fills in as many as there are.
	Next(ctx context.Context, items []queue.Item) (int, error)
	Close()
}

// Trimmed is the cause of a gap where retention has passed what a reader of a
// stream has not read yet.
const Trimmed queue.Cause = "trimmed"

// replay is a stream that is read, and followed, as a source.
type replay struct {
	reader  *node.StreamReader
	filter  filter.Filter
	cursors []string // after each item of the last Next
}

// Close implements source.
func (p *replay) Close() { p.reader.Close() }

// Next implements source. It waits for one event and takes those that have come
// with it.
func (p *replay) Next(ctx context.Context, items []queue.Item) (int, error) {
	p.cursors = p.cursors[:0]
	n := 0
	for n == 0 || n < len(items) && p.reader.Ready() {
		ev, err := p.reader.Next(ctx)
		var trimmed *node.TrimmedError
		switch {
		case errors.As(err, &trimmed):
			items[n] = queue.Item{Gap: trimmedGap(trimmed)}
		case err != nil:
			return n, err
		case !p.filter.Match(&ev.Event):
			continue
		default:
			items[n] = queue.Item{Event: ev.Event}
		}
		p.cursors = append(p.cursors, p.reader.Cursor())
		n++
	}
	return n, nil
}

// trimmedGap is what retention has taken, as a gap.
func trimmedGap(t *node.TrimmedError) *queue.Gap {
	now := time.Now()
	return &queue.Gap{
		Count: uint64(max(0, t.Start-t.Offset)), Cause: Trimmed,
		Origin: fmt.Sprintf("%s@%s/%d", t.Stream, t.Region, t.Partition), From: now, To: now,
	}
}

// cursorOf is the cursor after an item of a source's last Next; empty for a live
// subscription.
func cursorOf(s source, i int) string {
	if p, ok := s.(*replay); ok {
		return p.cursors[i]
	}
	return ""
}

// streamLine is a line of what readStream answers.
type streamLine struct {
	Stream    string          `json:"stream"`
	Region    string          `json:"region"`
	Partition uint32          `json:"partition"`
	Offset    int64           `json:"offset"`
	Time      time.Time       `json:"time"`   // when it was kept
	Cursor    string          `json:"cursor"` // as from=, it goes on after this event
	Event     json.RawMessage `json:"event"`
}

// readStream answers with the events of a stream, a streamLine in JSON a line:
// those there are, or, with follow=true, also those that come, with an empty line
// now and then as a sign of life. What goes wrong once the answer has begun is a
// last line {"problem": {…}}; what retention has taken while a reader follows is
// {"trimmed": {…}}.
func (a *API) readStream(w *response, r *http.Request, namespace string) error {
	q, count, err := parseRead(r)
	if err != nil {
		return err
	}
	q.read.Namespace, q.read.Name = namespace, streamName(r)
	if err := a.hold(); err != nil {
		return err
	}
	defer a.wg.Done()
	ctx, cancel := a.untilClose(r)
	defer cancel()
	reader, err := a.streams.ReadStream(ctx, q.read)
	if err != nil {
		return err
	}
	defer reader.Close()
	a.count.readers.Add(1)
	defer a.count.readers.Add(-1)
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	out := &lines{s: eventStream{w: w, rc: rc}}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	if q.read.Follow {
		w.WriteHeader(http.StatusOK)
		out.s.out = append(out.s.out, '\n')
	}
	err = out.copy(ctx, reader, q.filter, count, &a.count)
	if err != nil && w.status == 0 {
		return err // nothing was written
	}
	if err != nil && ctx.Err() == nil {
		out.add(map[string]*Problem{"problem": a.problem(r, err)})
	}
	if err := out.s.flush(); err != nil {
		a.log.Debug("a stream's reader is gone", "err", err)
	}
	return nil
}

// lines writes lines of JSON.
type lines struct{ s eventStream }

func (l *lines) add(v any) {
	if b, err := json.Marshal(v); err == nil {
		l.s.out = append(append(l.s.out, b...), '\n')
	}
}

// copy writes a reader's events until count of them are written, 0 being all, or
// the reader ends.
func (l *lines) copy(ctx context.Context, reader *node.StreamReader, f filter.Filter, count int, stats *counters) error {
	for n := 0; count == 0 || n < count; {
		if len(l.s.out) >= flushBytes || len(l.s.out) > 0 && !reader.Ready() {
			if err := l.s.flush(); err != nil {
				return err
			}
		}
		beat, cancel := context.WithTimeout(ctx, heartbeat)
		ev, err := reader.Next(beat)
		cancel()
		var trimmed *node.TrimmedError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &trimmed):
			l.add(map[string]any{"trimmed": trimmed})
			continue
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			l.s.out = append(l.s.out, '\n')
			continue
		case err != nil:
			return err
		case !f.Match(&ev.Event):
			continue
		}
		n++
		stats.sent.Add(1)
		at := ev.Position
		l.add(streamLine{
			at.Stream, at.Region, at.Partition, at.Offset, ev.Time, reader.Cursor(), ev.Event.AppendJSONLine(nil),
		})
	}
	return nil
}

// replayQuery says what of a stream is wanted.
type replayQuery struct {
	read   node.StreamRead
	filter filter.Filter
}

// parseRead reads the parameters of readStream.
func parseRead(r *http.Request) (q replayQuery, count int, err error) {
	values, err := parseValues(r)
	if err != nil {
		return q, 0, err
	}
	if err := onlyKnown(values, append([]string{"from", "count", "follow"}, filterParameters...)); err != nil {
		return q, 0, err
	}
	q.read.From = values.Get("from")
	switch values.Get("follow") {
	case "", "false", "0":
	case "true", "1":
		q.read.Follow = true
	default:
		return q, 0, parameter("follow", "must be true or false")
	}
	if s := values.Get("count"); s != "" {
		if count, err = strconv.Atoi(s); err != nil || count < 1 {
			return q, 0, parameter("count", "must be a number of events, at least 1")
		}
	}
	q.filter, err = parseFilter(values)
	return q, count, err
}

// openReplay reads and follows a stream. Last-Event-ID, which a reader of
// Server-Sent Events sends when it comes back, says where it was.
func (a *API) openReplay(ctx context.Context, r *http.Request, q *query) (source, error) {
	if a.streams == nil {
		return nil, parameter("stream", "is not known here: this node keeps no streams")
	}
	read := node.StreamRead{Namespace: q.request.Namespace, Name: q.stream, From: q.from, Follow: true}
	if id := strings.TrimSpace(r.Header.Get("Last-Event-ID")); id != "" {
		read.From, read.GoOn = id, true
	}
	reader, err := a.streams.ReadStream(ctx, read)
	if err != nil {
		return nil, err
	}
	return &replay{reader: reader, filter: q.request.Filter}, nil
}
