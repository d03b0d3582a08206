package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
)

// Subprotocols of the CloudEvents WebSocket binding that are spoken here.
const (
	subJSON  = "cloudevents.json"  // one event in JSON format a text message
	subProto = "cloudevents.proto" // one event in protobuf format a binary message
)

// goesAway is the reason of close code 1001.
const goesAway = "the node goes away"

// Times of a WebSocket.
const (
	pingEvery = 20 * time.Second
	pongWait  = 20 * time.Second // then the peer is gone
)

func asksForWebSocket(r *http.Request) bool {
	return hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket")
}

// hasToken looks for a token in a header that is a list.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// webSocket serves events in both directions on one connection: messages from
// the client are published, what its subscription gets is sent. The binding
// knows no acknowledgements: what a client sends is published at most once, and
// an event counts as delivered when it is written.
func (a *API) webSocket(w *response, r *http.Request, namespace string) error {
	q, err := parseQuery(r, namespace, "websocket", "mode")
	if err != nil {
		return err
	}
	if !hasToken(r.Header, "Sec-WebSocket-Protocol", subJSON) && !hasToken(r.Header, "Sec-WebSocket-Protocol", subProto) {
		return problemf(http.StatusBadRequest, "offer %s or %s in Sec-WebSocket-Protocol", subJSON, subProto)
	}
	if err := a.hold(); err != nil {
		return err
	}
	defer a.wg.Done()
	how, err := optionsOf(r.Header)
	if err != nil {
		return err
	}
	s := &socket{api: a, request: r, namespace: namespace, how: how, gaps: q.gaps, publishes: q.mode != "subscribe"}
	s.publishes = s.publishes && a.tokens.allow(r, Publish, namespace) == nil
	if q.mode != "publish" {
		q.request.Wait = q.wait
		if s.sub, err = a.open(r.Context(), w, r, q); err != nil {
			return err
		}
		defer s.sub.Close()
	}
	up := &upgrading{response: w}
	s.conn, err = websocket.Accept(up, r, &websocket.AcceptOptions{Subprotocols: []string{subJSON, subProto}})
	if err != nil {
		return problemf(max(up.refused, http.StatusBadRequest), "no WebSocket: %s", excerpt(up.reason.String()))
	}
	s.proto = strings.EqualFold(s.conn.Subprotocol(), subProto)
	a.count.sockets.Add(1)
	defer a.count.sockets.Add(-1)
	s.run()
	return nil
}

// upgrading lets an upgrade's success through and keeps its refusal, which is
// answered as a problem document like any other.
type upgrading struct {
	*response
	refused int
	reason  strings.Builder
}

func (u *upgrading) WriteHeader(status int) {
	if status != http.StatusSwitchingProtocols {
		u.refused = status
		return
	}
	u.response.WriteHeader(status)
}

func (u *upgrading) Write(b []byte) (int, error) {
	if u.refused != 0 {
		return u.reason.Write(b)
	}
	return u.response.Write(b)
}

// socket is one WebSocket.
type socket struct {
	api       *API
	conn      *websocket.Conn
	request   *http.Request
	namespace string
	how       node.PublishOptions
	proto     bool // the format, for the connection's life
	publishes bool
	gaps      gaps
	sub       source // nil: the client only publishes
}

// run serves the socket until either end closes it.
func (s *socket) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer s.conn.CloseNow()                                  //nolint:errcheck // closed already, in most cases
	s.api.wg.Go(func() { s.guard(func() { s.write(ctx) }) }) // webSocket holds the API open
	s.api.wg.Go(func() { s.guard(func() { s.ping(ctx) }) })
	code, reason := s.read(ctx)
	if code != 0 {
		s.close(code, reason)
	}
}

// guard contains a panic in one of the socket's goroutines.
func (s *socket) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			s.api.log.Error("a WebSocket met a bug", "panic", p)
			s.close(websocket.StatusInternalError, "a bug in this node")
		}
	}()
	f()
}

// maxReason is how long the reason of a close frame may be, in bytes.
const maxReason = 123

// close tells the peer why, and ends the connection.
func (s *socket) close(code websocket.StatusCode, reason string) {
	const dots = "…"
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason-len(dots)], "") + dots
	}
	if err := s.conn.Close(code, reason); err != nil {
		s.api.log.Debug("a WebSocket did not close well", "err", err)
	}
}

// ping finds out that a peer is gone.
func (s *socket) ping(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		wait, cancel := context.WithTimeout(ctx, pongWait)
		err := s.conn.Ping(wait)
		cancel()
		if err != nil {
			s.conn.CloseNow() //nolint:errcheck // it is gone
			return
		}
	}
}

// read publishes what the client sends; it returns why the socket is to be
// closed, or 0 when it is closed already.
func (s *socket) read(ctx context.Context) (websocket.StatusCode, string) {
	a := s.api
	limit := a.bodyLimit(jsonMode)
	s.conn.SetReadLimit(int64(limit)) // more: close 1009
	want, m := websocket.MessageText, jsonMode
	if s.proto {
		want, m = websocket.MessageBinary, protoMode
	}
	for {
		kind, message, err := s.conn.Reader(ctx)
		switch {
		case err != nil && strings.Contains(err.Error(), "unmasked frame"):
			return websocket.StatusProtocolError, "a client masks its frames" // the one error that the library does not answer
		case err != nil:
			return 0, ""
		case !s.publishes:
			return websocket.StatusPolicyViolation, "this client may not publish here"
		case kind != want:
			return websocket.StatusUnsupportedData, "messages must be of the kind that the subprotocol says: text for JSON, binary for protobuf"
		}
		if err := s.publish(ctx, m, message); err != nil {
			if code := closeCode(err); code != 0 {
				return code, strings.TrimPrefix(err.Error(), "event: ")
			}
			return 0, ""
		}
	}
}

// errRead means that a message did not come whole; the library has closed.
var errRead = errors.New("httpapi: a WebSocket's message did not come whole")

// publish publishes one message.
func (s *socket) publish(ctx context.Context, m mode, message io.Reader) error {
	a := s.api
	mem := a.scratch.Get().(*scratch)
	defer a.release(mem)
	mem.body = mem.body[:0]
	for {
		if len(mem.body) == cap(mem.body) {
			mem.body = append(make([]byte, 0, max(firstRead, 2*cap(mem.body))), mem.body...)
		}
		n, err := message.Read(mem.body[len(mem.body):cap(mem.body)])
		mem.body = mem.body[:len(mem.body)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return errRead
		}
	}
	events, err := a.decode(mem, m, nil, mem.body)
	if err != nil {
		return err
	}
	if a.quota != nil { // there is no status to refuse with: the sender is slowed
		if err := a.quota.WaitN(ctx, len(events)); err != nil {
			return err
		}
	}
	if _, err := a.broker.PublishWith(ctx, s.namespace, events, s.how); err != nil {
		return err
	}
	a.count.accepted.Add(uint64(len(events)))
	return nil
}

// closeCode is the close code that an error is to the client.
func closeCode(err error) websocket.StatusCode {
	var invalid *event.InvalidError
	switch {
	case errors.Is(err, errRead):
		return 0
	case errors.As(err, &invalid):
		return websocket.StatusInvalidFramePayloadData
	case errors.Is(err, event.ErrTooLarge):
		return websocket.StatusMessageTooBig
	case errors.Is(err, node.ErrNamespace):
		return websocket.StatusPolicyViolation
	}
	return websocket.StatusTryAgainLater
}

// write sends what the subscription gets. It closes the socket when the node
// goes away, and where a gap is that the client did not ask to hear of.
func (s *socket) write(ctx context.Context) {
	until, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.api.ctx, cancel)()
	err := s.send(ctx, until)
	var gap *gapError
	switch {
	case ctx.Err() != nil:
	case s.api.ctx.Err() != nil, errors.Is(err, node.ErrClosed):
		s.close(websocket.StatusGoingAway, goesAway)
	case errors.Is(err, node.ErrSlow):
		s.close(websocket.StatusTryAgainLater, "the subscriber did not keep up")
	case errors.As(err, &gap):
		s.close(websocket.StatusTryAgainLater, string(gap.reason))
	default:
		s.api.log.Debug("a WebSocket ended", "err", err)
		s.conn.CloseNow() //nolint:errcheck // broken
	}
}

// gapError ends a socket whose client missed events.
type gapError struct{ reason []byte }

func (e *gapError) Error() string { return "events were missed: " + string(e.reason) }

// send writes events until until ends, with ctx for what is being written.
func (s *socket) send(ctx, until context.Context) error {
	if s.sub == nil {
		<-until.Done()
		return until.Err()
	}
	items := make([]queue.Item, itemsAhead)
	var out []byte
	for {
		n, err := s.sub.Next(until, items)
		if err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, writeWait)
		for i := range items[:n] {
			if out, err = s.sendItem(wait, out[:0], &items[i]); err != nil {
				cancel()
				return err
			}
		}
		cancel()
		clear(items[:n])
		s.api.count.sent.Add(uint64(n))
	}
}

// sendItem writes one message; it returns its buffer for the next.
func (s *socket) sendItem(ctx context.Context, out []byte, it *queue.Item) ([]byte, error) {
	ev := &it.Event
	if it.Gap != nil {
		switch s.gaps {
		case gapsSkip:
			return out, nil
		case gapsNative:
			if it.Gap.Cause == missing {
				return out, nil // it is no loss, and there is no message for it
			}
			return out, &gapError{gapReason(it.Gap)}
		}
		made, err := gapEvent(it.Gap)
		if err != nil {
			return out, err
		}
		ev = &made
	}
	if s.proto {
		out = ev.AppendProto(out)
		return out, s.conn.Write(ctx, websocket.MessageBinary, out)
	}
	out = ev.AppendJSON(out)
	return out, s.conn.Write(ctx, websocket.MessageText, out)
}
