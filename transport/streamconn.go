package transport

import (
	"errors"
	"net"
	"sync"
	"time"

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

// Write implements net.Conn. One that Close interrupts fails.
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
	closed, last := s.closed, s.writing == 0
	s.mu.Unlock()
	if !closed {
		return n, err
	}
	if err != nil {
		err = net.ErrClosed
	}
	if last && err == nil {
		s.Stream.Close()
	} else if last {
		s.CancelWrite(0)
	}
	return n, err
}

// Close ends both directions: a stream that is closed one way only keeps its place for
// ever. What was written is still sent. A Write under way ends, and if it fails the
// peer learns that something is missing.
//
// Neither end of a stream's sending may be called during a Write: after a Close that
// waits for ever, which not even the end of the connection ends, and after a CancelWrite
// it may leave a frame that keeps the stream's place. So it is told that it is late, and
// ends the stream itself.
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
		err = s.Stream.SetWriteDeadline(time.Unix(1, 0))
	} else {
		err = s.Stream.Close()
	}
	if s.shut != nil {
		s.shut()
	}
	return err
}

// SetDeadline implements net.Conn.
func (s *streamConn) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetWriteDeadline implements net.Conn. It cannot take back what Close has set.
func (s *streamConn) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return s.Stream.SetWriteDeadline(t)
}
