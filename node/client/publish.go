package client

import (
	"context"
	"fmt"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/wire"
)

// window is what was published and is not acknowledged yet. The client's lock
// guards it.
type window struct {
	last   uint64   // number of the newest event; events are numbered from 1
	events int      // unacknowledged
	bytes  int      // of their envelopes
	flight []*batch // unacknowledged, oldest first
	open   *batch   // the newest, while events can join it
	turn   []*batch // those whose bytes are in the outbox
	failed error    // of the first failed event that nobody flushed yet
}

// batch is the events of one publish frame. Its fields are guarded by the
// client's lock until done is closed and do not change afterwards.
type batch struct {
	first  uint64
	count  int
	bytes  int
	start  int    // where its frame begins in the outbox, in its turn
	end    int    // and where it ends
	frame  []byte // what to send again; only with WithAtLeastOnce
	done   chan struct{}
	failed []failure
	kept   []wire.Position // as far as the client asked for them
}

// failure is why some events of a batch were not routed.
type failure struct {
	first, count uint64
	err          error
}

// Ack is the answer to an event that was published, once it comes. It is a
// small value; any number of goroutines may use it.
type Ack struct {
	batch  *batch
	number uint64
}

// Done is closed when the outcome is known.
func (a Ack) Done() <-chan struct{} { return a.batch.done }

// Err is why the event was not routed; nil when it was, and until Done.
func (a Ack) Err() error {
	select {
	case <-a.batch.done:
		return a.batch.err(a.number)
	default:
		return nil
	}
}

// Wait waits for the outcome: nil once the node has routed the event. When ctx
// ends first, its error is returned and the event may still be routed.
func (a Ack) Wait(ctx context.Context) error {
	select {
	case <-a.batch.done:
		return a.batch.err(a.number)
	default:
	}
	select {
	case <-a.batch.done:
		return a.batch.err(a.number)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Positions is where streams keep the event, or are to keep it, one for each, once Done
// is closed: the level that was reached is Quorum unless they say otherwise. It is empty if none wants it, or the client was made without WithPositions.
func (a Ack) Positions() (list []Position) {
	select {
	case <-a.batch.done:
	default:
		return nil
	}
	for _, p := range a.batch.kept {
		if p.Number == a.number {
			list = append(list, Position{Stream: p.Stream, Region: p.Region, Partition: p.Partition, Offset: p.Offset, Duplicate: p.Duplicate, Waiting: p.Waiting, Routed: p.Routed})
		}
	}
	return list
}

func (b *batch) err(number uint64) error {
	for i := range b.failed {
		if f := &b.failed[i]; number >= f.first && number-f.first < f.count {
			return f.err
		}
	}
	return nil
}

// Publish publishes an event and returns once the node has routed it. Errors
// are the node's *RefusedError, ErrUnknownOutcome, ErrTooLarge, ErrClosed and
// ctx's.
func (c *Client) Publish(ctx context.Context, e cloudevents.Event) error {
	ack, err := c.PublishAsync(ctx, e)
	if err != nil {
		return err
	}
	return ack.Wait(ctx)
}

// PublishAsync publishes an event and returns once it is on its way: at once,
// unless the window is full or the connection broken. The event may be changed
// afterwards. An error means that it was not published.
func (c *Client) PublishAsync(ctx context.Context, e cloudevents.Event) (Ack, error) {
	enc := c.encoders.Get().(*encoder)
	defer c.encoders.Put(enc)
	var err error
	if enc.buf, err = appendEnvelope(enc.buf[:0], &enc.builder, &e); err != nil {
		return Ack{}, err
	}
	return c.PublishEnvelope(ctx, enc.buf)
}

// encoder is what it takes to encode an event.
type encoder struct {
	builder event.Builder
	buf     []byte
}

// PublishEnvelope is PublishAsync for an event that is encoded already, as
// event.Builder and the event package's Append functions write it: the way
// without the SDK, for programs that count microseconds. The bytes are copied.
func (c *Client) PublishEnvelope(ctx context.Context, envelope []byte) (Ack, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch w := &c.window; {
		case c.err != nil:
			return Ack{}, c.err
		case c.conn == nil:
		case len(envelope) > c.maxEvent():
			return Ack{}, fmt.Errorf("%w: %d bytes, the node takes %d", ErrTooLarge, len(envelope), c.maxEvent())
		case w.events < c.set.events && (w.bytes+len(envelope) <= c.set.bytes || w.events == 0):
			return c.enqueue(envelope), nil
		}
		if err := c.wait(ctx); err != nil {
			return Ack{}, err
		}
	}
}

// enqueue puts an event into the newest batch, or begins another. The lock is
// held.
func (c *Client) enqueue(envelope []byte) Ack {
	w := &c.window
	w.last++
	w.events++
	w.bytes += len(envelope)
	b := w.open
	begin := b == nil || b.bytes+len(envelope) > wire.MaxBatch
	if begin {
		b = &batch{first: w.last, done: make(chan struct{})}
		w.open, w.turn, w.flight = b, append(w.turn, b), append(w.flight, b)
	}
	b.count++
	b.bytes += len(envelope)
	c.conn.out.AppendNow(func(dst []byte) []byte {
		if begin {
			b.start = len(dst)
			dst = wire.BeginPublish(dst, b.first, c.set.namespace)
		}
		dst = wire.AppendEvent(dst, envelope)
		wire.EndEvents(dst, b.start)
		b.end = len(dst)
		return dst
	})
	return Ack{b, w.last}
}

// acked handles an acknowledgement of all events up to last.
func (c *Client) acked(last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for ; n < len(c.window.flight); n++ {
		b := c.window.flight[n]
		if b.first+uint64(b.count)-1 > last {
			break
		}
		c.finish(b)
	}
	c.window.flight = dropFirst(c.window.flight, n)
	if c.window.events <= c.set.events/2 && c.window.bytes <= c.set.bytes/2 {
		c.notify() // not sooner: a publisher that is woken should have something to do
	}
}

// finish ends a batch: its outcome is known. The lock is held.
func (c *Client) finish(b *batch) {
	c.window.events -= b.count
	c.window.bytes -= b.bytes
	if b == c.window.open {
		c.window.open = nil
	}
	if len(b.failed) > 0 && c.window.failed == nil {
		c.window.failed = b.failed[0].err
	}
	close(b.done)
}

// nacked handles the refusal of some events of one frame.
func (c *Client) nacked(first, count uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.window.flight {
		if first >= b.first && first-b.first < uint64(b.count) {
			b.failed = append(b.failed, failure{first, count, err})
			return
		}
	}
}

// kept handles where events of frames in flight are kept.
func (c *Client) kept(list []wire.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	flight := c.window.flight
	for _, p := range list { // in the order of the events, as the batches are
		for len(flight) > 0 && flight[0].first+uint64(flight[0].count) <= p.Number {
			flight = flight[1:]
		}
		if len(flight) > 0 && p.Number >= flight[0].first {
			flight[0].kept = append(flight[0].kept, p)
		}
	}
}

// abandon ends what is in flight without an answer. The lock is held.
func (c *Client) abandon(err error) {
	for _, b := range c.window.flight {
		b.failed = append(b.failed, failure{b.first, uint64(b.count), err})
		c.finish(b)
	}
	c.window.flight, c.window.turn, c.window.open = nil, nil, nil
}

// Flush waits until the outcome of all events published so far is known. It
// returns the first error of an event since the last Flush, those that Publish
// or an Ack told of included; or ctx's error.
func (c *Client) Flush(ctx context.Context) error {
	c.mu.Lock()
	flight := append([]*batch(nil), c.window.flight...)
	if n := len(flight); n > 0 {
		c.window.open = nil // what comes later shall not delay this
	}
	c.mu.Unlock()
	for _, b := range flight {
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.window.failed
	c.window.failed = nil
	return err
}

// dropFirst removes the first n of list and keeps its memory in use.
func dropFirst[T any](list []T, n int) []T {
	if n == 0 {
		return list
	}
	rest := copy(list, list[n:])
	clear(list[rest:])
	return list[:rest]
}
