package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/event"
)

// recorder is the broker of tests about what reaches the node; it fails as
// told. Tests about subscriptions use a real node.
type recorder struct {
	mu      sync.Mutex // guards the fields below
	got     map[string][]event.Event
	fail    error
	kept    []node.Position // what PublishWith answers
	how     node.PublishOptions
	panic   any
	nodes   []node.NodeView
	asked   *event.Event // by Route
	drained bool
}

func (b *recorder) PublishWith(_ context.Context, namespace string, evs []event.Event, how node.PublishOptions) ([]node.Position, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.how = how
	if b.panic != nil {
		panic(b.panic)
	}
	fail, partial := b.fail, (*node.PartialError)(nil)
	switch {
	case errors.As(fail, &partial): // once
		evs, b.fail = evs[:partial.Routed], nil
	case fail != nil:
		return nil, fail
	}
	for i := range evs { // Publish keeps nothing of what it is given
		b.got[namespace] = append(b.got[namespace], evs[i].Clone())
	}
	return b.kept, fail
}

func (b *recorder) Subscribe(context.Context, node.SubscribeRequest) (*node.Subscription, error) {
	return nil, node.ErrClosed
}

func (b *recorder) Ready() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fail
}

func (b *recorder) Topology(context.Context) node.Topology { return node.Topology{} }
func (b *recorder) NodeViews() []node.NodeView             { return b.nodes }
func (b *recorder) LinkViews() []node.LinkView             { return nil }
func (b *recorder) InterestViews() []node.InterestView     { return nil }
func (b *recorder) Stats() node.Stats                      { return node.Stats{} }
func (b *recorder) Route(namespace string, ev *event.Event) (node.RouteReport, error) {
	b.asked = ev
	return node.RouteReport{Namespace: namespace}, nil
}

// failWith makes publishing fail, or panic; with nil, nil it works again.
func (b *recorder) failWith(err error, p any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail, b.panic = err, p
}

// take returns what was published since the last call.
func (b *recorder) take() map[string][]event.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.got
	b.got = map[string][]event.Event{}
	return got
}

// face is an API on a real server and port.
type face struct {
	t      testing.TB
	api    *API
	server *Server
	broker *recorder
	addr   string
	url    string
}

// serveRecorder serves an API over a recorder; options change either config.
func serveRecorder(t testing.TB, options ...func(*Config, *ServerConfig)) *face {
	t.Helper()
	b := &recorder{got: map[string][]event.Event{}}
	f := serveConfig(t, Config{Broker: b, Inspector: b, Streams: b}, options...)
	f.broker = b
	return f
}

func serveConfig(t testing.TB, cfg Config, options ...func(*Config, *ServerConfig)) *face {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := ServerConfig{Listeners: []net.Listener{l}}
	for _, o := range options {
		o(&cfg, &srv)
	}
	f := &face{t: t, api: New(cfg), addr: l.Addr().String(), url: "http://" + l.Addr().String()}
	srv.API = f.api
	f.server = OpenServer(srv)
	t.Cleanup(func() {
		if err := f.server.Close(); err != nil {
			t.Errorf("close the server: %v", err)
		}
	})
	return f
}

// answer is a response with its body read.
type reply struct {
	*http.Response
	body    string
	problem Problem
}

func readReply(t testing.TB, res *http.Response) *reply {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	res.Body.Close()
	a := &reply{Response: res, body: string(body)}
	if res.StatusCode >= 400 {
		if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("status %d comes as %q, not as a problem document: %s", res.StatusCode, got, body)
		} else if err := json.Unmarshal(body, &a.problem); err != nil || a.problem.Status != res.StatusCode || a.problem.Title == "" || a.problem.Detail == "" {
			t.Errorf("the problem document of %d is not whole: %s (%v)", res.StatusCode, body, err)
		}
	}
	return a
}

// do sends a request with headers given as pairs.
func (f *face) do(method, path, body string, headers ...string) *reply {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if len(headers)%2 != 0 {
		f.t.Fatal("headers come in pairs")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	return readReply(f.t, res)
}

// ceHeaders are the headers of a valid event in binary mode, and more.
func ceHeaders(more ...string) []string {
	return append([]string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"}, more...)
}

// raw writes bytes on a connection of their own and reads the answer to them.
// Lines of the request end in \n for the reader's sake.
func (f *face) raw(request string) *reply {
	f.t.Helper()
	c := f.dial()
	defer c.Close()
	head, body, _ := strings.Cut(request, "\n\n")
	f.write(c, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+body)
	return f.read(c, bufio.NewReader(c))
}

func (f *face) dial() net.Conn {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *face) write(c net.Conn, s string) {
	f.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		f.t.Fatalf("write: %v", err)
	}
}

func (f *face) read(_ net.Conn, br *bufio.Reader) *reply {
	f.t.Helper()
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		f.t.Fatalf("read an answer: %v", err)
	}
	return readReply(f.t, res)
}

// wantStatus fails the test unless an answer has that status, and, for a
// refusal, unless nothing was published.
func (f *face) wantStatus(a *reply, status int) {
	f.t.Helper()
	if a.StatusCode != status {
		f.t.Errorf("got %d, want %d: %s", a.StatusCode, status, a.body)
	}
	if f.broker == nil {
		return
	}
	got := f.broker.take()
	if status >= 300 && len(got) != 0 {
		f.t.Errorf("answered %d, yet published %v", status, got)
	}
	if status == http.StatusAccepted && a.body != "" {
		f.t.Errorf("202 has a body: %q", a.body)
	}
}

// wantError fails the test unless a problem names an attribute.
func (a *reply) wantError(t testing.TB, attribute string) {
	t.Helper()
	for _, e := range a.problem.Errors {
		if e.Attribute == attribute && e.Reason != "" {
			return
		}
	}
	t.Errorf("no error names %q: %s", attribute, a.body)
}

// one is the only event that was published in the default namespace.
func (f *face) one(a *reply) *event.Event {
	f.t.Helper()
	if a.StatusCode != http.StatusAccepted {
		f.t.Fatalf("got %d: %s", a.StatusCode, a.body)
	}
	got := f.broker.take()
	if len(got[""]) != 1 {
		f.t.Fatalf("published %v, want one event", got)
	}
	return &got[""][0]
}

// wantAttr fails the test unless an event has that attribute.
func wantAttr(t testing.TB, ev *event.Event, name, want string) {
	t.Helper()
	if v, ok := ev.Attr(name); !ok || v.String() != want {
		t.Errorf("%s is %q (%v), want %q", name, v.String(), ok, want)
	}
}
