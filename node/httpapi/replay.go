package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/skeinmesh/skein/node"
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

// missing is the cause of what is no gap: other regions than before are out of reach,
// those that Origin names. What is kept there comes when they are back.
const missing queue.Cause = "missing"

// streamReader is a stream that is read.
type streamReader interface {
	Next(ctx context.Context) (node.StreamEvent, error)
	Ready() bool // Next has an event without waiting
	Cursor() string
	Missing() []string
	Close()
}

var _ streamReader = (*node.StreamReader)(nil)

// replay is a stream that is read, and followed, as a source.
type replay struct {
	reader  streamReader
	cursors []string // after each item of the last Next
	err     error    // what came behind those items: the next Next returns it
}

// Close implements source.
func (p *replay) Close() { p.reader.Close() }

// Next implements source. It waits for one event and takes those that have come
// with it. What it has taken it returns, also if an error comes behind it: the reader
// does not hand it out again.
func (p *replay) Next(ctx context.Context, items []queue.Item) (int, error) {
	p.cursors = p.cursors[:0]
	if err := p.err; err != nil {
		p.err = nil
		return 0, err
	}
	n := 0
	for n == 0 || n < len(items) && p.reader.Ready() {
		ev, err := p.reader.Next(ctx)
		var trimmed *node.TrimmedError
		var lost *node.MissingError
		switch {
		case errors.As(err, &trimmed):
			items[n] = queue.Item{Gap: trimmedGap(trimmed)}
		case errors.As(err, &lost):
			now := time.Now()
			items[n] = queue.Item{Gap: &queue.Gap{Cause: missing, Origin: strings.Join(lost.Regions, ", "), From: now, To: now}}
		case err != nil && n == 0:
			return 0, err
		case err != nil:
			if ctx.Err() == nil { // the next Next has a context of its own
				p.err = err
			}
			return n, nil
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

// passed is the cursor where a source is that had nothing for a while; empty for a live
// subscription.
func passed(s source) string {
	if p, ok := s.(*replay); ok {
		return p.reader.Cursor()
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
// {"trimmed": {…}}. With follow=true or partial=true a line {"missing": ["eu"]} says
// which regions are out of reach, each time they are others. With a filter, the sign
// of life and the last line are {"cursor": "eu/0:17"} if reading is further than the
// last event: what is on the way there is not wanted.
func (a *API) readStream(w *response, r *http.Request, namespace string) error {
	q, count, err := parseRead(r)
	if err != nil {
		return err
	}
	q.Namespace, q.Name = namespace, streamName(r)
	if err := a.hold(); err != nil {
		return err
	}
	defer a.wg.Done()
	ctx, cancel := a.untilClose(r)
	defer cancel()
	reader, err := a.streams.ReadStream(ctx, q)
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
	out := &lines{s: eventStream{w: w, rc: rc}, whole: !q.Follow && !q.Partial, some: len(q.Filter) > 0, at: reader.Cursor()}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	if q.Follow {
		w.WriteHeader(http.StatusOK)
		out.s.out = append(out.s.out, '\n')
	}
	err = out.copy(ctx, reader, count, &a.count)
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
type lines struct {
	s     eventStream
	whole bool   // a region that is missing ends them
	some  bool   // not all events are wanted
	at    string // the last cursor
}

func (l *lines) add(v any) {
	if b, err := json.Marshal(v); err == nil {
		l.s.out = append(append(l.s.out, b...), '\n')
	}
}

// passed adds a reader's cursor if that is further than the last, and reports it.
func (l *lines) passed(reader streamReader) bool {
	at := reader.Cursor()
	if !l.some || at == l.at {
		return false
	}
	l.at = at
	l.add(map[string]string{"cursor": at})
	return true
}

// copy writes a reader's events until count of them are written, 0 being all, or
// the reader ends.
func (l *lines) copy(ctx context.Context, reader streamReader, count int, stats *counters) error {
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
		var lost *node.MissingError
		switch {
		case errors.Is(err, io.EOF):
			l.passed(reader)
			return nil
		case errors.As(err, &lost) && l.whole:
			return err
		case errors.As(err, &lost):
			l.add(map[string][]string{"missing": append([]string{}, lost.Regions...)})
			continue
		case errors.As(err, &trimmed):
			l.add(map[string]any{"trimmed": trimmed})
			continue
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			if !l.passed(reader) {
				l.s.out = append(l.s.out, '\n')
			}
			continue
		case err != nil:
			return err
		}
		n++
		stats.sent.Add(1)
		at := ev.Position
		l.at = reader.Cursor()
		l.add(streamLine{
			at.Stream, at.Region, at.Partition, at.Offset, ev.Time, l.at, ev.Event.AppendJSONLine(nil),
		})
	}
	return nil
}

// parseRead reads the parameters of readStream.
func parseRead(r *http.Request) (q node.StreamRead, count int, err error) {
	values, err := parseValues(r)
	if err != nil {
		return q, 0, err
	}
	known := append([]string{"from", "count", "follow", "partial", "order", "hold"}, filterParameters...)
	if err := onlyKnown(values, known); err != nil {
		return q, 0, err
	}
	q.From = values.Get("from")
	for name, set := range map[string]*bool{"follow": &q.Follow, "partial": &q.Partial} {
		switch values.Get(name) {
		case "", "false", "0":
		case "true", "1":
			*set = true
		default:
			return q, 0, parameter(name, "must be true or false")
		}
	}
	if s := values.Get("count"); s != "" {
		if count, err = strconv.Atoi(s); err != nil || count < 1 {
			return q, 0, parameter("count", "must be a number of events, at least 1")
		}
	}
	if q.Order, q.Hold, err = parseOrder(values); err != nil {
		return q, 0, err
	}
	q.Filter, _, err = filterOf(values)
	return q, count, err
}

// parseOrder reads in what order the events of a stream are wanted.
func parseOrder(values url.Values) (order node.Order, hold time.Duration, err error) {
	if order, err = node.ParseOrder(values.Get("order")); err != nil {
		return "", 0, parameter("order", "must be %s or %s", node.ByArrival, node.ByTime)
	}
	if s := values.Get("hold"); s != "" {
		if hold, err = time.ParseDuration(s); err != nil || hold <= 0 || hold > node.MaxHold {
			return "", 0, parameter("hold", "must be a duration such as 2s, up to %v", node.MaxHold)
		}
	}
	return order, hold, nil
}

// openReplay reads and follows a stream. Last-Event-ID, which a reader of
// Server-Sent Events sends when it comes back, says where it was.
func (a *API) openReplay(ctx context.Context, w http.ResponseWriter, r *http.Request, q *query) (source, error) {
	if a.streams == nil {
		return nil, parameter("stream", "is not known here: this node keeps no streams")
	}
	read := node.StreamRead{
		Namespace: q.request.Namespace, Name: q.stream, From: q.from, Follow: true,
		Filter: q.filter, Order: q.order, Hold: q.hold,
	}
	if id := strings.TrimSpace(r.Header.Get("Last-Event-ID")); id != "" {
		read.From, read.GoOn = id, true
	}
	reader, err := a.streams.ReadStream(ctx, read)
	if err != nil {
		return nil, err
	}
	if regions := reader.Missing(); len(regions) > 0 {
		w.Header().Set(headerMissing, strings.Join(regions, ", "))
	}
	return &replay{reader: reader}, nil
}
