package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/peer"
)

// clientBacklog is how many streams of native clients wait to be accepted.
const clientBacklog = 128

// clients accepts the streams of native clients on the mesh port. They prove
// who they are as nodes do, with a certificate from a mesh key or the outside
// PKI; there are no hellos, the streams speak the client protocol.
type clients struct {
	e        *Endpoint
	incoming chan net.Conn
	ctx      context.Context
	cancel   context.CancelFunc
}

func newClients(e *Endpoint) *clients {
	c := &clients{e: e, incoming: make(chan net.Conn, clientBacklog)}
	c.ctx, c.cancel = context.WithCancel(e.ctx)
	return c
}

// Clients is a listener for native clients: each stream of theirs is a
// connection. Closing it ends its Accept only.
func (e *Endpoint) Clients() net.Listener { return e.clients }

// Accept waits for a client's stream.
func (c *clients) Accept() (net.Conn, error) {
	select {
	case conn := <-c.incoming:
		return conn, nil
	case <-c.ctx.Done():
		return nil, ErrClosed
	}
}

func (c *clients) Addr() net.Addr { return c.e.cfg.Conn.LocalAddr() }

func (c *clients) Close() error {
	c.cancel()
	return nil
}

// serve hands on the streams of one client until its connection ends.
func (c *clients) serve(conn *quic.Conn) {
	for {
		stream, err := conn.AcceptStream(c.ctx)
		if err != nil {
			return
		}
		select {
		case c.incoming <- &streamConn{Stream: stream, conn: conn}:
		default: // nobody accepts fast enough
			c.e.closeStream(stream)
		}
	}
}

// DialClient connects a native client to the node at addr. The stream is a
// connection of its own and the socket is closed with it. A stream is not seen
// by the node before something is written to it.
func DialClient(ctx context.Context, addr netip.AddrPort, id *Identity) (net.Conn, error) {
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, fmt.Errorf("transport: dial %s: %w", addr, err)
	}
	conn, err := DialClientOn(ctx, socket, addr, id)
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return conn, nil
}

// DialClientOn is DialClient with a socket, which is closed with the
// connection but not when dialling fails.
func DialClientOn(ctx context.Context, socket net.PacketConn, addr netip.AddrPort, id *Identity) (net.Conn, error) {
	creds := &credentials{identity: id, protocol: protocolClient}
	creds.become(subject{"client", "client", peer.ID(rand.Text())})
	udp := &quic.Transport{Conn: socket}
	conn, err := udp.Dial(ctx, udpAddr(addr), creds.dialing(protocolClient), linkConfig)
	if err != nil {
		udp.Close()
		return nil, fmt.Errorf("transport: dial %s: %w", addr, creds.cause(err, ""))
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		conn.CloseWithError(codeDone, "")
		udp.Close()
		return nil, fmt.Errorf("transport: dial %s: %w", addr, creds.cause(err, ""))
	}
	return &streamConn{Stream: stream, conn: conn, shut: func() {
		conn.CloseWithError(codeDone, "the client hangs up")
		udp.Close()
		socket.Close()
	}}, nil
}
