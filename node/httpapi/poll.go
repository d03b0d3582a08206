package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
)

// A long poll's answer is a batch of events, and its Skein-Poll header is the
// cursor for the next one: GET with poll=CURSOR confirms that answer and waits
// for what came since. Asking again with the cursor before that gives the same
// answer again, so an answer that got lost on its way loses no event.
//
//	cursor:  id "." number of answers confirmed
//
// A poll that nobody asks for is forgotten after pollKeep; its cursor then
// gets 410, and the client knows that it may have missed events. Of a stream it can
// know better: Skein-Cursor is where in the stream the answer ends, for a new poll, at
// any node, with from or Last-Event-ID.
const (
	headerPoll   = "Skein-Poll"
	headerCursor = "Skein-Cursor"
	headerGap    = "Skein-Gap" // count=3; cause=overflow: one for each gap before or among the events

	pollKeep  = time.Minute
	pollBytes = 4 << 20 // of envelopes in one answer, about
)

// polls are the subscriptions kept between polls.
type polls struct {
	limit int

	mu   sync.Mutex // guards the fields below
	byID map[string]*poll
	over bool
}

// poll is one subscription that is polled.
type poll struct {
	id        string
	namespace string
	sub       source
	expires   time.Time // guarded by polls.mu; zero while it is asked for

	asking    sync.Mutex // held by the one request that asks; guards the fields below
	confirmed int        // answers
	last      *answer    // given, not confirmed; nil when there is none
	rest      []queue.Item
	cursors   []string // of a stream, after each of rest
}

// answer is what a poll was told.
type answer struct {
	media string
	body  []byte
	gaps  []string // as Skein-Gap has them
	lost  string   // regions of a stream that are out of reach
	after string   // the cursor of a stream behind it all
	items int      // events and gaps
}

func newPolls(limit int) *polls { return &polls{limit: limit, byID: map[string]*poll{}} }

// add keeps a new subscription, asked for by its caller.
func (ps *polls) add(namespace string, sub source) (*poll, error) {
	p := &poll{id: rand.Text(), namespace: namespace, sub: sub}
	p.asking.Lock()
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.over {
		return nil, node.ErrClosed
	}
	if len(ps.byID) >= ps.limit {
		return nil, unavailable("too many polls are open at this node")
	}
	ps.byID[p.id] = p
	return p, nil
}

// ask finds the poll of a cursor; its caller asks alone until it is done.
func (ps *polls) ask(namespace, cursor string) (p *poll, confirmed int, err error) {
	id, number, _ := strings.Cut(cursor, ".")
	confirmed, err = strconv.Atoi(number)
	if err != nil || confirmed < 0 {
		return nil, 0, parameter("poll", "must be the Skein-Poll header of an answer")
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p = ps.byID[id]
	if p == nil || p.namespace != namespace {
		return nil, 0, problemf(http.StatusGone, "that poll is not known any more; begin anew without poll: events may have been missed")
	}
	if !p.asking.TryLock() {
		return nil, 0, problemf(http.StatusConflict, "another request waits on that poll")
	}
	p.expires = time.Time{}
	return p, confirmed, nil
}

// done ends a request for a poll, which may be asked for again.
func (ps *polls) done(p *poll) {
	ps.mu.Lock()
	p.expires = time.Now().Add(pollKeep)
	ps.mu.Unlock()
	p.asking.Unlock()
}

// reap forgets polls that nobody asks for.
func (ps *polls) reap(ctx context.Context) {
	tick := time.NewTicker(pollKeep / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			ps.forget(func(p *poll) bool { return !p.expires.IsZero() && p.expires.Before(now) })
		}
	}
}

// forget closes the polls that are to go.
func (ps *polls) forget(goes func(*poll) bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for id, p := range ps.byID {
		if goes(p) {
			delete(ps.byID, id)
			p.sub.Close()
		}
	}
}

func (ps *polls) close() {
	ps.mu.Lock()
	ps.over = true
	ps.mu.Unlock()
	ps.forget(func(*poll) bool { return true })
}

func (ps *polls) open() int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return len(ps.byID)
}

// poll serves one long poll.
func (a *API) poll(w *response, r *http.Request, namespace, media string) error {
	q, err := parseQuery(r, namespace, "poll", "max", "poll")
	if err != nil {
		return err
	}
	ctx, cancel := a.untilClose(r)
	defer cancel()
	if q.wait == 0 {
		q.wait = defaultPoll
	}
	deadline := time.Now().Add(q.wait)
	p, err := a.openPoll(ctx, w, r, q)
	if err != nil {
		return err
	}
	defer a.polls.done(p)
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if p.last == nil {
		if p.last, err = p.wait(ctx, deadline, q, media); err != nil {
			return err
		}
		a.count.sent.Add(uint64(p.last.items))
	}
	if err := rc.SetWriteDeadline(time.Now().Add(writeWait)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", p.last.media)
	h.Set("Cache-Control", "no-store")
	h.Set(headerPoll, fmt.Sprintf("%s.%d", p.id, p.confirmed+1))
	if p.last.after != "" {
		h.Set(headerCursor, p.last.after)
	}
	for _, g := range p.last.gaps {
		h.Add(headerGap, g)
	}
	if _, kept := p.sub.(*replay); kept {
		h.Del(headerMissing)
	}
	if p.last.lost != "" {
		h.Set(headerMissing, p.last.lost)
	}
	if _, err := w.Write(p.last.body); err != nil {
		a.log.Debug("a poll's answer did not reach its client", "err", err)
	}
	return nil
}

// openPoll subscribes for a first poll, or goes on with an earlier one.
func (a *API) openPoll(ctx context.Context, w *response, r *http.Request, q *query) (*poll, error) {
	namespace := q.request.Namespace
	if q.poll == "" {
		q.request.Wait = min(q.wait, node.DefaultWait)
		sub, err := a.open(ctx, w, r, q)
		if err != nil {
			return nil, err
		}
		p, err := a.polls.add(namespace, sub)
		if err != nil {
			sub.Close()
		}
		return p, err
	}
	for _, name := range append(filterParameters, "barrier", "stream", "from", "order", "hold") {
		if r.URL.Query().Has(name) {
			return nil, parameter(name, "belongs to the first poll only")
		}
	}
	p, confirmed, err := a.polls.ask(namespace, q.poll)
	if err != nil {
		return nil, err
	}
	switch {
	case p.last != nil && confirmed == p.confirmed+1:
		p.last, p.confirmed = nil, confirmed
	case confirmed != p.confirmed:
		a.polls.done(p)
		return nil, parameter("poll", "is the cursor of an older answer, or of none")
	}
	return p, nil
}

// wait waits for events until the deadline and makes an answer of them, maybe
// of none.
func (p *poll) wait(ctx context.Context, deadline time.Time, q *query, media string) (*answer, error) {
	stream, _ := p.sub.(*replay)
	items, cursors := p.rest, p.cursors
	if len(items) == 0 {
		buf := make([]queue.Item, q.max)
		wait, cancel := context.WithDeadline(ctx, deadline)
		n, err := p.sub.Next(wait, buf)
		cancel()
		if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
			return nil, err
		}
		items = buf[:n]
		if stream != nil {
			cursors = slices.Clone(stream.cursors)
		}
	}
	ans := &answer{media: media}
	size, taken := 0, 0
	var events []event.Event
	for _, it := range items {
		if taken == q.max || size > pollBytes {
			break
		}
		taken++
		if it.Gap == nil {
			events = append(events, it.Event)
			size += len(it.Event.Bytes())
			continue
		}
		switch q.gaps {
		case gapsNative:
			if it.Gap.Cause != missing { // that is in a header anyway
				ans.gaps = append(ans.gaps, gapHeader(it.Gap))
			}
		case gapsEvents:
			ev, err := gapEvent(it.Gap)
			if err != nil {
				return nil, err
			}
			events = append(events, ev)
		}
	}
	p.rest, ans.items = items[taken:], taken
	if stream != nil {
		ans.lost = strings.Join(stream.reader.Missing(), ", ")
		if ans.after = stream.reader.Cursor(); taken > 0 {
			ans.after = cursors[taken-1]
		}
		p.cursors = cursors[taken:]
	}
	if media == mediaProtoBatch {
		ans.body = event.AppendProtoBatch(nil, events)
	} else {
		ans.body = event.AppendJSONBatch(nil, events)
	}
	return ans, nil
}
