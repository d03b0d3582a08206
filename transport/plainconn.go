package transport

import (
	"net"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/skeinmesh/skein/transport/repair"
)

// plainConn is a socket for quic-go that reads and writes packets one by one.
type plainConn struct {
	net.PacketConn
	mender *mender
	one    []ipv4.Message // for ReadFrom, which one goroutine calls
}

func newPlainConn(conn net.PacketConn) *plainConn {
	send := func(b, _ []byte, to *net.UDPAddr) (int, int, error) {
		n, err := conn.WriteTo(b, to)
		return n, 0, err
	}
	return &plainConn{
		PacketConn: conn,
		mender:     newMender(send, conn.SetReadDeadline),
		one:        []ipv4.Message{{Buffers: make([][]byte, 1)}},
	}
}

func (c *plainConn) ReadFrom(b []byte) (int, net.Addr, error) {
	m := &c.one[0]
	for {
		m.Buffers[0] = b
		if c.mender.hand(c.one) > 0 {
			return m.N, m.Addr, nil
		}
		c.mender.sleep()
		n, from, err := c.PacketConn.ReadFrom(b)
		switch {
		case err != nil && c.mender.woken(err):
			continue
		case err != nil || n == 0 || !repair.Is(b[0]):
			return n, from, err
		}
		m.N, m.NN, m.Addr = n, 0, from
		if c.mender.take(m); m.N > 0 {
			return m.N, m.Addr, nil
		}
	}
}

func (c *plainConn) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok || len(b) == 0 || b[0] < 0x40 {
		return c.PacketConn.WriteTo(b, to)
	}
	n, _, err := c.mender.write(b, nil, udp)
	return n, err
}

func (c *plainConn) SetReadDeadline(t time.Time) error { return c.mender.quicDeadline(t) }

// SetReadBuffer and SetWriteBuffer are what quic-go would call on the socket.
func (c *plainConn) SetReadBuffer(bytes int) error {
	if conn, ok := c.PacketConn.(interface{ SetReadBuffer(int) error }); ok {
		return conn.SetReadBuffer(bytes)
	}
	return nil
}

func (c *plainConn) SetWriteBuffer(bytes int) error {
	if conn, ok := c.PacketConn.(interface{ SetWriteBuffer(int) error }); ok {
		return conn.SetWriteBuffer(bytes)
	}
	return nil
}
