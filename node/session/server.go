package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// Broker is what sessions need of a node. Publish keeps nothing of the events,
// and a subscription's items are valid until the next call of Next. If it is a
// Keeper, too, the clients have streams.
type Broker interface {
	Publish(ctx context.Context, namespace string, evs []event.Event, overflow node.Overflow) error
	Subscribe(ctx context.Context, req node.SubscribeRequest) (Subscription, error)
}

// Subscription is a live subscription at the broker.
type Subscription interface {
	Missing() []string
	Next(ctx context.Context, buf []queue.Item) (int, error)
	Close()
}

// Of is a node as the Broker of sessions, and their Keeper.
func Of(n *node.Node) Broker { return broker{n} }

type broker struct{ *node.Node }

// Subscribe is the node's.
func (b broker) Subscribe(ctx context.Context, req node.SubscribeRequest) (Subscription, error) {
	s, err := b.Node.Subscribe(ctx, req)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Config says how sessions are served. The zero value of a field is its
// default.
type Config struct {
	// Self is who greets the clients.
	Self peer.Peer
	// MaxEvent bounds an event's envelope in bytes. Default 1 MiB.
	MaxEvent int
	// Sessions bounds the sessions at one time. Default 10 000.
	Sessions int
	// Subscriptions bounds those of one session. Default 1024.
	Subscriptions int
	// Log gets sessions that end for a reason; nothing per event. Default:
	// discarded.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.MaxEvent <= 0 {
		c.MaxEvent = event.DefaultMaxEvent
	}
	if c.Sessions <= 0 {
		c.Sessions = 10_000
	}
	if c.Subscriptions <= 0 {
		c.Subscriptions = 1024
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Stats are a Server's counters.
type Stats struct {
	Sessions      int    `json:"sessions"`      // open now
	Subscriptions int    `json:"subscriptions"` // open now
	EventsIn      uint64 `json:"eventsIn"`      // published and acknowledged
	EventsRefused uint64 `json:"eventsRefused"`
	EventsOut     uint64 `json:"eventsOut"` // put into outboxes
	Gaps          uint64 `json:"gaps"`      // events that subscribers were told to have missed
}

type counters struct {
	sessions, subscriptions atomic.Int64
	in, refused, out, gaps  atomic.Uint64
}

// Server serves sessions. It is the http.Handler of GET /native.
type Server struct {
	broker Broker
	keeper Keeper // the broker, if it keeps streams; else nil
	cfg    Config
	count  counters

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	starting sync.Mutex // nothing starts once ctx has ended
	wg       sync.WaitGroup
}

// Open makes a server of sessions with a broker. Its Close must be called.
func Open(b Broker, cfg Config) *Server {
	s := newServer(b, cfg)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func newServer(b Broker, cfg Config) *Server {
	s := &Server{broker: b, cfg: cfg.withDefaults()}
	s.keeper, _ = b.(Keeper)
	return s
}

// Close tells the clients that the node is closing, ends their sessions, and
// waits until nothing of them is left.
func (s *Server) Close() error {
	s.starting.Lock()
	s.cancel()
	s.starting.Unlock()
	s.wg.Wait()
	return nil
}

// Stats are the counters now.
func (s *Server) Stats() Stats {
	c := &s.count
	return Stats{
		Sessions: int(c.sessions.Load()), Subscriptions: int(c.subscriptions.Load()),
		EventsIn: c.in.Load(), EventsRefused: c.refused.Load(), EventsOut: c.out.Load(), Gaps: c.gaps.Load(),
	}
}

// Accept serves the connections of a listener until it closes, or the server.
// It does not wait, and does not close the listener.
func (s *Server) Accept(l net.Listener) {
	s.start(func() {
		defer context.AfterFunc(s.ctx, func() { l.Close() })()
		for {
			conn, err := l.Accept()
			switch {
			case err == nil:
				if !s.start(func() { s.serve(conn, conn) }) {
					conn.Close()
				}
			case s.ctx.Err() != nil:
				return
			default:
				s.cfg.Log.Warn("native clients are not accepted any more", "listener", l.Addr(), "err", err)
				return
			}
		}
	})
}

// start runs f in a goroutine that Close awaits, unless the server is closed.
func (s *Server) start(f func()) bool {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.wg.Go(f)
	return true
}

// ServeHTTP upgrades a request to the native protocol and serves the session.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 || !hasToken(r.Header["Connection"], "upgrade") || !hasToken(r.Header["Upgrade"], wire.ClientProtocol) {
		detail := "want an upgrade of HTTP/1.1 to " + wire.ClientProtocol
		if asked := r.Header.Get("Upgrade"); asked != "" {
			detail = fmt.Sprintf("this node speaks %s, not %.40q", wire.ClientProtocol, asked)
		}
		problem(w, http.StatusUpgradeRequired, detail)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		problem(w, http.StatusUpgradeRequired, "this connection cannot be upgraded")
		return
	}
	ahead := io.LimitReader(rw.Reader, int64(rw.Reader.Buffered()))
	served := make(chan struct{})
	started := s.start(func() {
		defer close(served)
		conn.SetDeadline(time.Now().Add(greetWithin))
		const upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + wire.ClientProtocol + "\r\n\r\n"
		if _, err := conn.Write([]byte(upgraded)); err != nil {
			conn.Close()
			return
		}
		s.serve(conn, ahead)
	})
	if !started {
		conn.Close()
		return
	}
	<-served // a handler's request lives as long as its session
}

// hasToken finds a token in a header's comma-separated lists.
func hasToken(lists []string, token string) bool {
	for _, list := range lists {
		for one := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(one), token) {
				return true
			}
		}
	}
	return false
}

// problem answers with a problem document.
func problem(w http.ResponseWriter, status int, detail string) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", wire.ClientProtocol)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}

// serve serves one connection, whose first bytes may have been read already.
func (s *Server) serve(conn net.Conn, ahead io.Reader) {
	defer conn.Close()
	if s.count.sessions.Add(1) > int64(s.cfg.Sessions) {
		s.count.sessions.Add(-1)
		conn.SetDeadline(time.Now().Add(byeWithin))
		conn.Write(wire.AppendBye(nil, &wire.Refusal{Code: wire.CodeTooMany, Reason: "this node has as many sessions as it takes"}))
		return
	}
	defer s.count.sessions.Add(-1)
	x := newSession(s, conn)
	var src io.Reader = &patient{Conn: conn, ctx: x.ctx}
	if ahead != conn {
		src = io.MultiReader(ahead, src)
	}
	if err := x.serve(src); err != nil && !errors.Is(err, errDone) {
		s.cfg.Log.Info("a native session ended", "client", conn.RemoteAddr(), "agent", x.agent, "err", err)
	}
}

// Serve serves one connection until it ends or ctx does, and returns why; nil
// when the client hung up. It closes the connection.
func Serve(ctx context.Context, conn net.Conn, b Broker, cfg Config) error {
	defer conn.Close()
	s := newServer(b, cfg)
	s.ctx, s.cancel = context.WithCancel(ctx)
	defer s.cancel()
	x := newSession(s, conn)
	err := x.serve(&patient{Conn: conn, ctx: x.ctx})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}
