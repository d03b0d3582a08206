package wire

import (
	"io"
	"sync"
)

// Outbox gathers the frames that many goroutines send on one stream. What comes
// while some are written goes out together afterwards: the busier the stream,
// the larger the writes.
//
// Either one goroutine waits for Ready, takes, writes, and takes again until
// nothing is left; or whoever appends calls Flush, which saves the change of
// goroutines. All methods may be called by any goroutine, but Take by the one
// writer only.
type Outbox struct {
	ready chan struct{}
	limit int

	mu     sync.Mutex // guards the fields below
	room   sync.Cond
	buf    []byte // frames, in order
	spare  []byte // what was taken last
	busy   bool   // a Flush is writing
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
	return o.take()
}

// Flush writes what is there, and what comes meanwhile, to w; while another call
// does so it leaves that to it.
func (o *Outbox) Flush(w io.Writer) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy {
		return nil
	}
	o.busy = true
	defer func() { o.busy = false }()
	for len(o.buf) > 0 {
		taken := o.take()
		o.mu.Unlock()
		_, err := w.Write(taken)
		o.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *Outbox) take() []byte {
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
