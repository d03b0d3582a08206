package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/wire"
)

const (
	greetWithin = 10 * time.Second // for the client's greeting
	byeWithin   = time.Second      // to write what is left when a session ends
	readAhead   = 128 << 10        // bytes
	outboxLimit = 256 << 10        // bytes
	lingerMost  = 8 << 20          // bytes
)

// errDone ends a session whose client hung up.
var errDone = errors.New("session: the client hung up")

// session is one client's connection.
type session struct {
	server *Server
	conn   net.Conn
	out    *wire.Outbox
	reader *wire.Reader
	agent  string // who the client says it is

	overflow   node.Overflow // of what it publishes
	durability node.Durability
	positions  bool // it wants to know where that is kept
	held       bool // and where it is that is not kept yet
	late       late // what is published when that before it is kept

	ctx context.Context // ends with the session, for the cause
	end context.CancelCauseFunc
	wg  sync.WaitGroup

	// The reader's own.
	next   uint64        // number of the next published event; 0: any
	events []event.Event // of the frame at hand

	mu   sync.Mutex // guards the field below
	subs map[uint64]*subscriber
}

// newSession makes the session of a connection, for serve.
func newSession(s *Server, conn net.Conn) *session {
	x := &session{server: s, conn: conn, out: wire.NewOutbox(outboxLimit), subs: make(map[uint64]*subscriber)}
	x.late.room = make(chan struct{}, 1)
	x.ctx, x.end = context.WithCancelCause(s.ctx)
	return x
}

// patient is a connection whose reads end when the other side was silent too
// long, or when ctx has ended.
type patient struct {
	net.Conn
	ctx context.Context
}

// Read reads what has come.
func (p *patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(wire.DeadAfter)); err != nil {
		return 0, err
	}
	if p.ctx.Err() != nil { // after the deadline: the end of ctx may have set another before
		return 0, context.Cause(p.ctx)
	}
	return p.Conn.Read(b)
}

// serve runs the session until it ends, and returns why. Nothing of it runs
// any more then.
func (x *session) serve(src io.Reader) error {
	defer x.end(nil)
	hurried := make(chan struct{})
	context.AfterFunc(x.ctx, func() {
		defer close(hurried)
		x.conn.SetReadDeadline(time.Unix(1, 0))
		x.conn.SetWriteDeadline(time.Now().Add(byeWithin)) // also ends what waits for room in the outbox
	})
	x.conn.SetDeadline(time.Now().Add(greetWithin))
	x.reader = wire.NewReader(src, readAhead)
	x.reader.Limit = wire.MaxControl
	err := x.greet()
	if err == nil {
		x.conn.SetDeadline(time.Time{})
		x.reader.Limit = x.server.cfg.MaxEvent + wire.MaxControl
		x.flush()
		x.wg.Go(x.beat)
		err = x.read()
	}
	if x.ctx.Err() != nil && !errors.Is(err, errDone) {
		err = context.Cause(x.ctx)
	}
	if why := farewell(err); why != nil {
		x.out.AppendNow(func(dst []byte) []byte { return wire.AppendBye(dst, why) })
	}
	x.conn.SetWriteDeadline(time.Now().Add(byeWithin))
	x.out.Close()
	x.end(err)
	x.wg.Wait()
	x.flush()
	<-hurried // its deadline must not end what follows
	if !errors.Is(err, errDone) {
		x.linger()
	}
	return err
}

// linger waits, a bounded time, until the client has hung up: closing a socket
// with unread bytes in it can take the bye away from the client.
func (x *session) linger() {
	half, ok := x.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	x.conn.SetReadDeadline(time.Now().Add(byeWithin))
	io.Copy(io.Discard, io.LimitReader(x.conn, lingerMost)) // how it ends does not matter
}

// greet hears who the client is and answers.
func (x *session) greet() error {
	kind, body, err := x.reader.Next()
	if err != nil {
		return fmt.Errorf("session: greeting: %w", err)
	}
	if kind != wire.Greet {
		return &wire.Refusal{Code: wire.CodeProtocol, Reason: fmt.Sprintf("a frame of kind %#x instead of a greeting", kind)}
	}
	g, err := wire.ReadGreeting(body)
	if err != nil {
		return err
	}
	if g.Version != wire.ClientVersion {
		return &wire.Refusal{Code: wire.CodeVersion,
			Reason: fmt.Sprintf("this node speaks version %d of the client protocol, the client %d", wire.ClientVersion, g.Version)}
	}
	x.agent = g.Agent[:min(len(g.Agent), maxAgent)]
	if x.overflow, err = node.ParseOverflow(g.Overflow); err != nil {
		return &wire.Refusal{Code: wire.CodeRequest, Reason: err.Error()}
	}
	if x.durability, err = node.ParseDurability(g.Durability); err != nil {
		return &wire.Refusal{Code: wire.CodeRequest, Reason: err.Error()}
	}
	x.positions, x.held = g.Positions, g.Held
	self := &x.server.cfg.Self
	x.out.AppendNow(func(dst []byte) []byte {
		return wire.AppendGreeting(dst, wire.Greeting{
			Version: wire.ClientVersion, Agent: "skein", MaxEvent: x.server.cfg.MaxEvent,
			Node: string(self.ID), Name: self.Name, Region: self.Region, Streams: x.server.keeper != nil, Reads: true,
		})
	})
	return nil
}

const maxAgent = 120 // bytes of a client's name that are kept

// read handles the client's frames until there are no more.
func (x *session) read() error {
	for {
		kind, body, err := x.reader.Next()
		if err == io.EOF {
			return errDone
		}
		if err != nil {
			return fmt.Errorf("session: read: %w", err)
		}
		if err := x.handle(kind, body); err != nil {
			return err
		}
	}
}

// handle acts on one frame, whose body is valid until it returns.
func (x *session) handle(kind wire.Kind, body []byte) error {
	if kind == wire.Publish {
		return x.publish(body)
	}
	if len(body) > wire.MaxControl {
		return fmt.Errorf("%w: %d bytes of kind %#x, at most %d are allowed", wire.ErrTooLarge, len(body), kind, wire.MaxControl)
	}
	switch kind {
	case wire.Subscribe:
		return x.subscribe(body)
	case wire.ReadFrom:
		return x.readStream(body)
	case wire.Unsubscribe:
		sid, err := wire.ReadNumber(body)
		if err != nil {
			return err
		}
		if sub := x.subscriber(sid); sub != nil {
			sub.end(errUnsubscribed)
		}
	case wire.Credit:
		sid, bytes, err := wire.ReadCredit(body)
		if err != nil {
			return err
		}
		if sub := x.subscriber(sid); sub != nil {
			sub.grant(bytes)
		}
	case wire.Alive:
	case wire.Bye:
		return errDone
	default:
		return &wire.Refusal{Code: wire.CodeProtocol, Reason: fmt.Sprintf("a frame of unknown kind %#x", kind)}
	}
	return nil
}

// send puts frames into the outbox, once there is room, and on their way: a
// client that does not read is not read from.
func (x *session) send(f func(dst []byte) []byte) {
	x.out.Append(f)
	x.flush()
}

// flush writes the outbox, or leaves it to who is writing.
func (x *session) flush() {
	if err := x.out.Flush(x.conn); err != nil {
		x.out.Close()
		x.end(fmt.Errorf("session: write: %w", err))
	}
}

// beat says that the session lives, until it ends.
func (x *session) beat() {
	clock := time.NewTicker(wire.AliveEvery)
	defer clock.Stop()
	for {
		select {
		case <-clock.C:
			x.out.AppendNow(wire.AppendAlive)
			x.flush()
		case <-x.ctx.Done():
			return
		}
	}
}

// farewell is what the client is told about the end; nil when it need not be.
func farewell(err error) *wire.Refusal {
	var why *wire.Refusal
	switch {
	case errors.Is(err, errDone):
		return nil
	case errors.As(err, &why):
		return why
	case errors.Is(err, wire.ErrTooLarge):
		return &wire.Refusal{Code: wire.CodeTooLarge, Reason: err.Error()}
	case errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrTruncated):
		return &wire.Refusal{Code: wire.CodeProtocol, Reason: err.Error()}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &wire.Refusal{Code: wire.CodeIdle, Reason: "nothing was heard from the client for too long"}
	case errors.Is(err, context.Canceled):
		return &wire.Refusal{Code: wire.CodeClosing, Reason: "the node is closing"}
	}
	return &wire.Refusal{Code: wire.CodeInternal, Reason: "the session ended"}
}

// refusal is why the broker refused something, for the client.
func refusal(err error) *wire.Refusal {
	var invalid *event.InvalidError
	code := wire.CodeInternal
	switch {
	case errors.Is(err, node.ErrNotReady):
		code = wire.CodeNotReady
	case errors.Is(err, node.ErrOverloaded):
		code = wire.CodeBusy
	case errors.Is(err, node.ErrSlow):
		code = wire.CodeSlow
	case errors.Is(err, node.ErrNamespace):
		code = wire.CodeNamespace
	case errors.Is(err, node.ErrClosed), errors.Is(err, context.Canceled):
		code = wire.CodeClosing
	case errors.Is(err, event.ErrTooLarge):
		code = wire.CodeTooLarge
	case errors.Is(err, node.ErrUnknown):
		code = wire.CodeUnknown
	case errors.Is(err, node.ErrNotKept):
		code = wire.CodeNotKept
	case errors.Is(err, node.ErrNoStream):
		code = wire.CodeNoStream
	case errors.Is(err, node.ErrPosition):
		code = wire.CodePosition
	case errors.Is(err, node.ErrInvalid):
		code = wire.CodeRequest
	case errors.Is(err, node.ErrNoLeader), errors.Is(err, node.ErrUnreachable):
		code = wire.CodeNotReady
	case errors.As(err, &invalid), errors.Is(err, event.ErrMalformed):
		code = wire.CodeInvalid
	}
	return &wire.Refusal{Code: code, Reason: err.Error()}
}
