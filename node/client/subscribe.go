package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/wire"
)

// Gap is the report that a subscription lost events: they matched, and it will
// not get them.
type Gap struct {
	// Count is how many events were lost; 0 when nobody knows. If they were lost
	// on the way to the node it is at most so many, as not all of them need have
	// been for this subscription.
	Count    uint64
	From, To time.Time // when
	// Cause is Reconnect, or what the node says: "overflow" (the subscriber, or
	// with an Origin a region, was too slow), "expired", "reset", "missed",
	// "origin_lost".
	Cause  string
	Origin string // the node where they had been published, if they were lost on the way
}

// Reconnect is the cause of the Gap that follows a lost connection.
const Reconnect = "reconnect"

// Delivery is what a channel gets: an event, or a gap in its place.
type Delivery struct {
	Event cloudevents.Event
	Gap   *Gap // not nil: there is no event
}

// Barrier says how far an interest must have spread before Subscribe returns.
type Barrier string

const (
	BarrierNone   Barrier = "none"   // it is known at the node
	BarrierRegion Barrier = "region" // and at all nodes of its region
	BarrierMesh   Barrier = "mesh"   // and in all regions (the default)
)

// SubscribeOption changes how a subscription works.
type SubscribeOption func(*Subscription)

// OnGap is called for each gap, in its place among the events and never at the
// same time as the handler. Default: gaps are logged.
func OnGap(f func(Gap)) SubscribeOption { return func(s *Subscription) { s.onGap = f } }

// WithBarrier sets how far the interest spreads before Subscribe returns.
func WithBarrier(b Barrier) SubscribeOption {
	return func(s *Subscription) { s.request.Barrier = string(b) }
}

// WithBarrierWait bounds the wait for the barrier; regions that did not
// confirm by then are Missing. 0 is the node's default, 2 s.
func WithBarrierWait(d time.Duration) SubscribeOption {
	return func(s *Subscription) { s.request.WaitMs = d.Milliseconds() }
}

// WithDisconnect ends the subscription, instead of telling it a gap, when the
// handler does not keep up and its queue at the node is full.
func WithDisconnect() SubscribeOption {
	return func(s *Subscription) { s.request.Slow = "disconnect" }
}

// WithQueue bounds the bytes queued at the node while the handler is slow.
// 0 is the node's default.
func WithQueue(bytes int) SubscribeOption {
	return func(s *Subscription) { s.request.QueueBytes = bytes }
}

// WithBuffer bounds the bytes that the client holds ahead of the handler.
// Default: DefaultBuffer.
func WithBuffer(bytes int) SubscribeOption {
	return func(s *Subscription) { s.buffer = max(bytes, 1) }
}

// Subscription is a live subscription. Any number of goroutines may use it.
type Subscription struct {
	client  *Client
	sid     uint64
	filter  Filter
	request wire.Request
	buffer  int
	onGap   func(Gap)
	deliver func(envelopes []byte) // all events of a chunk

	wake chan struct{} // there may be chunks
	done chan struct{} // closed with err

	mu      sync.Mutex    // guards the fields below
	answer  chan struct{} // closed by the first answer
	missing []string
	chunks  []chunk
	held    int // bytes of the chunks not yet handled
	owed    int // bytes handled, not yet given as credit
	err     error
}

// chunk is one events frame or one gap.
type chunk struct {
	events []byte // for wire.NextEvent
	frame  []byte // what events is a view of; its length is what credit counts
	gap    *Gap
}

// Subscribe asks for the events that filter wants and calls handler with each.
// It returns when the interest has spread as far as the barrier asks, or the
// barrier's time is over: see Missing. ctx bounds Subscribe only; the
// subscription lives until its Close, or the client's.
//
// Errors are the node's *RefusedError (a filter that does not parse, a node
// that is not ready, …), ErrClosed and ctx's.
func (c *Client) Subscribe(ctx context.Context, filter Filter, handler func(cloudevents.Event), options ...SubscribeOption) (*Subscription, error) {
	return c.SubscribeRaw(ctx, filter, func(ev event.Event) {
		own := ev.Clone() // the handler may keep it
		handler(FromEnvelope(&own))
	}, options...)
}

// SubscribeRaw is Subscribe without the SDK: handler gets events as the mesh
// carries them. An event, with all text and data that it gives, is valid during
// the call: who keeps it keeps its Clone.
func (c *Client) SubscribeRaw(ctx context.Context, filter Filter, handler func(event.Event), options ...SubscribeOption) (*Subscription, error) {
	s := &Subscription{
		client: c, filter: filter, buffer: DefaultBuffer,
		wake: make(chan struct{}, 1), done: make(chan struct{}), answer: make(chan struct{}),
	}
	s.request = wire.Request{Namespace: c.set.namespace, Filter: []byte(filter.String()), Label: c.set.agent}
	s.onGap = func(g Gap) {
		c.log.Warn("a subscription lost events", "subscription", filter, "count", g.Count, "cause", g.Cause)
	}
	for _, option := range options {
		option(s)
	}
	s.deliver = func(envelopes []byte) {
		var ev event.Event
		for len(envelopes) > 0 && !s.closed() {
			envelope, rest, err := wire.NextEvent(envelopes)
			if err == nil {
				err = ev.Scan(envelope)
			}
			if err != nil {
				c.log.Error("the node sent what is no event", "err", err)
				return
			}
			handler(ev)
			envelopes = rest
		}
	}
	if err := c.start(ctx, s); err != nil {
		return nil, err
	}
	select {
	case <-s.answer:
		return s, nil
	case <-s.done:
		return nil, s.Err()
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), s.Close())
	}
}

// SubscribeChan is Subscribe that sends events and gaps to a channel. The
// channel is not closed; see Done.
func (c *Client) SubscribeChan(ctx context.Context, filter Filter, to chan<- Delivery, options ...SubscribeOption) (*Subscription, error) {
	var stopped <-chan struct{}
	send := func(d Delivery) {
		select {
		case to <- d:
		case <-stopped:
		}
	}
	options = append(options, OnGap(func(g Gap) { send(Delivery{Gap: &g}) }), func(s *Subscription) { stopped = s.done })
	return c.Subscribe(ctx, filter, func(e cloudevents.Event) { send(Delivery{Event: e}) }, options...)
}

// start registers a subscription and sends its request.
func (c *Client) start(ctx context.Context, s *Subscription) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.conn == nil && c.err == nil {
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
	if c.err != nil {
		return c.err
	}
	c.lastSID++
	s.sid = c.lastSID
	c.subs[s.sid] = s
	c.subscribe(s.sid, s, s.buffer)
	c.wg.Go(s.run)
	return nil
}

// Missing names the regions that had not confirmed the interest when the
// subscription was made, or made anew: events published there may be missed
// until they have.
func (s *Subscription) Missing() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missing
}

// Done is closed when the subscription has ended; Err says why.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err is nil while the subscription lives, and ErrClosed after its Close.
func (s *Subscription) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the subscription. The handler is not called any more, but a call
// that has begun may still run. A handler may call it.
func (s *Subscription) Close() error {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs[s.sid] != s {
		return nil
	}
	delete(c.subs, s.sid)
	s.end(ErrClosed)
	if c.conn != nil {
		c.send(c.conn, func(dst []byte) []byte { return wire.AppendUnsubscribe(dst, s.sid) })
	}
	return nil
}

// String is the subscription's filter.
func (s *Subscription) String() string { return fmt.Sprintf("subscription %d: %s", s.sid, s.filter) }

// run calls the handler until the subscription ends.
func (s *Subscription) run() {
	for {
		select {
		case <-s.wake:
		case <-s.done:
			return
		}
		for {
			next, ok := s.next()
			if !ok {
				break
			}
			if next.gap != nil {
				s.onGap(*next.gap)
			} else {
				s.deliver(next.events)
			}
			s.handled(len(next.frame))
			s.client.reuse(next.frame)
		}
	}
}

// next takes the oldest chunk.
func (s *Subscription) next() (chunk, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.chunks) == 0 || s.err != nil {
		return chunk{}, false
	}
	c := s.chunks[0]
	s.chunks = dropFirst(s.chunks, 1)
	return c, true
}

// put adds a chunk. It does not block: credit bounds what comes.
func (s *Subscription) put(c chunk) {
	s.mu.Lock()
	s.chunks = append(s.chunks, c)
	s.held += len(c.frame)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// handled gives the node credit for what the handler has taken, a quarter of
// the buffer at a time.
func (s *Subscription) handled(size int) {
	s.mu.Lock()
	s.held -= size
	s.owed += size
	credit := 0
	if s.owed >= max(s.buffer/4, 1) {
		credit, s.owed = s.owed, 0
	}
	s.mu.Unlock()
	if credit == 0 {
		return
	}
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.subs[s.sid] == s {
		c.send(c.conn, func(dst []byte) []byte { return wire.AppendCredit(dst, s.sid, credit) })
	}
}

// subscribed handles the node's consent.
func (s *Subscription) subscribed(missing []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missing = missing
	select {
	case <-s.answer:
	default:
		close(s.answer)
	}
}

// established reports whether the node ever consented.
func (s *Subscription) established() bool {
	select {
	case <-s.answer:
		return true
	default:
		return false
	}
}

// restart prepares the subscription for a new connection: the credit to give,
// and whether events may have been missed, of which a gap tells.
func (s *Subscription) restart(since time.Time) (credit int, missed bool) {
	missed = s.established()
	if missed {
		s.put(chunk{gap: &Gap{From: since, To: time.Now(), Cause: Reconnect}})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owed = 0
	return max(s.buffer-s.held, 0), missed
}

// end ends the subscription. The client's lock is held.
func (s *Subscription) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		s.chunks = nil
		close(s.done)
	}
}

func (s *Subscription) closed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}
