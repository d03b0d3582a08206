package httpapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
)

// Timers and sizes of what goes out.
const (
	heartbeat  = 15 * time.Second // between signs of life on a quiet stream
	writeWait  = 30 * time.Second // for a reader that takes nothing: then it is cut
	itemsAhead = 64               // taken from the queue at once
	flushBytes = 64 << 10         // written at once, about
)

// stream serves a subscription as Server-Sent Events:
//
//	: comment                      a heartbeat, or the regions that are missing
//	data: {"specversion":"1.0"…    an event in JSON format, the default message
//
//	event: gap
//	data: {"count":3,"cause":…     what this reader missed
//
//	event: missing
//	data: {"regions":["eu"]}       of a stream: regions that are out of reach now
//
// What comes from a stream has an id, the reader's cursor: a client that comes back
// with it as Last-Event-ID goes on there. A heartbeat is an id alone when the reader is
// further than that, past what its filter does not want: no message, but where to go on.
//
// JSON with line ends in it goes as several data lines, as the format has it.
func (a *API) stream(w *response, r *http.Request, namespace string) error {
	q, err := parseQuery(r, namespace, "sse")
	if err != nil {
		return err
	}
	q.request.Wait = q.wait
	ctx, cancel := a.untilClose(r)
	defer cancel()
	sub, err := a.open(ctx, w, r, q)
	if err != nil {
		return err
	}
	defer sub.Close()
	a.count.streams.Add(1)
	defer a.count.streams.Add(-1)

	h := w.Header()
	h.Set("Content-Type", mediaStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies that buffer would hold events back
	s := &eventStream{w: w, rc: http.NewResponseController(w), gaps: q.gaps}
	if err := s.rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	w.WriteHeader(http.StatusOK)
	s.out = append(s.out, ": subscribed"...)
	if missing := h.Get(headerMissing); missing != "" {
		what := "; not yet confirmed by "
		if q.stream != "" {
			what = "; out of reach: "
		}
		s.out = append(append(s.out, what...), missing...)
	}
	s.out = append(s.out, "\n\n"...)
	err = s.run(ctx, sub, &a.count) // never nil: it says what ended it
	a.log.Debug("an event stream ended", "subscriber", q.request.Label, "err", err)
	return nil
}

// eventStream writes Server-Sent Events.
type eventStream struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	gaps gaps
	out  []byte // not written yet
	json []byte
	at   string // the last id
}

// run writes until ctx, the subscription or the connection ends.
func (s *eventStream) run(ctx context.Context, sub source, count *counters) error {
	items := make([]queue.Item, itemsAhead)
	for {
		if err := s.flush(); err != nil {
			return err
		}
		beat, cancel := context.WithTimeout(ctx, heartbeat)
		err := s.pump(beat, sub, items, count)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if at := passed(sub); at != s.at {
			s.at = at
			s.out = append(append(append(s.out, "id: "...), at...), "\n\n"...)
			continue
		}
		s.out = append(s.out, ":\n\n"...)
	}
}

// pump writes what comes until ctx ends.
func (s *eventStream) pump(ctx context.Context, sub source, items []queue.Item, count *counters) error {
	for {
		n, err := sub.Next(ctx, items)
		if errors.Is(err, node.ErrSlow) {
			s.out = append(s.out, "event: end\ndata: {\"cause\":\"slow\"}\n\n"...)
			return errors.Join(err, s.flush())
		}
		if err != nil {
			return err
		}
		for i := range items[:n] {
			if id := cursorOf(sub, i); id != "" {
				s.at = id
				s.out = append(append(append(s.out, "id: "...), id...), '\n')
			}
			if err := s.append(&items[i]); err != nil {
				return err
			}
			if len(s.out) >= flushBytes {
				if err := s.flush(); err != nil {
					return err
				}
			}
		}
		clear(items[:n])
		count.sent.Add(uint64(n))
		if err := s.flush(); err != nil {
			return err
		}
	}
}

// append adds an event or a gap to what is to be written.
func (s *eventStream) append(it *queue.Item) error {
	ev := &it.Event
	if it.Gap != nil {
		switch s.gaps {
		case gapsSkip:
			s.out = append(s.out, ":\n\n"...)
			return nil
		case gapsNative:
			if it.Gap.Cause == missing {
				s.out = appendMissing(append(s.out, "event: missing\ndata: "...), it.Gap)
			} else {
				s.out = appendGap(append(s.out, "event: gap\ndata: "...), it.Gap)
			}
			s.out = append(s.out, "\n\n"...)
			return nil
		}
		made, err := gapEvent(it.Gap)
		if err != nil {
			return err
		}
		ev = &made
	}
	s.json = appendStreamJSON(s.json[:0], ev)
	for line := range bytes.Lines(s.json) {
		s.out = append(append(s.out, "data: "...), line...)
	}
	s.out = append(s.out, "\n\n"...)
	return nil
}

// flush writes what is to be written and sends it on its way. A reader that
// takes nothing for writeWait is cut; until then its queue drops and counts.
func (s *eventStream) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	if err := s.rc.SetWriteDeadline(time.Now().Add(writeWait)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_, err := s.w.Write(s.out)
	if s.out = s.out[:0]; cap(s.out) > keepScratch {
		s.out = nil
	}
	if err != nil {
		return err
	}
	return s.rc.Flush()
}

// appendStreamJSON is AppendJSON without carriage returns, which would end a
// line of the stream and come out as line feeds: data whose JSON text has them
// goes in Base64, so that its bytes survive.
func appendStreamJSON(dst []byte, ev *event.Event) []byte {
	start := len(dst)
	dst = ev.AppendJSON(dst)
	if bytes.IndexByte(dst[start:], '\r') < 0 {
		return dst
	}
	data, _ := ev.Data()
	const member = `,"data":`
	head, ok := bytes.CutSuffix(dst, append(append([]byte(member), bytes.Trim(data, " \t\r\n")...), '}'))
	if !ok {
		return ev.AppendJSONLine(dst[:start])
	}
	dst = append(head, `,"data_base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, data)
	return append(dst, `"}`...)
}
