package transport

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

const (
	// maxBulk bounds the connections to a peer for bulk calls, each for one at a time.
	maxBulk = 8
	// bulkIdle is how long such a connection is used again; idle for longer it ends by
	// itself, at either side.
	bulkIdle = 5 * time.Second
)

// bulk is the connections for bulk calls to one peer.
type bulk struct {
	slots chan struct{} // holds a token for each call

	mu   sync.Mutex // guards the field below
	idle []idleConn // the one used last comes last
}

type idleConn struct {
	conn  *quic.Conn
	since time.Time
}

// CallBulk is Call for answers that may be large. It takes a connection apart from the
// link's, so that they hold up neither heartbeats nor events, and one that no other
// such call uses, so that many at a time are not held up by what one has lost. More than
// eight to a peer wait for each other.
func (e *Endpoint) CallBulk(ctx context.Context, to peer.ID, kind wire.Kind, body []byte) ([]byte, error) {
	s, err := e.session(to)
	if err != nil {
		return nil, err
	}
	select {
	case s.bulk.slots <- struct{}{}:
		defer func() { <-s.bulk.slots }()
	case <-s.done:
		return nil, ErrLinkDown
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	conn, err := s.bulkConn(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		e.log.Debug("no connection for a bulk call", "peer", to, "cause", err)
		return e.call(ctx, s.control, to, kind, body)
	}
	reply, err := e.call(ctx, conn, to, kind, body)
	var said *CallError
	if err != nil && !errors.As(err, &said) {
		e.shut(conn, codeDone, "")
		return nil, err
	}
	s.bulk.put(conn)
	return reply, err
}

// bulkConn is a connection to the peer that no call uses.
func (s *session) bulkConn(ctx context.Context) (*quic.Conn, error) {
	if conn := s.bulk.take(); conn != nil {
		return conn, nil
	}
	e := s.link.e
	d, err := e.greet(ctx, addrPort(s.control.RemoteAddr()), e.hello(roleVisit, ""), quietConfig, nil)
	if err != nil {
		return nil, err
	}
	e.closeStream(d.stream)
	if d.theirs.Peer.ID != s.peer.ID {
		e.shut(d.conn, codeDone, "another node was meant")
		return nil, ErrUnreachable
	}
	e.wg.Go(func() {
		select {
		case <-d.conn.Context().Done():
		case <-s.done:
		case <-e.ctx.Done():
		}
		e.shut(d.conn, codeDone, "")
	})
	return d.conn, nil
}

// take is an idle connection, or nil.
func (b *bulk) take() *quic.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n := len(b.idle); n > 0; n = len(b.idle) {
		c := b.idle[n-1]
		if b.idle = b.idle[:n-1]; c.conn.Context().Err() == nil && time.Since(c.since) < bulkIdle {
			return c.conn
		}
	}
	return nil
}

func (b *bulk) put(conn *quic.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle = append(b.idle, idleConn{conn, time.Now()})
}
