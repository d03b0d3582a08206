package flow

import "time"

// Bounds of a window, in bytes.
const (
	firstWindow = 1 << 20
	leastWindow = 128 << 10
	mostWindow  = 32 << 20
)

// Round trips up to twice the shortest and a bit are a free path; beyond four
// times and a bit, what is sent only lengthens queues. The bits are what the
// region takes to acknowledge.
const (
	freeSlack = 50 * time.Millisecond
	fullSlack = 200 * time.Millisecond
)

// window bounds what is on its way and not acknowledged, since a relay drops
// what it has no room for. It widens while acknowledgements come quickly, and
// narrows when they come late or the region asks for something again. Lanes do
// congestion control of their own: this is about what lies between them.
type window struct {
	least    int // bytes, of size
	size     int // bytes that may be on their way
	used     int // bytes that are
	sent     []shipment
	head     int  // of sent
	limited  bool // it has held something back since the last acknowledgement
	shortest time.Duration
	narrowed time.Time // when it last was
}

// shipment is a frame on its way.
type shipment struct {
	upto  uint64
	bytes int
	at    time.Time
}

// open reports whether something may be sent: the last frame may exceed the
// window.
func (w *window) open() bool {
	if w.used < w.size {
		return true
	}
	w.limited = true
	return false
}

// add notes a frame that was sent.
func (w *window) add(now time.Time, upto uint64, bytes int) {
	if w.head > 0 && len(w.sent) == cap(w.sent) {
		w.sent = w.sent[:copy(w.sent, w.sent[w.head:])]
		w.head = 0
	}
	w.sent = append(w.sent, shipment{upto, bytes, now})
	w.used += bytes
}

// ack takes everything up to a number off the way.
func (w *window) ack(now time.Time, upto uint64) {
	bytes, at := 0, time.Time{}
	for ; w.head < len(w.sent) && w.sent[w.head].upto <= upto; w.head++ {
		bytes += w.sent[w.head].bytes
		at = w.sent[w.head].at
	}
	if bytes == 0 {
		return
	}
	if w.head == len(w.sent) {
		w.sent, w.head = w.sent[:0], 0
	}
	w.used -= bytes
	trip := now.Sub(at)
	if w.shortest == 0 || trip < w.shortest {
		w.shortest = trip
	}
	switch {
	case w.limited && trip <= 2*w.shortest+freeSlack:
		w.size = min(w.size+bytes, mostWindow)
	case trip > 4*w.shortest+fullSlack && now.Sub(w.narrowed) > trip:
		w.size = max(w.size-w.size/8, w.least)
		w.narrowed = now
	}
	w.limited = false
}

// again takes everything off the way, to be sent once more.
func (w *window) again() {
	w.used, w.sent, w.head = 0, w.sent[:0], 0
}

// halve is for when something was lost on the way.
func (w *window) halve() { w.size = max(w.size/2, w.least) }

// renew is for another path.
func (w *window) renew(least, first int) {
	*w = window{least: least, size: first, sent: w.sent[:0]}
}
