package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// layerBacklog is how many streams of a layer wait to be accepted.
const layerBacklog = 64

// Layer is a private set of streams and packets between the endpoints of a
// mesh, for gossip and replication. It is a net.Listener and dials its namesakes
// at other nodes: by address, which works before there is any link, or, once there
// is one, by peer. Each stream has a connection, and so a congestion window, of its
// own. What Accept and Dial return is a PeerConn.
type Layer struct {
	e        *Endpoint
	name     string
	incoming chan net.Conn
	ctx      context.Context
	cancel   context.CancelFunc
}

// Layer opens the layer of that name, 1 to 64 characters. A name can be opened
// once at a time; packets go to all layers' ReadPacket alike, so that only one
// layer should read them.
func (e *Endpoint) Layer(name string) *Layer {
	l := &Layer{e: e, name: name, incoming: make(chan net.Conn, layerBacklog)}
	l.ctx, l.cancel = context.WithCancel(e.ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.layers[name] = l
	return l
}

// Accept waits for a stream that a namesake has dialled.
func (l *Layer) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.ctx.Done():
		return nil, ErrClosed
	}
}

// Addr is the local address of the mesh port.
func (l *Layer) Addr() net.Addr { return l.e.cfg.Conn.LocalAddr() }

// Close ends Accept and ReadPacket. Streams that were accepted stay open.
func (l *Layer) Close() error {
	l.cancel()
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	if l.e.layers[l.name] == l {
		delete(l.e.layers, l.name)
	}
	return nil
}

// DialAddr opens a stream to the layer's namesake at addr.
func (l *Layer) DialAddr(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	c, err := l.dial(ctx, addr, quietConfig)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Dialer dials the layers of that name at other nodes, without one here.
func (e *Endpoint) Dialer(name string) *Layer { return &Layer{e: e, name: name} }

// Dial opens a stream to the layer's namesake at a linked peer, which lives for as
// long as neither side closes it. To close it here drops what the peer has not got yet.
func (l *Layer) Dial(ctx context.Context, to peer.ID) (net.Conn, error) {
	s, err := l.e.session(to)
	if err != nil {
		return nil, fmt.Errorf("transport: layer %s: %w", l.name, err)
	}
	c, err := l.dial(ctx, addrPort(s.control.RemoteAddr()), linkConfig)
	if err != nil {
		return nil, err
	}
	c.shut = func() { l.e.shut(c.conn, codeDone, "") } // it is kept alive until then
	return c, nil
}

func (l *Layer) dial(ctx context.Context, addr netip.AddrPort, config *quic.Config) (*streamConn, error) {
	d, err := l.e.greet(ctx, addr, l.e.hello(roleVisit, ""), config, nil)
	if err != nil {
		return nil, fmt.Errorf("transport: layer %s: %w", l.name, err)
	}
	l.e.closeStream(d.stream)
	stream, err := d.conn.OpenStreamSync(ctx)
	if err == nil {
		_, err = stream.Write(wire.AppendFrame(nil, wire.Layer, []byte(l.name)))
	}
	if err != nil {
		l.e.shut(d.conn, codeDone, "")
		return nil, fmt.Errorf("transport: layer %s: %w", l.name, l.e.creds.cause(err, ""))
	}
	// From here on the connection ends by itself, when both ends are done with
	// the stream and nothing has moved for a while, unless it is kept alive.
	l.e.wg.Go(func() {
		<-d.conn.Context().Done()
		l.e.shut(d.conn, codeDone, "")
	})
	return &streamConn{Stream: stream, conn: d.conn, peer: d.theirs.Peer.ID}, nil
}

// WritePacket sends a packet of up to 1451 bytes, lossy and unencrypted.
func (l *Layer) WritePacket(b []byte, to netip.AddrPort) error { return l.e.socket.write(b, to) }

// ReadPacket waits for a packet and copies it to b. It returns ErrClosed when
// the layer or the endpoint closes.
func (l *Layer) ReadPacket(b []byte) (n int, from netip.AddrPort, err error) {
	return l.e.socket.read(l.ctx, b)
}

// host answers calls and layer streams on a connection outside of links until
// it ends.
func (e *Endpoint) host(conn *quic.Conn, from peer.Peer) error {
	for {
		stream, err := conn.AcceptStream(e.ctx)
		if err != nil {
			e.shut(conn, codeDone, "")
			return nil
		}
		select {
		case e.visits <- struct{}{}:
			e.wg.Go(func() {
				if err := e.visit(conn, stream, from); err != nil {
					e.closeStream(stream)
					e.log.Debug("visit ended", "peer", from.ID, "cause", err)
				}
			})
		default:
			e.closeStream(stream)
		}
	}
}

// visit takes one stream of a visiting node to where it belongs. It has a token of
// visits; calls, which may take long, have some of their own.
func (e *Endpoint) visit(conn *quic.Conn, stream *quic.Stream, from peer.Peer) error {
	stream.SetReadDeadline(time.Now().Add(callWait))
	kind, body, err := wire.ReadFrame(stream, e.cfg.MaxFrame)
	<-e.visits
	if err != nil {
		return err
	}
	if kind != wire.Layer {
		defer e.closeStream(stream)
		select {
		case e.guests <- struct{}{}:
			defer func() { <-e.guests }()
			return e.answer(stream, from, kind, body)
		default:
			e.refuseCall(stream)
			return ErrBusy
		}
	}
	stream.SetReadDeadline(time.Time{})
	e.mu.RLock()
	l := e.layers[string(body)]
	e.mu.RUnlock()
	if l == nil {
		return errors.New("no layer of that name is open")
	}
	select {
	case l.incoming <- &streamConn{Stream: stream, conn: conn, peer: from.ID}:
		return nil
	default:
		return ErrBusy
	}
}
