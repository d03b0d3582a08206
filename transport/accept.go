package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/quic-go/quic-go"
)

// Bounds on strangers: connections whose handshake is not over.
const (
	maxKnocks        = 1024 // in all
	maxKnocksPerAddr = 256
	// fewKnocks is how many there may be before an address has to prove that
	// it is its own, which costs a round trip.
	fewKnocks = 512
)

// knocks counts the incoming connections whose handshake is not over.
type knocks struct {
	all     int
	perAddr map[netip.Addr]int
}

// knocking is one such connection.
type knocking struct {
	from netip.AddrPort
	key  atomic.Pointer[string] // fingerprint that the caller gave, unverified
	done chan struct{}          // closed when the handshake has succeeded
}

type knockingKey struct{}

// knock is called for each incoming connection before its handshake. It bounds
// their number and sees to it that a failed handshake is logged: the listener
// tells of successful ones only.
func (e *Endpoint) knock(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	k := &knocking{from: addrPort(info.RemoteAddr), done: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.knocks.all >= maxKnocks || e.knocks.perAddr[k.from.Addr()] >= maxKnocksPerAddr {
		return nil, ErrBusy
	}
	e.knocks.all++
	e.knocks.perAddr[k.from.Addr()]++
	e.wg.Go(func() { e.watch(ctx, k) })
	return context.WithValue(ctx, knockingKey{}, k), nil
}

func (e *Endpoint) suspicious(net.Addr) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.knocks.all >= fewKnocks
}

// watch waits for the end of a handshake.
func (e *Endpoint) watch(ctx context.Context, k *knocking) {
	select {
	case <-k.done:
	case <-ctx.Done():
		key := ""
		if p := k.key.Load(); p != nil {
			key = *p
		}
		e.complaints.about("refused a connection", k.from, e.creds.cause(context.Cause(ctx), key))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.knocks.all--
	if e.knocks.perAddr[k.from.Addr()]--; e.knocks.perAddr[k.from.Addr()] == 0 {
		delete(e.knocks.perAddr, k.from.Addr())
	}
}

// noteHello keeps the name of the caller's key, see nameSuffix.
func noteHello(hello *tls.ClientHelloInfo) {
	k, ok := hello.Context().Value(knockingKey{}).(*knocking)
	if key, named := strings.CutSuffix(hello.ServerName, nameSuffix); ok && named && len(key) <= 64 {
		k.key.Store(&key)
	}
}

// accept takes incoming connections until the endpoint closes.
func (e *Endpoint) accept() {
	for {
		conn, err := e.listener.Accept(e.ctx)
		if err != nil {
			return
		}
		k := conn.Context().Value(knockingKey{}).(*knocking)
		close(k.done)
		if !e.track(conn) {
			conn.CloseWithError(codeLeaving, "the node stops")
			return
		}
		e.wg.Go(func() { e.receive(conn, k.from) })
	}
}

// receive takes a new connection to where it belongs. Once it returns, the
// connection is closed or has another owner.
func (e *Endpoint) receive(conn *quic.Conn, from netip.AddrPort) {
	if conn.ConnectionState().TLS.NegotiatedProtocol == protocolClient {
		e.clients.serve(conn)
		e.shut(conn, codeDone, "")
		return
	}
	stream, theirs, err := e.welcome(conn)
	if err == nil {
		switch theirs.Role {
		case roleVisit:
			if err = writeHello(stream, e.hello(roleVisit, "")); err == nil {
				e.closeStream(stream)
				err = e.host(conn, theirs.Peer)
			}
		case roleControl:
			err = e.admitControl(conn, stream, theirs)
		case roleLane:
			err = e.admitLane(conn, stream, theirs)
		}
		if err == nil {
			return
		}
	}
	var ref *refusal
	if errors.As(err, &ref) {
		e.shut(conn, ref.code, ref.reason)
		e.complaints.about("refused a node", from, err)
		return
	}
	if cause := context.Cause(conn.Context()); cause != nil {
		err = cause // why it failed says more than that a stream did
	}
	e.shut(conn, codeDone, "")
	e.complaints.about("refused by a node", from, e.creds.cause(err, e.keyOf(conn)))
}

// closeStream ends a stream both ways, which frees its place at both ends.
func (e *Endpoint) closeStream(stream *quic.Stream) {
	stream.CancelRead(0)
	stream.Close()
}
