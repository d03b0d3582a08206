package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

const (
	// maxCallsPerLink bounds the calls of one peer that are answered at once;
	// one more is refused. Questions that wait for something to come take one each for
	// as long: who asks them leaves room for others.
	maxCallsPerLink = 1024
	// maxVisits bounds the streams from outside of links that have not said yet what
	// they are, and maxGuests the calls from there that are answered at once.
	maxVisits, maxGuests = 256, 1024
	// callWait is how long a call may take if its context does not say, and at
	// most; requests must have come within it too.
	callWait = 30 * time.Second

	maxFailure = 1 << 10 // bytes of words about a failed call

	tooManyCalls = "too many calls at once" // of a call that no handler has seen
)

// CallError is what the other node's handler answered instead of a reply.
type CallError struct {
	Peer peer.ID
	Text string
}

func (e *CallError) Error() string { return fmt.Sprintf("node %s: %s", e.Peer.Short(), e.Text) }

// Is makes the refusal of one call too many an ErrBusy: nothing was done.
func (e *CallError) Is(target error) bool { return target == ErrBusy && e.Text == tooManyCalls }

// Call asks a linked peer and waits for its answer. What the handler there
// returns as an error comes back as a *CallError.
func (e *Endpoint) Call(ctx context.Context, to peer.ID, kind wire.Kind, body []byte) ([]byte, error) {
	s, err := e.session(to)
	if err != nil {
		return nil, err
	}
	return e.call(ctx, s.control, to, kind, body)
}

// CallAddr asks whoever is at addr, over a connection of its own. It needs no
// link and no common mesh: a node that joins begins with it.
func (e *Endpoint) CallAddr(ctx context.Context, addr netip.AddrPort, kind wire.Kind, body []byte) ([]byte, error) {
	d, err := e.greet(ctx, addr, e.hello(roleVisit, ""), linkConfig, nil)
	if err != nil {
		return nil, fmt.Errorf("transport: call: %w", err)
	}
	defer e.shut(d.conn, codeDone, "thank you")
	e.closeStream(d.stream)
	return e.call(ctx, d.conn, d.theirs.Peer.ID, kind, body)
}

// call asks over a stream of its own.
func (e *Endpoint) call(ctx context.Context, conn *quic.Conn, to peer.ID, kind wire.Kind, body []byte) ([]byte, error) {
	if len(body)+32 > e.cfg.MaxFrame {
		return nil, ErrTooLarge
	}
	ctx, cancel := context.WithTimeout(ctx, callWait)
	defer cancel()
	reply, err := ask(ctx, conn, request(ctx, kind, body), e.cfg.MaxFrame)
	var said *CallError
	switch {
	case errors.As(err, &said):
		said.Peer = to
		return nil, said
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, net.ErrClosed): // what all errors of a connection are
		err = fmt.Errorf("%w: %w", ErrLinkDown, e.creds.cause(err, ""))
	}
	if err != nil {
		return nil, fmt.Errorf("transport: call %#x to %s: %w", kind, to.Short(), err)
	}
	return reply, nil
}

// request is a Call frame. It tells the callee how long the caller will wait.
func request(ctx context.Context, kind wire.Kind, body []byte) []byte {
	deadline, _ := ctx.Deadline()
	head := binary.AppendUvarint([]byte{byte(kind)}, uint64(max(1, time.Until(deadline).Milliseconds())))
	b := make([]byte, 0, 2*binary.MaxVarintLen64+len(head)+len(body))
	b = binary.AppendUvarint(append(b, byte(wire.Call)), uint64(len(head)+len(body)))
	return append(append(b, head...), body...)
}

func ask(ctx context.Context, conn *quic.Conn, request []byte, limit int) ([]byte, error) {
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.CancelRead(0)
	stop := context.AfterFunc(ctx, func() {
		stream.CancelWrite(0)
		stream.CancelRead(0)
	})
	defer stop()
	if _, err := stream.Write(request); err != nil {
		return nil, err
	}
	stream.Close()
	kind, reply, err := wire.ReadFrame(stream, limit)
	switch {
	case err != nil:
		return nil, err
	case kind == wire.Failure:
		return nil, &CallError{Text: string(reply[:min(len(reply), maxFailure)])}
	case kind != wire.Reply:
		return nil, fmt.Errorf("%w: answer of kind %#x", ErrProtocol, kind)
	}
	// The end of the stream is read too: only then its place is free again.
	io.Copy(io.Discard, io.LimitReader(stream, 1))
	return reply, nil
}

// answerCalls answers the peer's calls, each in a goroutine of wg.
func (s *session) answerCalls(wg *sync.WaitGroup) {
	for {
		stream, err := s.control.AcceptStream(context.Background()) // ends with the connection
		if err != nil {
			return
		}
		select {
		case s.calls <- struct{}{}:
			wg.Go(func() {
				defer func() { <-s.calls }()
				defer s.link.e.closeStream(stream)
				stream.SetReadDeadline(time.Now().Add(callWait))
				kind, body, err := wire.ReadFrame(stream, s.link.e.cfg.MaxFrame)
				if err == nil {
					err = s.link.e.answer(stream, s.peer, kind, body)
				}
				if err != nil && !s.ended() {
					s.link.e.log.Debug("call not answered", "peer", s.peer.ID, "cause", err)
				}
			})
		default:
			s.link.e.refuseCall(stream)
			s.link.e.closeStream(stream)
		}
	}
}

// refuseCall says that there are too many calls.
func (e *Endpoint) refuseCall(stream *quic.Stream) {
	stream.SetWriteDeadline(time.Now().Add(time.Second))
	stream.Write(wire.AppendFrame(nil, wire.Failure, []byte(tooManyCalls)))
}

// answer handles one call and writes the reply. The stream is the caller's to
// close.
func (e *Endpoint) answer(stream *quic.Stream, from peer.Peer, kind wire.Kind, body []byte) error {
	if kind != wire.Call || len(body) < 2 {
		return fmt.Errorf("%w: frame of kind %#x instead of a call", ErrProtocol, kind)
	}
	timeout, n := binary.Uvarint(body[1:])
	if n <= 0 {
		return fmt.Errorf("%w: malformed call", ErrProtocol)
	}
	wait := min(time.Duration(min(timeout, uint64(callWait/time.Millisecond)))*time.Millisecond, callWait)
	// The stream's context ends when the caller gives up or the link goes down.
	ctx, cancel := context.WithTimeout(stream.Context(), wait)
	defer cancel()
	reply, err := e.cfg.Handler.HandleCall(ctx, from, wire.Kind(body[0]), body[1+n:])
	frame := wire.AppendFrame(nil, wire.Reply, reply)
	if len(reply) > e.cfg.MaxFrame {
		err = fmt.Errorf("a reply of %d bytes is too large", len(reply))
	}
	if err != nil {
		text := err.Error()
		frame = wire.AppendFrame(nil, wire.Failure, []byte(text[:min(len(text), maxFailure)]))
	}
	stream.SetWriteDeadline(time.Now().Add(callWait))
	_, err = stream.Write(frame)
	return err
}
