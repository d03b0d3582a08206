package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/node"
)

// The recorder knows no stream, and fails as told.

func (b *recorder) CreateStream(_ context.Context, d node.StreamDefinition) (node.StreamView, error) {
	return node.StreamView{StreamDefinition: d, Missing: []string{"us"}}, b.Ready()
}

func (b *recorder) StreamViews(string) ([]node.StreamView, error) { return nil, b.Ready() }

func (b *recorder) Stream(context.Context, string, string) (node.StreamView, error) {
	return node.StreamView{}, b.Ready()
}

func (b *recorder) DeleteStream(context.Context, string, string) error { return b.Ready() }

func (b *recorder) UndeleteStream(context.Context, string, string) ([]string, error) {
	return []string{"us/n2"}, b.Ready()
}

func (b *recorder) StreamsUnheard() []string { return []string{"ap", "us"} }

func (b *recorder) TrimStream(context.Context, string, string, node.StreamTrim) error {
	return b.Ready()
}

func (b *recorder) ReadStream(context.Context, node.StreamRead) (*node.StreamReader, error) {
	if err := b.Ready(); err != nil {
		return nil, err
	}
	return nil, node.ErrClosed
}

// Each thing that can go wrong with a stream has its status, and its words.
func TestWhatGoesWrongWithStreamsIsSaidWithItsStatus(t *testing.T) {
	f := serveRecorder(t)
	wrap := func(err error) error { return fmt.Errorf("stream orders: %w", err) }
	trimmed := &node.TrimmedError{Stream: "orders", Region: "eu", Partition: 1, Offset: 2, Start: 7}
	for _, c := range []struct {
		method, path string
		err          error
		status       int
		says         string
		outcome      string
	}{
		{"POST", "/streams", wrap(node.ErrExists), 409, "exists", ""},
		{"POST", "/streams", wrap(node.ErrInvalid), 400, "orders", ""},
		{"POST", "/streams", wrap(node.ErrLimit), 400, "limit", ""},
		{"POST", "/streams", wrap(node.ErrNoLeader), 503, "no leader", ""},
		{"POST", "/streams", fmt.Errorf("%w: %w", node.ErrNoLeader, node.ErrUnknown), 503, "", "unknown"},
		{"DELETE", "/streams/orders", wrap(node.ErrRefused), 409, "refused", ""},
		{"DELETE", "/streams/orders", wrap(node.ErrNoStream), 404, "orders", ""},
		{"POST", "/streams/orders/undelete", wrap(node.ErrNoStream), 404, "orders", ""},
		{"GET", "/streams/orders", wrap(node.ErrNoStream), 404, "orders", ""},
		{"GET", "/streams/orders", wrap(node.ErrUnknown), 503, "", ""},
		{"GET", "/streams/orders/events?from=2", wrap(trimmed), 410, "the first that is still there is 7", ""},
		{"GET", "/events?stream=orders&from=x", wrap(node.ErrPosition), 400, "from", ""},
		{"GET", "/events?stream=orders", wrap(node.ErrUnreachable), 503, "", ""},
		{"GET", "/streams/orders/events", wrap(&node.MissingError{Stream: "orders", Regions: []string{"us"}}), 503, "missing us: out of reach now; what is kept there is not lost; ask for partial", ""},
		{"POST", "/events", fmt.Errorf("%w: %w", node.ErrNotKept, node.ErrUnknown), 503, "", "unknown"},
		{"POST", "/events", fmt.Errorf("%w: %w", node.ErrNotKept, node.ErrNoLeader), 503, "no leader", ""},
		{"POST", "/events", fmt.Errorf("%w: %w", node.ErrNotKept, node.ErrBusy), 503, "", ""},
		{"POST", "/events", fmt.Errorf("%w: %w", node.ErrNotKept, node.ErrFull), 507, "no space left", ""},
		{"POST", "/events", fmt.Errorf("%w: %w", node.ErrUnknown, node.ErrFull), 507, "no space left", "unknown"},
	} {
		f.broker.failWith(c.err, nil)
		body, headers := "", ceHeaders()
		if c.path == "/streams" {
			body, headers = `{"name":"orders"}`, nil
		}
		a := f.do(c.method, c.path, body, headers...)
		f.wantStatus(a, c.status)
		if !strings.Contains(a.problem.Detail, c.says) || a.problem.Outcome != c.outcome {
			t.Errorf("%s %s: %v: %s", c.method, c.path, c.err, a.body)
		}
		if c.status == 503 && a.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s: 503 does not say when to try again", c.method, c.path)
		}
		if c.status == 410 && (a.problem.Trimmed == nil || *a.problem.Trimmed != *trimmed) {
			t.Errorf("410 does not name what is still there: %s", a.body)
		}
	}
}

func TestStreamRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	f := serveRecorder(t)
	for _, c := range []struct{ method, path, body, says string }{
		{"POST", "/streams", `{`, "does not parse"},
		{"POST", "/streams", `{"name":"x","maxAeg":"1h"}`, "maxAeg"},
		{"POST", "/streams", `{"name":"x","maxAge":3}`, "does not parse"},
		{"POST", "/streams", `{"name":"x"}{}`, "more than one"},
		{"POST", "/streams", `{"name":"` + strings.Repeat("x", maxDefinition) + `"}`, "too large"},
		{"POST", "/namespaces/a/streams", `{"name":"x","namespace":"b"}`, "namespace"},
		{"POST", "/streams/x/trim", `{"partition":1}`, "before"},
		{"POST", "/streams/x/trim", `{"before":1}`, "partition"},
		{"POST", "/streams/x/trim", `{"partition":-1,"before":1}`, "does not parse"},
		{"GET", "/streams/x/events?count=0", "", "count"},
		{"GET", "/streams/x/events?follow=perhaps", "", "follow"},
		{"GET", "/streams/x/events?form=latest", "", "form"},
		{"GET", "/streams/x/events?partial=some", "", "partial"},
		{"GET", "/streams/x/events?order=random", "", "order"},
		{"GET", "/streams/x/events?order=time&hold=forever", "", "hold"},
		{"GET", "/streams/x/events?order=time&hold=2h", "", "hold"},
		{"GET", "/events?order=time", "", "stream"},
		{"GET", "/streams/x/events?filter=a+%3E", "", "filter"},
		{"GET", "/events?from=earliest", "", "stream"},
		{"GET", "/streams/x/nothing", "", "path"},
		{"PUT", "/streams/x", "", "GET, DELETE"},
	} {
		a := f.do(c.method, c.path, c.body)
		if a.StatusCode < 400 || a.StatusCode >= 500 || !strings.Contains(a.problem.Detail, c.says) {
			t.Errorf("%s %s %.40s: %d %s", c.method, c.path, c.body, a.StatusCode, a.body)
		}
	}
}

// Who does not know a stream yet that is made, or back, is named, and so are the
// regions that a node has not heard.
func TestWhoDoesNotKnowStreamsIsNamed(t *testing.T) {
	f := serveRecorder(t)
	for path, want := range map[string]string{"/streams": "us", "/streams/orders/undelete": "us/n2"} {
		a := f.do("POST", path, `{"name":"orders"}`)
		if got := a.Header.Get(headerMissing); got != want || a.StatusCode/100 != 2 {
			t.Errorf("%s: %d, missing %q, want %q", path, a.StatusCode, got, want)
		}
	}
	if a := f.do("GET", "/readyz", ""); a.StatusCode != 200 || !strings.Contains(a.body, "ap, us") {
		t.Errorf("readyz says %d %s", a.StatusCode, a.body)
	}
}

func TestTokensThatMayNotManageStreamsLookAtThemOnly(t *testing.T) {
	f := serveRecorder(t, func(c *Config, _ *ServerConfig) {
		c.Tokens = []Token{{Secret: "look", Rights: Inspect}, {Secret: "blue", Rights: Manage, Namespaces: []string{"blue"}}}
	})
	for _, c := range []struct {
		secret, method, path, body string
		status                     int
	}{
		{"look", "GET", "/streams", "", 200},
		{"look", "POST", "/streams", `{"name":"x"}`, 403},
		{"look", "DELETE", "/streams/x", "", 403},
		{"look", "GET", "/streams/x/events", "", 403},
		{"blue", "POST", "/namespaces/blue/streams", `{"name":"x"}`, 201},
		{"blue", "POST", "/namespaces/red/streams", `{"name":"x"}`, 403},
		{"blue", "POST", "/streams", `{"name":"x","namespace":"blue"}`, 403},
		{"blue", "DELETE", "/namespaces/red/streams/x", "", 403},
		{"blue", "DELETE", "/namespaces/blue/streams/x", "", 204},
	} {
		if a := f.do(c.method, c.path, c.body, "Authorization", "Bearer "+c.secret); a.StatusCode != c.status {
			t.Errorf("%s: %s %s: %d, want %d: %s", c.secret, c.method, c.path, a.StatusCode, c.status, a.body)
		}
	}
}

// keepOrders makes a stream of a node and publishes so many events that it keeps.
func (f *face) keepOrders(count int) {
	f.t.Helper()
	a := f.do("POST", "/streams", `{"name":"orders","filter":{"pattern":{"type":"order.>"}},"maxAge":"24h"}`)
	if a.StatusCode != http.StatusCreated || a.Header.Get("Location") != "/namespaces/default/streams/orders" {
		f.t.Fatalf("create: %d %s %s", a.StatusCode, a.Header.Get("Location"), a.body)
	}
	for i := range count {
		f.keepOrder(i)
	}
}

func (f *face) keepOrder(id int) {
	f.t.Helper()
	a := f.do("POST", "/events", "", "ce-specversion", "1.0", "ce-id", fmt.Sprint(id), "ce-source", "/shop", "ce-type", "order.placed")
	at := a.Header.Get("Skein-Position")
	if a.StatusCode != 202 || !strings.HasPrefix(at, "orders@") || !strings.HasSuffix(at, fmt.Sprintf("/%d", id)) {
		f.t.Fatalf("publish %d: %d, kept at %q: %s", id, a.StatusCode, at, a.body)
	}
}

func TestStreamsAreMadeReadTrimmedDeletedAndHadBack(t *testing.T) {
	f := serveNode(t)
	f.keepOrders(5)
	if a := f.do("POST", "/streams", `{"name":"orders"}`); a.StatusCode != 409 {
		t.Errorf("a second one of the name: %d %s", a.StatusCode, a.body)
	}
	for body, says := range map[string]string{
		`{"name":"Orders!"}`:                                         "64 characters",
		`{"name":"x","partitions":1000000}`:                          "partitions",
		`{"name":"x","placement":"moon"}`:                            "home:REGION",
		`{"name":"x","filter":{"nope":{}}}`:                          "filter",
		`{"name":"x","maxBytes":-1}`:                                 "negative",
		`{"name":"x","dedupWindow":"10000h"}`:                        "7 days",
		`{"name":"x","namespace":"` + strings.Repeat("n", 99) + `"}`: "namespace",
	} {
		a := f.do("POST", "/streams", body)
		if (a.StatusCode != 400 && a.StatusCode != 404) || !strings.Contains(a.problem.Detail, says) {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
	var view node.StreamView
	a := f.do("GET", "/namespaces/default/streams/orders", "")
	if err := json.Unmarshal([]byte(a.body), &view); err != nil || len(view.Logs) != 1 || view.Logs[0].Next != 5 || view.Logs[0].Leader == "" || view.Logs[0].Bytes == 0 {
		t.Fatalf("info: %s", a.body)
	}
	if a := f.do("GET", "/streams/orders/events?from=2&count=2", ""); a.StatusCode != 200 || a.ids(t) != "2 3" {
		t.Errorf("from 2, two: %s", a.body)
	}
	if a := f.do("GET", "/streams/orders/events?subject=none", ""); a.StatusCode != 200 || a.body != fmt.Sprintf("{\"cursor\":\"%s/%d:5\"}\n", view.Logs[0].Region, view.Logs[0].Partition) {
		t.Errorf("of what is not there: %d %q", a.StatusCode, a.body)
	}
	if a := f.do("GET", "/streams/orders/events?from=yesterday", ""); a.StatusCode != 400 || !strings.Contains(a.problem.Detail, "earliest, latest, an offset, a time") {
		t.Errorf("from yesterday: %d %s", a.StatusCode, a.body)
	}
	trim := fmt.Sprintf(`{"partition":%d,"before":3}`, view.Logs[0].Partition)
	if a := f.do("POST", "/streams/orders/trim", trim); a.StatusCode != 204 {
		t.Fatalf("trim: %d %s", a.StatusCode, a.body)
	}
	if a := f.do("GET", "/streams/orders/events?from=1", ""); a.StatusCode != 410 || a.problem.Trimmed == nil || a.problem.Trimmed.Start != 3 {
		t.Errorf("from what was trimmed: %d %s", a.StatusCode, a.body)
	}
	if a := f.do("GET", "/streams/orders/events", ""); a.ids(t) != "3 4" {
		t.Errorf("what is left: %s", a.body)
	}
	if a := f.do("DELETE", "/streams/orders", ""); a.StatusCode != 204 {
		t.Fatalf("delete: %d %s", a.StatusCode, a.body)
	}
	if a := f.do("GET", "/streams/orders/events", ""); a.StatusCode != 404 {
		t.Errorf("a deleted stream: %d %s", a.StatusCode, a.body)
	}
	if a := f.do("GET", "/streams", ""); !strings.Contains(a.body, `"deleted":`) {
		t.Errorf("the list: %s", a.body)
	}
	if a := f.do("POST", "/streams/orders/undelete", ""); a.StatusCode != 204 {
		t.Fatalf("undelete: %d %s", a.StatusCode, a.body)
	}
	if a := f.do("GET", "/streams/orders/events", ""); a.ids(t) != "3 4" {
		t.Errorf("what came back: %s", a.body)
	}
	a = f.do("GET", "/metrics", "")
	for _, line := range []string{"skein_streams 1\n", "skein_stream_kept_events_total 5\n", "skein_stream_duplicate_events_total 0\n"} {
		if !strings.Contains(a.body, line) {
			t.Errorf("the metrics lack %q", line)
		}
	}
}
