package wire

import "sync"

// Outbox gathers the frames that many goroutines send on one stream, for the
// one goroutine that writes them. What comes while that one writes goes out
// together afterwards: the busier the stream, the larger the writes.
//
// The writer waits for Ready, takes, writes, and takes again until nothing is
// left. All methods may be called by any goroutine, but Take by the writer only.
type Outbox struct {
	ready chan struct{}
	limit int

	mu     sync.Mutex // guards the fields below
	room   sync.Cond
	buf    []byte // frames, in order
	spare  []byte // what Take returned last
	closed bool
}

// NewOutbox makes an outbox in which Append waits while limit bytes are there.
func NewOutbox(limit int) *Outbox {
	o := &Outbox{limit: limit, ready: make(chan struct{}, 1)}
	o.room.L = &o.mu
	return o
}

// Append calls f, which appends frames, once there is room. It reports false,
// without a call, when the outbox is closed.
func (o *Outbox) Append(f func(dst []byte) []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.buf) >= o.limit && !o.closed {
		o.room.Wait()
	}
	return o.append(f)
}

// AppendNow is Append that does not wait for room: for frames that are few by
// their nature, and for callers that bound themselves.
func (o *Outbox) AppendNow(f func(dst []byte) []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.append(f)
}

func (o *Outbox) append(f func(dst []byte) []byte) bool {
	if o.closed {
		return false
	}
	if o.buf = f(o.buf); len(o.buf) > 0 {
		select {
		case o.ready <- struct{}{}:
		default:
		}
	}
	return true
}

// Ready has a value when there may be frames to take.
func (o *Outbox) Ready() <-chan struct{} { return o.ready }

// maxSpare is the largest buffer that is kept for the next turn, in bytes.
const maxSpare = 8 << 20

// Take returns all frames there are, none when there are none. They are valid
// until the next Take.
func (o *Outbox) Take() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := o.buf
	o.buf = o.spare[:0]
	if o.spare = taken; cap(taken) > maxSpare {
		o.spare = nil
	}
	if len(taken) >= o.limit {
		o.room.Broadcast()
	}
	return taken
}

// Close refuses further frames and wakes those who wait for room. What is
// there can still be taken.
func (o *Outbox) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.room.Broadcast()
}
