package httpapi

import (
	"bufio"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/event"
)

func TestStreamsGetEventsAsDefaultMessagesInOrder(t *testing.T) {
	f := serveNode(t)
	s := f.openSSE("/events", "")
	defer s.close()
	for i := range 200 {
		f.publish(strconv.Itoa(i))
	}
	for i := range 200 {
		if ev := s.next(t); ev.ID() != strconv.Itoa(i) {
			t.Fatalf("event %d has id %s", i, ev.ID())
		}
	}
}

func TestStreamsSurviveLineEndsInData(t *testing.T) {
	f := serveNode(t)
	s := f.openSSE("/events", "")
	defer s.close()
	for _, data := range []string{"{\n\"a\":\n1}", "{\r\n\"a\": 1\r}", "[1,\r2]", `"a\r\nb"`} {
		f.do("POST", "/events", data, ceHeaders("Content-Type", "application/json")...)
		if got, _ := s.next(t).Data(); string(got) != data {
			t.Errorf("%q came as %q", data, got)
		}
		f.do("POST", "/events", data, ceHeaders("Content-Type", "text/plain")...)
		if got, _ := s.next(t).Data(); string(got) != data {
			t.Errorf("text %q came as %q", data, got)
		}
	}
}

func TestStreamsOverHTTP2(t *testing.T) {
	f := serveNode(t)
	var tr http.Transport
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "GET", f.url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	f.publish("a")
	s := &sse{br: bufio.NewReader(res.Body)}
	if ev := s.next(t); ev.ID() != "a" {
		t.Errorf("id %s", ev.ID())
	}
}

func TestStreamsOutliveTheBodyTimeout(t *testing.T) {
	f := serveNode(t, func(_ *Config, s *ServerConfig) { s.BodyTimeout = 50 * time.Millisecond })
	s := f.openSSE("/events", "")
	defer s.close()
	time.Sleep(150 * time.Millisecond) // longer than a request may take to arrive
	f.publish("a")
	if ev := s.next(t); ev.ID() != "a" {
		t.Errorf("id %s", ev.ID())
	}
}

// overflow publishes n events of 100 KiB.
func overflow(f *face, n int) {
	f.t.Helper()
	data := strings.Repeat("x", 100<<10)
	for i := range n {
		if a := f.do("POST", "/events", data, "ce-specversion", "1.0", "ce-id", strconv.Itoa(i), "ce-source", "/s", "ce-type", "t"); a.StatusCode != 202 {
			f.t.Fatalf("%d: %s", a.StatusCode, a.body)
		}
	}
}

func smallQueue(c *Config, _ *ServerConfig) { c.QueueBytes = 250 << 10 }

func TestSlowStreamsAreToldOfEveryEventTheyMissed(t *testing.T) {
	f := serveNode(t, smallQueue)
	for _, query := range []string{"", "gaps=events"} {
		s := f.openSSE("/events", query)
		const n = 300
		overflow(f, n)
		seen, missed := 0, 0
		last := -1
		for last < n-1 {
			name, data, err := s.message()
			if err != nil {
				t.Fatal(err)
			}
			if name == "gap" && query == "" {
				missed += int(gapOf(t, data).Count)
				continue
			}
			ev := fromJSON(t, data)
			if ev.Type() == GapType && query != "" {
				data, _ := ev.Data()
				missed += int(gapOf(t, string(data)).Count)
				continue
			}
			seen++
			id, err := strconv.Atoi(ev.ID())
			if err != nil || id != seen+missed-1 {
				t.Fatalf("event %s comes after %d seen and %d missed", ev.ID(), seen-1, missed)
			}
			last = id
		}
		if seen+missed != n || missed == 0 {
			t.Errorf("%q: %d seen, %d missed of %d", query, seen, missed, n)
		}
		s.close()
	}
}

func TestSlowPollsAreToldOfEveryEventTheyMissed(t *testing.T) {
	f := serveNode(t, smallQueue)
	p := f.openPoll("/events", "", mediaJSONBatch)
	overflow(f, 10)
	p.poll(t)
	missed := 0
	for _, g := range p.header.Values(headerGap) {
		var n int
		if _, err := fmt.Sscanf(g, "count=%d; cause=", &n); err != nil {
			t.Fatalf("%q: %v", g, err)
		}
		missed += n
	}
	if missed == 0 || missed+len(p.left) != 10 {
		t.Errorf("%d seen, %d missed of 10", len(p.left), missed)
	}
}

func TestPollsMissNothingBetweenAnswers(t *testing.T) {
	f := serveNode(t)
	p := f.openPoll("/events", "max=7", mediaJSONBatch)
	p.query = "max=7"
	for i := range 100 {
		f.publish(strconv.Itoa(i))
	}
	for i := range 100 {
		if ev := p.next(t); ev.ID() != strconv.Itoa(i) {
			t.Fatalf("event %d has id %s", i, ev.ID())
		}
	}
}

func TestPollsGiveTheSameAnswerUntilItIsConfirmed(t *testing.T) {
	f := serveNode(t)
	p := f.openPoll("/events", "", mediaJSONBatch)
	old := p.cursor
	f.publish("a")
	first := p.poll(t).body
	f.publish("b")
	p.cursor = old // the answer got lost on its way
	if again := p.poll(t).body; again != first {
		t.Errorf("%s, then %s", first, again)
	}
	if third := p.poll(t).body; !strings.Contains(third, `"b"`) || strings.Contains(third, `"a"`) {
		t.Errorf("after the confirmation: %s", third)
	}
	f.wantStatus(f.do("GET", "/events?poll="+old, "", "Accept", mediaJSONBatch), 400)
}

func TestPollsOfUnknownCursorsAreGone(t *testing.T) {
	f := serveNode(t, func(c *Config, _ *ServerConfig) { c.Polls = 2 })
	get := func(path string) *reply { return f.do("GET", path, "", "Accept", mediaJSONBatch) }
	f.wantStatus(get("/events?poll=nonsense.1"), 410)
	f.wantStatus(get("/events?poll=nonsense"), 400)
	p := f.openPoll("/events", "", mediaJSONBatch)
	f.wantStatus(get("/namespaces/other/events?poll="+p.cursor), 410)
	f.wantStatus(get("/events?type=t&poll="+p.cursor), 400)
	f.openPoll("/events", "", mediaJSONBatch)
	f.wantStatus(get("/events?wait=1"), 503) // two are kept
	f.api.polls.forget(func(*poll) bool { return true })
	f.wantStatus(get("/events?poll="+p.cursor), 410)
}

func TestPollsAreAskedByOneRequestAtATime(t *testing.T) {
	f := serveNode(t)
	p := f.openPoll("/events", "", mediaJSONBatch)
	done := make(chan *reply, 1)
	go func() { done <- f.do("GET", "/events?poll="+p.cursor, "", "Accept", mediaJSONBatch) }()
	busy := func() bool {
		f.api.polls.mu.Lock()
		defer f.api.polls.mu.Unlock()
		for _, p := range f.api.polls.byID {
			return p.expires.IsZero()
		}
		return false
	}
	for !busy() {
		time.Sleep(time.Millisecond)
	}
	f.wantStatus(f.do("GET", "/events?poll="+p.cursor, "", "Accept", mediaJSONBatch), 409)
	f.publish("a")
	if a := <-done; a.StatusCode != 200 || !strings.Contains(a.body, `"a"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestPollsThatNobodyAsksForExpire(t *testing.T) {
	ps := newPolls(10)
	f := serveNode(t)
	sub, err := f.api.broker.Subscribe(t.Context(), (&query{}).request)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ps.add("", sub)
	if err != nil {
		t.Fatal(err)
	}
	late := time.Now().Add(pollKeep + time.Second)
	expired := func(p *poll) bool { return !p.expires.IsZero() && p.expires.Before(late) }
	if ps.forget(expired); ps.open() != 1 {
		t.Error("forgotten while it is asked for")
	}
	ps.done(p)
	if ps.forget(expired); ps.open() != 0 {
		t.Error("kept for ever")
	}
}

func TestNamespacesNeverCross(t *testing.T) {
	f := serveNode(t)
	a := f.openSSE("/namespaces/a/events", "")
	defer a.close()
	def := f.openSSE("/namespaces/default/events", "")
	defer def.close()
	f.publish("default")
	f.do("POST", "/namespaces/a/events", okJSON, "Content-Type", mediaJSON)
	if ev := a.next(t); ev.ID() != "1" {
		t.Errorf("namespace a got %s", ev.ID())
	}
	if ev := def.next(t); ev.ID() != "default" {
		t.Errorf("namespace default got %s", ev.ID())
	}
}

func TestSubscriptionsTakeFilters(t *testing.T) {
	f := serveNode(t)
	for _, query := range []string{
		"type=order.*", "type=order.>", "source=/a&type=order.created", "subject=x", "filter=amount+%3E+5",
		`filters=[{"exact":{"type":"order.created"}},{"prefix":{"source":"/"}}]`, `filters=[{"cesql":"subject+LIKE+'x%25'"}]`, "type=order.*&filter=EXISTS+subject",
	} {
		s := f.openSSE("/events", query)
		f.do("POST", "/events", `{"specversion":"1.0","id":"no","source":"/b","type":"invoice.created","amount":3}`, "Content-Type", mediaJSON)
		f.do("POST", "/events", `{"specversion":"1.0","id":"yes","source":"/a","type":"order.created","subject":"x","amount":7}`, "Content-Type", mediaJSON)
		if ev := s.next(t); ev.ID() != "yes" {
			t.Errorf("%s lets %s through", query, ev.ID())
		}
		s.close()
	}
}

func TestO_FiltersThatDoNotParseAreRefusedWithPositionAndReason(t *testing.T) {
	f := serveNode(t)
	for query, attribute := range map[string]string{
		"filter=id+%3D":                          "filter",
		"filter=TRUE+--+c":                       "filter",
		"filter=(1":                              "filter",
		"filters={}":                             "filters",
		"filters=[{}]":                           "filters",
		`filters=[{"nonsense":{}}]`:              "filters",
		`filters=[{"sql":"1+%2B"}]`:              "filters",
		"type=a..b":                              "type",
		"type=>.a":                               "type",
		"tpye=x":                                 "tpye",
		"type=a&type=b":                          "type",
		"barrier=moon":                           "barrier",
		"gaps=maybe":                             "gaps",
		"mode=publish":                           "mode", // a WebSocket's
		"filter=" + strings.Repeat("(", 100_000): "filter",
	} {
		a := f.do("GET", "/events?wait=1&"+query, "", "Accept", mediaJSONBatch)
		f.wantStatus(a, 400)
		a.wantError(t, attribute)
	}
	a := f.do("GET", "/events?wait=1&filter=id+%3D+%3D", "", "Accept", mediaJSONBatch)
	if len(a.problem.Errors) == 0 || !strings.Contains(a.problem.Errors[0].Reason, "5") {
		t.Errorf("no position in the reason: %s", a.body)
	}
}

func TestSubscribeChoosesByAccept(t *testing.T) {
	for accept, want := range map[string]string{
		"":                                      mediaStream,
		"*/*":                                   mediaStream,
		"text/event-stream":                     mediaStream,
		"Text/*;q=0.1, application/*;q=0.5":     mediaJSONBatch,
		mediaProtoBatch + ", " + mediaJSONBatch: mediaProtoBatch,
		mediaStream + ";q=0":                    "",
		"text/html":                             "text/html",
	} {
		var list []string
		if accept != "" {
			list = []string{accept}
		}
		if want == "text/html" {
			want = ""
		}
		if got := accepted(list); got != want {
			t.Errorf("%q: %q, want %q", accept, got, want)
		}
	}
	f := serveRecorder(t)
	f.wantStatus(f.do("GET", "/events", "", "Accept", "text/html"), 406)
}

func TestCloseEndsEverySubscription(t *testing.T) {
	f := serveNode(t)
	s := f.openSSE("/events", "")
	w := f.openWS("/events", "", subJSON)
	p := f.openPoll("/events", "", mediaJSONBatch)
	done := make(chan struct{})
	go func() { defer close(done); f.api.Close() }()
	if _, _, err := s.message(); err == nil {
		t.Error("the stream goes on")
	}
	if code, _ := w.closeStatus(t); code != 1001 {
		t.Errorf("close code %d", code)
	}
	<-done
	f.wantStatus(f.do("GET", "/events?poll="+p.cursor, "", "Accept", mediaJSONBatch), 503)
	f.wantStatus(f.do("POST", "/events", "", ceHeaders()...), 503)
}

func TestMetricsTellWhatHappened(t *testing.T) {
	f := serveNode(t)
	s := f.openSSE("/events", "")
	defer s.close()
	f.publish("a")
	s.next(t)
	f.do("POST", "/events", "")
	body := f.do("GET", "/metrics", "").body
	for _, want := range []string{
		`skein_http_requests_total{status="202"} 1`, `skein_http_requests_total{status="415"} 1`, "skein_http_accepted_events_total 1",
		`skein_http_subscriptions{face="sse"} 1`, "skein_ready 1", "skein_published_events_total 1", "skein_delivered_events_total 1", "go_goroutines ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestGapEventsAreValid(t *testing.T) {
	g := testGap(3)
	ev, err := gapEvent(g)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := event.AppendFromJSON(nil, ev.AppendJSON(nil)); err != nil {
		t.Error(err)
	}
}
