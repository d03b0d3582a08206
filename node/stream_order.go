package node

import (
	"fmt"
	"time"

	"github.com/skeinmesh/skein/routing/filter"
)

// Order is how a reader merges the logs of a stream. The events of one log, and so
// those of one key in a region, are in order always.
type Order string

const (
	// ByArrival hands out what comes, as it comes.
	ByArrival Order = "arrival"
	// ByTime hands out the event that was kept first, by the leaders' clocks. A log
	// that has none now holds the others back for a bounded time only; what it gets
	// later goes out late.
	ByTime Order = "time"
)

// Bounds of StreamRead.Hold.
const (
	DefaultHold = time.Second
	MaxHold     = time.Minute
)

// ParseOrder reads an Order; empty stays so.
func ParseOrder(s string) (Order, error) {
	switch o := Order(s); o {
	case "", ByArrival, ByTime:
		return o, nil
	}
	return "", fmt.Errorf("%w: order %.80q: want %s or %s", ErrInvalid, s, ByArrival, ByTime)
}

// canonical checks a filter, and makes those that want everything one.
func canonical(text []byte) (string, error) {
	if len(text) == 0 {
		return "", nil
	}
	f, err := filter.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	for _, c := range f.Conjuncts {
		if (c.Type == "" || c.Type == ">") && len(c.Preds) == 0 && c.Rest == nil {
			return "", nil
		}
	}
	return string(text), nil
}

// nothing, as a time to wait, says that nothing is left to wait for.
const nothing = time.Duration(-1)

// pick is the log whose event is next; nil if it must be waited for: so long at most,
// unless that is 0, until something comes.
func (r *StreamReader) pick(now time.Time) (next *logReader, wait time.Duration) {
	if r.at != nil && len(r.at.got) > 0 && (r.q.Order == ByArrival || len(r.logs) == 1) {
		return r.at, 0
	}
	if r.q.Order == ByTime && r.q.Follow {
		r.drain()
	}
	for _, l := range r.logs {
		if len(l.got) > 0 && (next == nil || l.got[0].Time < next.got[0].Time) {
			next = l
		}
	}
	for _, l := range r.logs {
		switch {
		case len(l.got) > 0, l.left, r.over(l): // it holds up nobody
		case next == nil:
			return nil, 0
		case r.q.Order == ByArrival, l.lost != nil:
		case !r.q.Follow, l.behind: // it has more
			return nil, 0
		default:
			wait = max(wait, r.q.Hold-now.Sub(next.came))
		}
	}
	switch {
	case next == nil && !r.q.Follow:
		return nil, nothing
	case wait > 0:
		return nil, wait
	}
	return next, 0
}

// over reports whether all of a log is read that was there when reading began.
func (r *StreamReader) over(l *logReader) bool {
	return !r.q.Follow && l.next >= 0 && l.next >= l.end
}

// drain notes what has come while nobody asked for the next event.
func (r *StreamReader) drain() {
	for len(r.tell) == 0 {
		select {
		case f := <-r.came:
			r.note(&f)
		default:
			return
		}
	}
}
