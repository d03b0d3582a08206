package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/wire"
)

// Client is a program's connection to the mesh, through one node at a time.
// Any number of goroutines may use it.
type Client struct {
	set      settings
	addrs    []*url.URL
	log      *slog.Logger
	encoders sync.Pool   // *encoder
	frames   chan []byte // memory for events frames, to be used again

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex    // guards the fields below
	conn    *connection   // nil while there is none
	node    wire.Greeting // of the newest connection
	err     error         // why there will never be one again
	changed chan struct{} // closed when conn, err or room in the window changes; nil when nobody waits
	window  window
	subs    map[uint64]*Subscription
	readers map[uint64]*Reader
	lastSID uint64
}

// Node is what a node told of itself when the client connected.
type Node struct {
	ID       string
	Name     string
	Region   string
	MaxEvent int // bytes of an envelope
}

// Dial connects to a node. Addresses are http://host:port, https://host:port,
// host:port (plain HTTP), unix:///path and quic://host:port (the mesh port;
// needs WithKeyFile); several, split at commas, are tried in turn. ctx bounds
// connecting only. Close must be called.
func Dial(ctx context.Context, addr string, options ...Option) (*Client, error) {
	addrs, err := parseAddresses(addr)
	if err != nil {
		return nil, err
	}
	c := &Client{
		addrs:   addrs,
		subs:    make(map[uint64]*Subscription),
		readers: make(map[uint64]*Reader),
		frames:  make(chan []byte, maxFrames),
		set: settings{
			agent:  fmt.Sprintf("%s[%d]", filepath.Base(os.Args[0]), os.Getpid()),
			events: DefaultWindowEvents, bytes: DefaultWindowBytes,
			maxPause: DefaultMaxPause, log: slog.Default(),
		},
	}
	for _, option := range options {
		if err := option(&c.set); err != nil {
			return nil, err
		}
	}
	c.log = c.set.log
	c.encoders.New = func() any { return new(encoder) }
	c.ctx, c.cancel = context.WithCancel(context.Background())
	k, err := c.dialAny(ctx)
	if err != nil {
		c.cancel()
		return nil, err
	}
	c.conn, c.node = k, k.node
	c.wg.Go(func() { c.run(k) })
	return c, nil
}

// Close ends the subscriptions, sends what was published but does not wait for
// acknowledgements (see Flush), and ends the connection. No handler runs any
// more when it returns; so a handler must not call it.
func (c *Client) Close() error {
	c.cancel()
	c.wg.Wait()
	return nil
}

// Node is the node that the client is connected to, or was last.
func (c *Client) Node() Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Node{ID: c.node.Node, Name: c.node.Name, Region: c.node.Region, MaxEvent: c.maxEvent()}
}

// maxEvent is the largest envelope that the node takes. The lock is held.
func (c *Client) maxEvent() int {
	if n := c.node.MaxEvent; n > 0 {
		return n
	}
	return event.DefaultMaxEvent
}

// wait waits until something changed. The lock is held before and after.
func (c *Client) wait(ctx context.Context) error {
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	changed := c.changed
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// notify wakes all who wait. The lock is held.
func (c *Client) notify() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// dialAny tries each address once.
func (c *Client) dialAny(ctx context.Context) (*connection, error) {
	var errs []error
	for _, u := range c.addrs {
		k, err := c.dial(ctx, u)
		if err == nil {
			return k, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// run keeps the client connected until it is closed, or may not be again.
func (c *Client) run(k *connection) {
	for {
		err := c.serve(k)
		again := c.lost(k, err)
		if !again {
			return
		}
		c.log.Warn("connection to the node lost, connecting again", "node", k.node.Name, "err", err)
		since := time.Now()
		if k, err = c.redial(); err != nil {
			c.finally(err)
			return
		}
		c.log.Info("connected again", "node", k.node.Name, "after", time.Since(since).Round(time.Millisecond))
		c.restore(k, since)
	}
}

// lost takes a broken connection away, and says whether there shall be another.
func (c *Client) lost(k *connection, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drain(k) // batches that never left may have to be sent again, too
	c.conn = nil
	if !c.set.atLeastOnce {
		c.abandon(fmt.Errorf("%w: %w", ErrUnknownOutcome, err))
	}
	if c.ctx.Err() == nil && c.set.maxPause > 0 && !final(err) {
		c.notify()
		return true
	}
	if c.ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrClosed, err)
	} else {
		err = ErrClosed
	}
	c.end(err)
	return false
}

// finally ends the client for good.
func (c *Client) finally(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		err = ErrClosed
	} else {
		err = fmt.Errorf("%w: %w", ErrClosed, err)
	}
	c.end(err)
}

// end ends everything. The lock is held.
func (c *Client) end(err error) {
	c.err = err
	c.abandon(fmt.Errorf("%w: %w", ErrUnknownOutcome, err))
	for sid, s := range c.subs {
		delete(c.subs, sid)
		s.end(err)
	}
	for sid, r := range c.readers {
		delete(c.readers, sid)
		r.end(err)
	}
	c.notify()
}

// redial tries until there is a connection, with growing pauses.
func (c *Client) redial() (*connection, error) {
	for pause := min(50*time.Millisecond, c.set.maxPause); ; pause = min(2*pause, c.set.maxPause) {
		select {
		case <-time.After(pause/2 + rand.N(pause)/2): // jitter: many clients lose one node at once
		case <-c.ctx.Done():
			return nil, ErrClosed
		}
		k, err := c.dialAny(c.ctx)
		if err == nil || final(err) {
			return k, err
		}
		c.log.Debug("cannot connect yet", "err", err)
	}
}

// restore puts on a new connection what was on the old one: subscriptions, and
// the batches that may be sent again.
func (c *Client) restore(k *connection, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.node = k, k.node
	for sid, s := range c.subs {
		credit, again := s.restart(since)
		if again {
			c.log.Warn("events may have been missed while there was no connection", "subscription", s.filter)
		}
		c.subscribe(sid, s, credit)
	}
	for sid, r := range c.readers {
		if !k.node.Streams {
			delete(c.readers, sid)
			r.end(errNoStreams)
			continue
		}
		c.sendRead(r)
	}
	for _, b := range c.window.flight {
		c.send(k, func(dst []byte) []byte { return append(dst, b.frame...) })
	}
	c.notify()
}

// subscribe sends a subscription's request. The lock is held.
func (c *Client) subscribe(sid uint64, s *Subscription, credit int) {
	req := s.request
	req.Credit = credit
	c.send(c.conn, func(dst []byte) []byte { return wire.AppendSubscribe(dst, sid, &req) })
}

// subscription is the one with that id; nil when it has ended.
func (c *Client) subscription(sid uint64) *Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subs[sid]
}

// ended handles the node's end of a subscription. What only now cannot be had
// is tried again on another connection, when the subscription existed before.
func (c *Client) ended(sid uint64, why error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, err := c.endReader(sid, why); known {
		return err
	}
	s := c.subs[sid]
	if s == nil {
		return nil
	}
	if s.established() && errors.Is(why, ErrNotReady) && c.set.maxPause > 0 {
		return fmt.Errorf("client: subscription %s: %w", s.filter, why)
	}
	delete(c.subs, sid)
	s.end(why)
	return nil
}
