package transport

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

const (
	// maxBulk bounds the connections to a peer for bulk calls, each for one at a time.
	maxBulk = 16
	// bulkIdle is how long such a connection is kept that no call uses.
	bulkIdle = 5 * time.Second
)

// bulk is the connections for bulk calls to one peer.
type bulk struct {
	mu   sync.Mutex // guards the fields below
	used int        // places: calls that have a connection, or get one
	idle []idleConn // the one used last comes last
}

type idleConn struct {
	conn  *quic.Conn
	since time.Time
}

// CallBulk is Call for answers that may be large. It takes a connection apart from the
// link's, so that they hold up neither heartbeats nor events, and one that no other
// such call uses, so that many at a time are not held up by what one has lost. One more
// than sixteen to a peer at a time is ErrBusy: nobody waits for who may wait for him.
func (e *Endpoint) CallBulk(ctx context.Context, to peer.ID, kind wire.Kind, body []byte) ([]byte, error) {
	s, err := e.session(to)
	if err != nil {
		return nil, err
	}
	conn, free := s.bulk.take()
	if !free {
		return nil, fmt.Errorf("transport: bulk call %#x to %s: %w", kind, to.Short(), ErrBusy)
	}
	defer s.bulk.leave()
	if conn == nil {
		if conn, err = s.dialBulk(ctx); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			e.log.Debug("no connection for a bulk call", "peer", to, "cause", err)
			return e.call(ctx, s.control, to, kind, body)
		}
	}
	defer s.bulk.put(conn)
	return e.call(ctx, conn, to, kind, body)
}

// dialBulk makes a connection to the peer for bulk calls, which ends when none has used it
// for a while, or with the session.
func (s *session) dialBulk(ctx context.Context) (*quic.Conn, error) {
	e := s.link.e
	d, err := e.greet(ctx, addrPort(s.control.RemoteAddr()), e.hello(roleVisit, ""), linkConfig, nil)
	if err != nil {
		return nil, err
	}
	e.closeStream(d.stream)
	if d.theirs.Peer.ID != s.peer.ID {
		e.shut(d.conn, codeDone, "another node was meant")
		return nil, ErrUnreachable
	}
	e.wg.Go(func() {
		defer e.shut(d.conn, codeDone, "")
		idle := time.NewTicker(bulkIdle)
		defer idle.Stop()
		for {
			select {
			case <-d.conn.Context().Done():
				s.bulk.drop(d.conn, 0)
				return
			case <-s.done:
				return
			case <-e.ctx.Done():
				return
			case <-idle.C:
				if s.bulk.drop(d.conn, bulkIdle) {
					return
				}
			}
		}
	})
	return d.conn, nil
}

// take takes a place, if one is free, and an idle connection for it, if there is one.
func (b *bulk) take() (conn *quic.Conn, free bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used == maxBulk {
		return nil, false
	}
	b.used++
	for n := len(b.idle); n > 0; n = len(b.idle) {
		conn = b.idle[n-1].conn
		if b.idle = b.idle[:n-1]; conn.Context().Err() == nil {
			return conn, true
		}
	}
	return nil, true
}

func (b *bulk) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used--
}

// put gives a connection back, unless it has ended.
func (b *bulk) put(conn *quic.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if conn.Context().Err() == nil {
		b.idle = append(b.idle, idleConn{conn, time.Now()})
	}
}

// drop forgets a connection that has been idle for a time, and reports whether it has.
func (b *bulk) drop(conn *quic.Conn, idle time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.idle)
	b.idle = slices.DeleteFunc(b.idle, func(c idleConn) bool { return c.conn == conn && time.Since(c.since) >= idle })
	return len(b.idle) < n
}
