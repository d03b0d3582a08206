package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
)

// serveNode serves a real node that founded a mesh of its own.
func serveNode(t testing.TB, options ...func(*Config, *ServerConfig)) *face {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Open(context.Background(), node.Config{Name: "n", DataDir: t.TempDir(), Conn: conn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close the node: %v", err)
		}
	})
	for n.Ready() != nil {
		if t.Context().Err() != nil {
			t.Fatal(n.Ready())
		}
		time.Sleep(time.Millisecond)
	}
	return serveConfig(t, Config{Broker: n, Inspector: n, Streams: n}, options...)
}

// publish posts an event with an id, of type t.
func (f *face) publish(id string) {
	f.t.Helper()
	if a := f.do("POST", "/events", "", "ce-specversion", "1.0", "ce-id", id, "ce-source", "/s", "ce-type", "t"); a.StatusCode != 202 {
		f.t.Fatalf("publish %s: %d: %s", id, a.StatusCode, a.body)
	}
}

// outlet receives what a subscription gets, in whatever way.
type outlet interface {
	// next is the next event, in its canonical envelope.
	next(t testing.TB) *event.Event
	close()
}

// sse reads Server-Sent Events.
type sse struct {
	header http.Header
	body   io.ReadCloser
	br     *bufio.Reader
	cancel context.CancelFunc
}

func (f *face) openSSE(path, query string) *sse {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	req, err := http.NewRequestWithContext(ctx, "GET", f.url+path+"?"+query, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Accept", mediaStream)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != mediaStream {
		f.t.Fatalf("no stream: %d %s", res.StatusCode, readReply(f.t, res).body)
	}
	return &sse{header: res.Header, body: res.Body, br: bufio.NewReader(res.Body), cancel: cancel}
}

// message reads the next message as the HTML standard has it: lines end in CR,
// LF or both, data lines are joined by LF.
func (s *sse) message() (name, data string, err error) {
	var lines []string
	for {
		line, err := s.br.ReadString('\n')
		if err != nil {
			return "", "", err
		}
		line = strings.TrimSuffix(line, "\n")
		if strings.Contains(line, "\r") {
			return "", "", errors.New("a line with a carriage return")
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && lines == nil:
			name = ""
		case line == "":
			return name, strings.Join(lines, "\n"), nil
		case field == "event":
			name = value
		case field == "data":
			lines = append(lines, value)
		case field != "":
			return "", "", errors.New("an unknown field: " + line)
		}
	}
}

func (s *sse) next(t testing.TB) *event.Event {
	t.Helper()
	name, data, err := s.message()
	if err != nil || name != "" {
		t.Fatalf("message %q %q: %v", name, data, err)
	}
	return fromJSON(t, data)
}

func (s *sse) close() { s.cancel(); s.body.Close() }

func fromJSON(t testing.TB, s string) *event.Event {
	t.Helper()
	envelope, err := event.AppendFromJSON(nil, []byte(s))
	if err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return scan(t, envelope)
}

func fromProto(t testing.TB, b []byte) *event.Event {
	t.Helper()
	envelope, err := event.AppendFromProto(nil, b)
	if err != nil {
		t.Fatalf("%v in %q", err, b)
	}
	return scan(t, envelope)
}

func scan(t testing.TB, envelope []byte) *event.Event {
	t.Helper()
	var ev event.Event
	if err := ev.Scan(envelope); err != nil {
		t.Fatal(err)
	}
	return &ev
}

// ws is a WebSocket.
type ws struct {
	*websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc
	header http.Header
	proto  bool
}

func (f *face) openWS(path, query, subprotocol string) *ws {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	c, res, err := websocket.Dial(ctx, f.url+path+"?"+query, &websocket.DialOptions{Subprotocols: []string{subprotocol}})
	if err != nil {
		f.t.Fatal(err)
	}
	if c.Subprotocol() != subprotocol {
		f.t.Fatalf("subprotocol %q", c.Subprotocol())
	}
	c.SetReadLimit(16 << 20)
	return &ws{Conn: c, ctx: ctx, cancel: cancel, header: res.Header, proto: subprotocol == subProto}
}

func (w *ws) next(t testing.TB) *event.Event {
	t.Helper()
	kind, message, err := w.Read(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if w.proto != (kind == websocket.MessageBinary) {
		t.Fatalf("a message of kind %v", kind)
	}
	if w.proto {
		return fromProto(t, message)
	}
	return fromJSON(t, string(message))
}

func (w *ws) close() { w.CloseNow(); w.cancel() }

// closeStatus reads until the server closes, and says how.
func (w *ws) closeStatus(t testing.TB) (websocket.StatusCode, string) {
	t.Helper()
	for {
		_, _, err := w.Read(w.ctx)
		var ce websocket.CloseError
		switch {
		case errors.As(err, &ce):
			return ce.Code, ce.Reason
		case err != nil:
			t.Fatalf("no close frame: %v", err)
		}
	}
}

// poller polls.
type poller struct {
	f           *face
	path, query string
	media       string
	cursor      string
	header      http.Header
	left        []event.Event
}

func (f *face) openPoll(path, query, media string) *poller {
	f.t.Helper()
	p := &poller{f: f, path: path, query: query + "&wait=1", media: media}
	p.poll(f.t) // registers the interest
	p.query = ""
	return p
}

func (p *poller) poll(t testing.TB) *reply {
	t.Helper()
	query := p.query
	if p.cursor != "" {
		query = "poll=" + url.QueryEscape(p.cursor)
		if p.query != "" {
			query += "&" + p.query
		}
	}
	a := p.f.do("GET", p.path+"?"+query, "", "Accept", p.media)
	if a.StatusCode != 200 || a.Header.Get("Content-Type") != p.media {
		t.Fatalf("poll: %d %s", a.StatusCode, a.body)
	}
	p.cursor, p.header = a.Header.Get(headerPoll), a.Header
	decode := event.DecodeJSONBatch
	if p.media == mediaProtoBatch {
		decode = event.DecodeProtoBatch
	}
	events, err := decode([]byte(a.body))
	if err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	p.left = append(p.left, events...)
	return a
}

func (p *poller) next(t testing.TB) *event.Event {
	t.Helper()
	for range 10 {
		if len(p.left) > 0 {
			ev := p.left[0]
			p.left = p.left[1:]
			return &ev
		}
		p.poll(t)
	}
	t.Fatal("ten polls without an event")
	return nil
}

func (p *poller) close() {}

// gapOf reads a gap's JSON.
func gapOf(t testing.TB, s string) gapReport {
	t.Helper()
	var g gapReport
	if err := json.Unmarshal([]byte(s), &g); err != nil || g.Count == 0 || g.Cause == "" {
		t.Fatalf("a gap: %s: %v", s, err)
	}
	return g
}

func testGap(n uint64) *queue.Gap {
	return &queue.Gap{Count: n, Cause: "overflow", Origin: "eu-1", From: time.Now(), To: time.Now()}
}
