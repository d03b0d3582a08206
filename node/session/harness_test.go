package session_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/node/session"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

// hub is a broker without a mesh: each event goes to all subscriptions of its
// namespace, through the real queues. It isolates the protocol.
type hub struct {
	gate  chan struct{} // not nil: Publish takes a value from it first
	fail  atomic.Pointer[error]
	count atomic.Int64

	mu   sync.Mutex // guards the field below
	subs []*hubSub
}

type hubSub struct {
	hub *hub
	req node.SubscribeRequest
	q   *queue.Queue
}

func (h *hub) Publish(ctx context.Context, ns string, evs []event.Event, _ node.Overflow) error {
	if h.gate != nil {
		select {
		case <-h.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := h.fail.Load(); err != nil {
		if partial := (*node.PartialError)(nil); errors.As(*err, &partial) {
			if len(evs) <= partial.Routed {
				h.count.Add(int64(len(evs)))
				return nil
			}
			h.count.Add(int64(partial.Routed))
		}
		return *err
	}
	h.count.Add(int64(len(evs)))
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.subs {
		if s.req.Namespace == ns {
			for i := range evs {
				s.q.Push(&evs[i])
			}
		}
	}
	return nil
}

func (h *hub) Subscribe(_ context.Context, req node.SubscribeRequest) (session.Subscription, error) {
	if req.Namespace == "" {
		req.Namespace = node.DefaultNamespace
	}
	if req.QueueBytes == 0 {
		req.QueueBytes = node.DefaultQueueBytes
	}
	s := &hubSub{h, req, queue.New(req.QueueBytes, queue.NewPool())}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs = append(h.subs, s)
	return s, nil
}

func (h *hub) live() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs)
}

func (s *hubSub) Missing() []string { return []string{"far"} }

func (s *hubSub) Next(ctx context.Context, buf []queue.Item) (int, error) {
	for {
		if n := s.q.Pop(buf); n > 0 {
			return n, nil
		}
		select {
		case <-s.q.Ready():
		case <-s.q.Done():
			return 0, node.ErrClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (s *hubSub) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.subs = slices.DeleteFunc(s.hub.subs, func(x *hubSub) bool { return x == s })
	s.q.Close()
}

// place is a session server behind a real HTTP server on loopback.
type place struct {
	*hub
	server *session.Server
	http   *http.Server
	addr   string
}

func serve(t testing.TB, h *hub, addr string) *place {
	t.Helper()
	p := open(t, h, addr)
	p.hub = h
	return p
}

func serveBroker(t testing.TB, b session.Broker) (addr string) {
	t.Helper()
	return open(t, b, "127.0.0.1:0").addr
}

func open(t testing.TB, b session.Broker, addr string) *place {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &place{addr: l.Addr().String()}
	p.server = session.Open(b, session.Config{Self: peer.Peer{ID: "n1", Name: "one", Region: "here"}, Subscriptions: 8})
	mux := http.NewServeMux()
	mux.Handle("GET /native", p.server)
	p.http = &http.Server{Handler: mux}
	var wg sync.WaitGroup
	wg.Go(func() { p.http.Serve(l) })
	t.Cleanup(func() { p.stop(); wg.Wait() })
	return p
}

func (p *place) stop() {
	p.server.Close()
	p.http.Close()
}

func dial(t testing.TB, addr string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), addr, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func newEvent(id int) cloudevents.Event {
	e := cloudevents.NewEvent()
	e.SetID(fmt.Sprint(id))
	e.SetSource("/test")
	e.SetType("test.event")
	e.SetData("text/plain", "hello")
	return e
}

// eventually waits for a condition that nothing signals.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// receive takes n deliveries.
func receive(t testing.TB, from <-chan client.Delivery, n int) (list []client.Delivery) {
	t.Helper()
	for len(list) < n {
		select {
		case d := <-from:
			list = append(list, d)
		case <-time.After(10 * time.Second):
			t.Fatalf("%d deliveries within 10 s, want %d", len(list), n)
		}
	}
	return list
}
