package transport

import (
	"net"
	"sync"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/peer"
)

// PeerConn is a stream to a node of the mesh.
type PeerConn interface {
	net.Conn
	Peer() peer.ID // who is at the other end
}

var _ PeerConn = (*streamConn)(nil)

// streamConn is a QUIC stream as a net.Conn.
type streamConn struct {
	*quic.Stream
	conn *quic.Conn
	peer peer.ID // empty for a native client
	shut func()  // what else ends with the stream, or nil

	mu      sync.Mutex // guards the fields below
	writing int        // calls of Write
	closed  bool
}

func (s *streamConn) Peer() peer.ID        { return s.peer }
func (s *streamConn) LocalAddr() net.Addr  { return s.conn.LocalAddr() }
func (s *streamConn) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Write implements net.Conn.
func (s *streamConn) Write(b []byte) (int, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return 0, net.ErrClosed
	}
	s.writing++
	s.mu.Unlock()
	n, err := s.Stream.Write(b)
	s.mu.Lock()
	s.writing--
	s.mu.Unlock()
	return n, err
}

// Close ends both directions: a stream that is closed one way only keeps its place for
// ever. What was written is still sent. A Write under way fails, and the peer learns
// that something is missing.
//
// A stream's own Close must not be called during a Write: that would wait for ever,
// not even the end of the connection would end it.
func (s *streamConn) Close() (err error) {
	s.mu.Lock()
	again, interrupts := s.closed, s.writing > 0
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.CancelRead(0)
	if interrupts {
		s.CancelWrite(0)
	} else {
		err = s.Stream.Close()
	}
	if s.shut != nil {
		s.shut()
	}
	return err
}
