package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/repair"
)

// packetMark begins every packet on the mesh port that is not QUIC's, whose
// packets all have one of the two highest bits of their first byte set.
const packetMark = 0x01

// maxPacket is the most that one packet beside QUIC's may hold, in bytes:
// quic-go's read buffers end there, and the mark takes one.
const maxPacket = 1452 - 1

// packetQueue is how many packets wait for ReadPacket before more are dropped.
// quic-go keeps 32, which a burst of gossip overruns.
const packetQueue = 4096

// packet is one that came beside QUIC's, without its mark.
type packet struct {
	data []byte
	from netip.AddrPort
}

// socket is the mesh port: QUIC reads and writes it, and other packets pass by.
type socket struct {
	quic    *quic.Transport
	mender  *mender
	peeled  *peeler // nil where quic-go keeps the other packets
	dropped atomic.Uint64
}

// newSocket makes a socket of conn. A *net.UDPConn is read in batches, and its
// other packets are taken out before quic-go sees them; any other conn, that of
// a simulated network for one, goes through quic-go's own small queue.
func newSocket(conn net.PacketConn) *socket {
	s := &socket{}
	if udp, ok := conn.(*net.UDPConn); ok {
		s.peeled = newPeeler(udp, &s.dropped)
		s.mender, conn = s.peeled.mender, s.peeled
	} else {
		plain := newPlainConn(conn)
		s.mender, conn = plain.mender, plain
	}
	s.quic = &quic.Transport{Conn: conn, ConnectionIDLength: repair.ConnIDLength}
	return s
}

// write sends a packet beside QUIC's.
func (s *socket) write(b []byte, to netip.AddrPort) error {
	if len(b) > maxPacket {
		return ErrTooLarge
	}
	_, err := s.quic.WriteTo(append([]byte{packetMark}, b...), udpAddr(to))
	return err
}

// read waits for a packet beside QUIC's and copies it to b.
func (s *socket) read(ctx context.Context, b []byte) (int, netip.AddrPort, error) {
	if s.peeled != nil {
		select {
		case p := <-s.peeled.packets:
			return copy(b, p.data), p.from, nil
		case <-ctx.Done():
			return 0, netip.AddrPort{}, ErrClosed
		}
	}
	buf := make([]byte, maxPacket+1)
	for {
		n, from, err := s.quic.ReadNonQUICPacket(ctx, buf)
		if err != nil {
			return 0, netip.AddrPort{}, errors.Join(ErrClosed, err)
		}
		if n > 0 && buf[0] == packetMark {
			return copy(b, buf[1:n]), addrPort(from), nil
		}
	}
}

// udpAddr is a in the form that sockets and the simulated network agree on:
// four bytes for IPv4.
func udpAddr(a netip.AddrPort) *net.UDPAddr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
}

func addrPort(a net.Addr) netip.AddrPort {
	if u, ok := a.(*net.UDPAddr); ok {
		ap := u.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}
