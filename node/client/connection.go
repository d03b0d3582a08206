package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/wire"
)

const (
	dialTimeout = 10 * time.Second // for one address, greetings included
	byeTimeout  = time.Second      // to write what is left when the client closes
	readAhead   = 128 << 10        // bytes
	// maxIncoming bounds a frame from the node: the largest event any node takes.
	maxIncoming = event.MaxEnvelope + wire.MaxControl
)

// connection is one connection to a node, from the greetings to its end.
type connection struct {
	socket net.Conn
	reader *wire.Reader
	out    *wire.Outbox
	node   wire.Greeting
}

// patient is a socket whose reads end when the other side was silent too long.
type patient struct{ net.Conn }

// Read reads what has come.
func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(wire.DeadAfter)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// serve reads from the connection until it ends, and returns why. Nothing of
// it runs any more then.
func (c *Client) serve(k *connection) error {
	ctx, end := context.WithCancelCause(c.ctx)
	written := make(chan struct{})
	c.wg.Go(func() {
		defer close(written)
		end(c.write(ctx, k))
		k.socket.Close() // ends the reader
	})
	err := c.read(k)
	end(err)
	<-written
	return context.Cause(ctx)
}

// write writes what is in the outbox, and says so when there is nothing.
func (c *Client) write(ctx context.Context, k *connection) error {
	clock := time.NewTicker(wire.AliveEvery)
	defer clock.Stop()
	idle := false
	for {
		select {
		case <-k.out.Ready():
			idle = false
		case <-clock.C:
			if idle {
				c.mu.Lock()
				c.send(k, wire.AppendAlive)
				c.mu.Unlock()
			}
			idle = true
			continue
		case <-ctx.Done():
			if c.ctx.Err() != nil { // the client closes: what it was given goes out first
				k.socket.SetWriteDeadline(time.Now().Add(byeTimeout))
				_, err := k.socket.Write(wire.AppendBye(c.take(k), &wire.Refusal{Code: wire.CodeDone}))
				return errors.Join(ErrClosed, err)
			}
			return context.Cause(ctx)
		}
		if _, err := k.socket.Write(c.take(k)); err != nil {
			return fmt.Errorf("client: write to the node: %w", err)
		}
	}
}

// send puts a frame that is no publish into the outbox. No event may join the
// batch before it any more: that frame is not the outbox's last. The lock is
// held.
func (c *Client) send(k *connection, f func(dst []byte) []byte) {
	c.window.open = nil
	k.out.AppendNow(f)
}

// take empties the outbox.
func (c *Client) take(k *connection) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drain(k)
}

// drain is take with the lock held. Batches whose bytes leave grow no more, and
// are copied if they may have to be sent again.
func (c *Client) drain(k *connection) []byte {
	buf := k.out.Take()
	turn := c.window.turn
	c.window.open, c.window.turn = nil, turn[:0]
	if c.set.atLeastOnce {
		for _, b := range turn {
			b.frame = bytes.Clone(buf[b.start:b.end])
		}
	}
	clear(turn)
	return buf
}

// read handles the node's frames until there are no more.
func (c *Client) read(k *connection) error {
	for {
		kind, body, err := k.reader.NextOwned(c.frame())
		if err == io.EOF {
			return errors.New("client: the node closed the connection")
		}
		if err != nil {
			return fmt.Errorf("client: read from the node: %w", err)
		}
		if err := c.handle(k, kind, body); err != nil {
			return err
		}
	}
}

// Bounds of the memory that is kept for frames: 64 of up to 128 KiB.
const (
	maxFrames    = 64
	maxFrameKept = 128 << 10
)

// frame is memory for a frame, empty; nil where none is at hand.
func (c *Client) frame() []byte {
	select {
	case b := <-c.frames:
		return b
	default:
		return nil
	}
}

// reuse takes back the memory of a frame that nobody needs any more.
func (c *Client) reuse(b []byte) {
	if cap(b) == 0 || cap(b) > maxFrameKept {
		return
	}
	select {
	case c.frames <- b[:0]:
	default:
	}
}

// handle acts on one frame, whose body is the callee's.
func (c *Client) handle(k *connection, kind wire.Kind, body []byte) error {
	switch kind {
	case wire.Ack:
		last, err := wire.ReadNumber(body)
		if err != nil {
			return err
		}
		c.acked(last)
	case wire.Nack:
		first, count, why, err := wire.ReadNack(body)
		if err != nil {
			return err
		}
		c.nacked(first, count, refused(why))
	case wire.Events:
		sid, events, err := wire.ReadEvents(body)
		if err != nil {
			return err
		}
		if s := c.subscription(sid); s != nil {
			s.put(chunk{events: events, frame: body})
		}
		return nil
	case wire.Gap:
		sid, loss, err := wire.ReadGap(body)
		if err != nil {
			return err
		}
		if s := c.subscription(sid); s != nil {
			s.put(chunk{gap: &Gap{Count: loss.Count, From: loss.From, To: loss.To, Cause: loss.Cause, Origin: loss.Origin}})
		}
	case wire.Subscribed:
		sid, missing, err := wire.ReadSubscribed(body)
		if err != nil {
			return err
		}
		if s := c.subscription(sid); s != nil {
			s.subscribed(missing)
		}
	case wire.Kept:
		list, err := wire.ReadKept(body)
		if err != nil {
			return err
		}
		c.kept(list)
	case wire.Held:
		list, err := wire.ReadHeld(body)
		if err != nil {
			return err
		}
		c.kept(list)
	case wire.Reading:
		sid, cursor, end, err := wire.ReadReading(body)
		if err != nil {
			return err
		}
		if r := c.reader(sid); r != nil {
			r.reading(cursor, end)
		}
	case wire.Records:
		sid, err := wire.ReadNumber(body)
		if err != nil {
			return err
		}
		if r := c.reader(sid); r != nil {
			r.put(frame{body: body})
		}
		return nil
	case wire.Trimmed:
		sid, region, partition, first, err := wire.ReadTrimmed(body)
		if err != nil {
			return err
		}
		if r := c.reader(sid); r != nil {
			return c.ended(sid, &TrimmedError{Stream: r.ask.Name, Region: region, Partition: partition, First: first})
		}
	case wire.Missing:
		sid, regions, err := wire.ReadMissing(body)
		if err != nil {
			return err
		}
		if r := c.reader(sid); r != nil {
			r.tell(regions)
		}
	case wire.Passed:
		sid, cursor, err := wire.ReadPassed(body)
		if err != nil {
			return err
		}
		if r := c.reader(sid); r != nil {
			r.pass(cursor)
		}
	case wire.Ended:
		sid, why, err := wire.ReadEnded(body)
		if err != nil {
			return err
		}
		return c.ended(sid, refused(why))
	case wire.Alive:
	case wire.Bye:
		why, err := wire.ReadBye(body)
		if err != nil {
			return err
		}
		return refused(why)
	default:
		return fmt.Errorf("client: a frame of unknown kind %#x from the node", kind)
	}
	c.reuse(body)
	return nil
}
