package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/node"
)

const okJSON = `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`

func TestB15_OnlyPOSTAndOPTIONSAreTaken(t *testing.T) {
	f := serveRecorder(t)
	for _, path := range []string{"/events", "/", "/namespaces/a/events"} {
		for _, method := range []string{"PUT", "DELETE", "PATCH", "TRACE", "BREW"} {
			a := f.do(method, path, "", ceHeaders()...)
			f.wantStatus(a, 405)
			for _, m := range []string{"POST", "OPTIONS"} {
				if !slices.Contains(strings.Split(a.Header.Get("Allow"), ", "), m) {
					t.Errorf("%s %s: Allow is %q, without %s", method, path, a.Header.Get("Allow"), m)
				}
			}
		}
	}
}

func TestB16_ModeFollowsTheMediaTypeOnly(t *testing.T) {
	f := serveRecorder(t)
	for _, ct := range []string{"application/cloudevents+json", "Application/CloudEvents+JSON; charset=utf-8", "application/cloudevents+json ;x=y"} {
		if ev := f.one(f.do("POST", "/events", okJSON, "Content-Type", ct)); ev.ID() != "1" {
			t.Errorf("%s: id %q", ct, ev.ID())
		}
	}
	a := f.do("POST", "/events", "["+okJSON+","+okJSON+"]", "Content-Type", "APPLICATION/cloudevents-batch+json; charset=utf-8")
	if got := f.broker.take()[""]; a.StatusCode != 202 || len(got) != 2 {
		t.Errorf("a batch of two: %d, %d events", a.StatusCode, len(got))
	}
	ev := f.one(f.do("POST", "/", okJSON, ceHeaders("Content-Type", "application/json")...))
	if data, _ := ev.Data(); string(data) != okJSON {
		t.Errorf("binary data: %q", data)
	}
}

func TestB17_HeadersAreAttributesAndTheBodyIsData(t *testing.T) {
	f := serveRecorder(t)
	ev := f.one(f.do("POST", "/events", "\x00\xffdata", "CE-SPECVERSION", "1.0", "Ce-Id", "i", "cE-source", "/s", "ce-type", "t",
		"Ce-MyExt", "v", "Content-Type", "text/plain; charset=latin1"))
	wantAttr(t, ev, "id", "i")
	wantAttr(t, ev, "myext", "v")
	wantAttr(t, ev, "datacontenttype", "text/plain; charset=latin1")
	if data, _ := ev.Data(); string(data) != "\x00\xffdata" {
		t.Errorf("data %q", data)
	}
}

func TestB18_CeDatacontenttypeIsRefused(t *testing.T) {
	f := serveRecorder(t)
	a := f.do("POST", "/events", "", ceHeaders("ce-datacontenttype", "text/plain")...)
	f.wantStatus(a, 400)
	a.wantError(t, "datacontenttype")
}

func TestB21_NoBodyAndNoContentTypeAreFine(t *testing.T) {
	f := serveRecorder(t)
	ev := f.one(f.do("POST", "/events", "", ceHeaders()...))
	if data, form := ev.Data(); data != nil || form != 0 {
		t.Errorf("data %q (%v) out of nothing", data, form)
	}
	ev = f.one(f.do("POST", "/events", "x", ceHeaders()...))
	if _, ok := ev.Attr("datacontenttype"); ok {
		t.Error("a datacontenttype out of nothing")
	}
}

func TestB22_CeHeadersBesideAStructuredEventDoNotCount(t *testing.T) {
	f := serveRecorder(t)
	ev := f.one(f.do("POST", "/events", okJSON, "Content-Type", mediaJSON, "ce-id", "other", "ce-more", "x"))
	wantAttr(t, ev, "id", "1")
	if _, ok := ev.Attr("more"); ok {
		t.Error("a header became an attribute")
	}
}

func TestB24_EncodedBodiesAreRefusedWithAcceptEncoding(t *testing.T) {
	f := serveRecorder(t)
	a := f.do("POST", "/events", "x", ceHeaders("Content-Encoding", "gzip")...)
	f.wantStatus(a, 415)
	if a.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("Accept-Encoding is %q", a.Header.Get("Accept-Encoding"))
	}
	f.wantStatus(f.do("POST", "/events", "x", ceHeaders("Content-Encoding", "identity")...), 202)
}

func TestB25_OPTIONSConsentsToWebhooks(t *testing.T) {
	f := serveRecorder(t, func(c *Config, _ *ServerConfig) { c.EventsPerSecond = 10 })
	a := f.do("OPTIONS", "/events", "", "WebHook-Request-Origin", "events.example.org", "WebHook-Request-Rate", "120")
	f.wantStatus(a, 204)
	for name, want := range map[string]string{"WebHook-Allowed-Origin": "events.example.org", "WebHook-Allowed-Rate": "120", "Allow": "POST, OPTIONS, GET"} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if a := f.do("OPTIONS", "/", "", "WebHook-Request-Origin", "o", "WebHook-Request-Rate", "100000"); a.Header.Get("WebHook-Allowed-Rate") != "600" {
		t.Errorf("a rate over the quota is allowed: %q", a.Header.Get("WebHook-Allowed-Rate"))
	}
	if a := f.do("OPTIONS", "/events", ""); a.Header.Get("WebHook-Allowed-Origin") != "" {
		t.Error("consent that nobody asked for")
	}
}

func TestB27_DuplicatesAreTaken(t *testing.T) {
	f := serveRecorder(t)
	for range 2 {
		f.wantStatus(f.do("POST", "/events", "", ceHeaders()...), 202)
	}
}

func TestC28_202ForOneForABatchAndForAnEmptyBatch(t *testing.T) {
	f := serveRecorder(t)
	f.wantStatus(f.do("POST", "/events", "", ceHeaders()...), 202)
	f.wantStatus(f.do("POST", "/events", "["+okJSON+"]", "Content-Type", mediaJSONBatch), 202)
	f.wantStatus(f.do("POST", "/events", "[]", "Content-Type", mediaJSONBatch), 202)
	f.wantStatus(f.do("POST", "/events", "", "Content-Type", mediaProtoBatch), 202)
}

func TestC28_202OnlyAfterTheNodeHasIt(t *testing.T) {
	f := serveRecorder(t)
	f.broker.failWith(fmt.Errorf("%w: no room", node.ErrOverloaded), nil)
	f.wantStatus(f.do("POST", "/events", "", ceHeaders()...), 429)
}

func TestC28_202ForABatchThatFindsNoRoomOnceItHasBegun(t *testing.T) {
	f := serveRecorder(t)
	f.broker.failWith(&node.PartialError{Routed: 1, Err: fmt.Errorf("%w: no room", node.ErrOverloaded)}, nil)
	a := f.do("POST", "/events", "["+okJSON+","+okJSON+","+okJSON+"]", "Content-Type", mediaJSONBatch, "Skein-Overflow", "block")
	n := 0
	for _, evs := range f.broker.take() {
		n += len(evs)
	}
	if f.wantStatus(a, 202); n != 3 {
		t.Errorf("%d of 3 events were taken", n)
	}
}

func TestC28_400SomeButNotAllRequiredHeaders(t *testing.T) {
	f := serveRecorder(t)
	all := ceHeaders()
	for i := 0; i < len(all); i += 2 {
		a := f.do("POST", "/events", "", slices.Concat(all[:i], all[i+2:])...)
		f.wantStatus(a, 400)
		a.wantError(t, strings.TrimPrefix(all[i], "ce-"))
	}
}

func TestC28_400CloudEventsMediaTypeWithABodyThatDoesNotParse(t *testing.T) {
	f := serveRecorder(t)
	for _, body := range []string{"", "x", "{", "[]", `"s"`, "{}", "null", okJSON + "x", okJSON + okJSON} {
		f.wantStatus(f.do("POST", "/events", body, "Content-Type", mediaJSON), 400)
	}
	for _, body := range []string{"", "x", "{", "{}", "null", "[null]", "[[]]", "[1]", "[" + okJSON, "[" + okJSON + ",]"} {
		f.wantStatus(f.do("POST", "/events", body, "Content-Type", mediaJSONBatch), 400)
	}
	for _, body := range []string{"", "x", "\x0a\xff", "\xff\xff\xff\xff"} {
		f.wantStatus(f.do("POST", "/events", body, "Content-Type", mediaProto), 400)
	}
	f.wantStatus(f.do("POST", "/events", "x", "Content-Type", mediaProtoBatch), 400)
}

func TestC28_401And403Tokens(t *testing.T) {
	f := serveRecorder(t, func(c *Config, _ *ServerConfig) {
		c.Tokens = []Token{{Secret: "all"}, {Secret: "reader", Rights: Subscribe | Inspect}, {Secret: "tenant", Namespaces: []string{"a"}}}
		c.Native = http.NotFoundHandler()
	})
	for _, tc := range []struct {
		method, path, token string
		want                int
	}{
		{"POST", "/events", "", 401},
		{"POST", "/events", "Bearer wrong", 401},
		{"POST", "/events", "Basic all", 401},
		{"POST", "/events", "Bearer reader", 403},
		{"POST", "/events", "Bearer tenant", 403},
		{"POST", "/namespaces/b/events", "Bearer tenant", 403},
		{"POST", "/namespaces/a/events", "bearer tenant", 202},
		{"POST", "/events", "Bearer all", 202},
		{"GET", "/events", "", 401},
		{"GET", "/mesh/nodes", "", 401},
		{"GET", "/mesh/nodes", "Bearer reader", 200},
		{"GET", "/metrics", "", 401},
		{"GET", "/native", "", 401},
		{"GET", "/native", "Bearer tenant", 403},
		{"GET", "/healthz", "", 200},
		{"GET", "/readyz", "", 200},
		{"OPTIONS", "/events", "", 204},
	} {
		h := ceHeaders()
		if tc.token != "" {
			h = append(h, "Authorization", tc.token)
		}
		a := f.do(tc.method, tc.path, "", h...)
		if a.StatusCode != tc.want {
			t.Errorf("%s %s with %q: %d, want %d", tc.method, tc.path, tc.token, a.StatusCode, tc.want)
		}
		if (tc.want == 401 || tc.want == 403) && !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%d without a challenge", tc.want)
		}
	}
}

func TestC28_404UnknownPathsAndNamespaces(t *testing.T) {
	f := serveRecorder(t)
	for _, path := range []string{"/event", "/events/", "/namespaces/a", "/namespaces//events", "/namespaces/a/b/events", "/namespaces/a%2Fb/events", "/native", "//events"} {
		f.wantStatus(f.do("POST", path, "", ceHeaders()...), 404)
	}
	f.broker.failWith(fmt.Errorf("%w \"%s\"", node.ErrNamespace, "-"), nil)
	f.wantStatus(f.do("POST", "/namespaces/-/events", "", ceHeaders()...), 404)
}

func TestC28_413BodyOverTheLimit(t *testing.T) {
	f := serveRecorder(t, func(c *Config, _ *ServerConfig) { c.MaxEvent, c.MaxBatch = 10_000, 30_000 })
	big := strings.Repeat("x", 10_001)
	f.wantStatus(f.do("POST", "/events", big, ceHeaders()...), 413)
	f.wantStatus(f.do("POST", "/events", strings.Replace(okJSON, "{", `{"data":"`+big+`",`, 1), "Content-Type", mediaJSON), 413)
	f.wantStatus(f.do("POST", "/events", "["+strings.Replace(okJSON, "{", `{"data":"`+big+`",`, 1)+"]", "Content-Type", mediaJSONBatch), 413)
	many := "[" + strings.Repeat(okJSON+",", 600) + okJSON + "]"
	f.wantStatus(f.do("POST", "/events", many, "Content-Type", mediaJSONBatch), 413)
	f.wantStatus(f.do("POST", "/events", big[:9_900], ceHeaders()...), 202)
	// By attributes alone.
	f.wantStatus(f.do("POST", "/events", "", ceHeaders("ce-long", big)...), 413)
}

func TestC28_415NoEventAtAllAndFormatsWeLack(t *testing.T) {
	f := serveRecorder(t)
	for _, ct := range []string{"application/json", "text/plain", "application/cloudevents+avro", "application/cloudevents", "application/cloudevents-batch", "application/cloudevents-batch+xml", "application/cloudeventsjson"} {
		a := f.do("POST", "/events", okJSON, "Content-Type", ct)
		f.wantStatus(a, 415)
		if !strings.Contains(a.Header.Get("Accept"), mediaJSON) {
			t.Errorf("%s: Accept is %q", ct, a.Header.Get("Accept"))
		}
	}
	f.wantStatus(f.do("POST", "/events", ""), 415)
}

func TestC28_429OverTheQuotaWithRetryAfter(t *testing.T) {
	f := serveRecorder(t, func(c *Config, _ *ServerConfig) { c.EventsPerSecond = 2 })
	batch := "[" + strings.Repeat(okJSON+",", 9) + okJSON + "]" // more than the burst: counts as one second's worth
	f.wantStatus(f.do("POST", "/events", batch, "Content-Type", mediaJSONBatch), 202)
	a := f.do("POST", "/events", batch, "Content-Type", mediaJSONBatch)
	f.wantStatus(a, 429)
	if a.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
	}
}

func TestC28_503WhileTheNodeCannot(t *testing.T) {
	for _, cause := range []error{node.ErrNotReady, node.ErrClosed} {
		f := serveRecorder(t)
		f.broker.failWith(fmt.Errorf("%w: reason in words", cause), nil)
		a := f.do("POST", "/events", "", ceHeaders()...)
		f.wantStatus(a, 503)
		if a.Header.Get("Retry-After") == "" || !strings.Contains(a.problem.Detail, "reason in words") {
			t.Errorf("%v: Retry-After %q, %s", cause, a.Header.Get("Retry-After"), a.body)
		}
	}
}

func TestC28_500OnlyForABugWhichIsContained(t *testing.T) {
	f := serveRecorder(t)
	f.broker.failWith(nil, "a bug")
	a := f.do("POST", "/events", "", ceHeaders()...)
	f.wantStatus(a, 500)
	if strings.Contains(a.body, "a bug\"") {
		t.Errorf("the bug's text got out: %s", a.body)
	}
	f.broker.failWith(nil, nil)
	f.broker.failWith(errors.New("unforeseen"), nil)
	f.wantStatus(f.do("POST", "/events", "", ceHeaders()...), 500)
	f.broker.failWith(nil, nil)
	f.wantStatus(f.do("POST", "/events", "", ceHeaders()...), 202)
}

func TestC29_ABatchIsNever207(t *testing.T) {
	f := serveRecorder(t)
	bad := `{"specversion":"1.0","id":"","source":"/s","type":"t"}`
	a := f.do("POST", "/events", "["+okJSON+","+bad+","+okJSON+","+`{"id":"1"}`+"]", "Content-Type", mediaJSONBatch)
	f.wantStatus(a, 400)
	var at []int
	for _, e := range a.problem.Errors {
		if e.Index == nil {
			t.Fatalf("an error without its index: %s", a.body)
		}
		at = append(at, *e.Index)
	}
	if at = slices.Compact(at); !slices.Equal(at, []int{1, 3}) {
		t.Errorf("wrong events are %v, want 1 and 3: %s", at, a.body)
	}
}

func TestNamespacesOfPathsReachTheNode(t *testing.T) {
	f := serveRecorder(t)
	f.do("POST", "/namespaces/tenant-1/events", "", ceHeaders()...)
	if got := f.broker.take(); len(got["tenant-1"]) != 1 {
		t.Errorf("published %v", got)
	}
}
