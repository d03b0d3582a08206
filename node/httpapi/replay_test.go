package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
)

// script is a reader of a stream that says what it was told to say.
type script struct {
	t     *testing.T
	steps []any // a string is the id of an event, []string are missing regions, and errors are that; an int is so many events that are not wanted, and nothing more for long
	read  int
	lost  []string
}

func (s *script) Next(context.Context) (node.StreamEvent, error) {
	if len(s.steps) == 0 {
		return node.StreamEvent{}, io.EOF
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	switch step := step.(type) {
	case []string:
		s.lost = step
		return node.StreamEvent{}, &node.MissingError{Stream: "orders", Regions: step}
	case error:
		return node.StreamEvent{}, step
	case int:
		s.read += step
		return node.StreamEvent{}, context.DeadlineExceeded
	}
	ev := fromJSON(s.t, strings.Replace(okJSON, `"1"`, fmt.Sprintf("%q", step), 1))
	s.read++
	return node.StreamEvent{Event: *ev, Time: time.Unix(1, 0), Position: node.Position{Stream: "orders", Region: "eu", Offset: int64(s.read)}}, nil
}

func (s *script) Ready() bool       { return len(s.steps) > 0 }
func (s *script) Cursor() string    { return fmt.Sprintf("eu/0:%d", s.read) }
func (s *script) Missing() []string { return s.lost }
func (s *script) Close()            {}

// newScript is a region that goes and comes back, between two events each.
func newScript(t *testing.T) *script {
	return &script{t: t, steps: []any{"1", []string{"ap", "us"}, "2", []string{}, "3"}}
}

// Each face says in its own way which regions are out of reach, in their place among
// the events, and goes on.
func TestServerSentEventsSayWhichRegionsAreMissing(t *testing.T) {
	for gaps, want := range map[gaps]string{
		gapsNative: `1 missing:{"regions":["ap","us"]} 2 missing:{"regions":[]} 3`,
		gapsEvents: `1 ` + MissingType + `:{"regions":["ap","us"]} 2 ` + MissingType + `:{"regions":[]} 3`,
		gapsSkip:   `1 2 3`,
	} {
		w := httptest.NewRecorder()
		s := &eventStream{w: w, rc: http.NewResponseController(w), gaps: gaps}
		if err := s.run(t.Context(), &replay{reader: newScript(t)}, &counters{}); err != io.EOF {
			t.Fatal(err)
		}
		var got []string
		name := ""
		for line := range strings.Lines(w.Body.String()) {
			if n, is := strings.CutPrefix(strings.TrimSpace(line), "event: "); is {
				name = n
			}
			data, is := strings.CutPrefix(strings.TrimSpace(line), "data: ")
			switch {
			case !is:
			case name != "":
				got = append(got, name+":"+data)
				name = ""
			default:
				got = append(got, describe(t, []byte(data)))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("with gaps %d it says %v, want %s", gaps, got, want)
		}
	}
}

// A reader hands an event out once: what came before an error is written, and then
// the error is told.
func TestEventsBeforeAnErrorAreWritten(t *testing.T) {
	w := httptest.NewRecorder()
	s := &eventStream{w: w, rc: http.NewResponseController(w)}
	broken := errors.New("broken")
	err := s.pump(t.Context(), &replay{reader: &script{t: t, steps: []any{"1", "2", broken, "3"}}}, make([]queue.Item, 10), &counters{})
	if err != broken {
		t.Errorf("it ends with %v, want %v", err, broken)
	}
	if got := w.Body.String(); !strings.Contains(got, "id: eu/0:1\n") || !strings.Contains(got, "id: eu/0:2\n") || strings.Contains(got, "id: eu/0:3\n") {
		t.Errorf("before the error it wrote %q, want events 1 and 2", got)
	}
}

// Who comes back goes on behind what is not wanted, and not where the last event was:
// retention may have passed that meanwhile.
func TestReadersAreToldHowFarTheyAreWithoutAnEvent(t *testing.T) {
	steps := func() *script { return &script{t: t, steps: []any{3, 0, "4", 5, 0}} }
	w := httptest.NewRecorder()
	s := &eventStream{w: w, rc: http.NewResponseController(w)}
	if err := s.run(t.Context(), &replay{reader: steps()}, &counters{}); err != io.EOF {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(w.Body.String()) {
		if id, is := strings.CutPrefix(strings.TrimSpace(line), "id: "); is || line == ":\n" {
			got = append(got, id)
		}
	}
	if want := []string{"eu/0:3", ":", "eu/0:4", "eu/0:9", ":"}; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("server-sent events are at %q, want %q", got, want)
	}
	for some, want := range map[bool]string{
		true:  `cursor eu/0:3, nothing, event eu/0:4, cursor eu/0:9, nothing, end`,
		false: `nothing, nothing, event eu/0:4, nothing, nothing, end`,
	} {
		w := httptest.NewRecorder()
		out := &lines{s: eventStream{w: w, rc: http.NewResponseController(w)}, some: some, at: "eu/0:0"}
		if err := out.copy(t.Context(), steps(), 0, &counters{}); err != nil {
			t.Fatal(err)
		}
		if err := out.s.flush(); err != nil {
			t.Fatal(err)
		}
		got := ""
		for line := range strings.Lines(w.Body.String()) {
			var l struct {
				Cursor string
				Event  json.RawMessage
			}
			switch err := json.Unmarshal([]byte(line), &l); {
			case line == "\n":
				got += "nothing, "
			case err != nil:
				t.Fatal(err)
			case l.Event != nil:
				got += "event " + l.Cursor + ", "
			default:
				got += "cursor " + l.Cursor + ", "
			}
		}
		if got += "end"; got != want {
			t.Errorf("with a filter %v the lines are: %s; want %s", some, got, want)
		}
	}
}

// A read that finds nothing it wants ends behind all of it.
func TestAReadThatWantsNothingEndsWithACursorBehindIt(t *testing.T) {
	f := serveNode(t)
	f.keepOrders(4)
	var last struct{ Cursor string }
	a := f.do("GET", "/streams/orders/events?type=nothing", "")
	if err := json.Unmarshal([]byte(a.body), &last); err != nil || !strings.HasSuffix(last.Cursor, ":4") {
		t.Fatalf("it ends with %q, %v", a.body, err)
	}
	if a := f.do("GET", "/streams/orders/events?from="+last.Cursor, ""); a.StatusCode != 200 || a.body != "" {
		t.Errorf("from %s: %d %s", last.Cursor, a.StatusCode, a.body)
	}
}

// describe is an event's id, or the type and data of one that says what is missing.
func describe(t *testing.T, text []byte) string {
	t.Helper()
	ev := fromJSON(t, string(text))
	if ev.Type() != MissingType {
		return ev.ID()
	}
	data, _ := ev.Data()
	return ev.Type() + ":" + string(data)
}

func TestLinesSayWhichRegionsAreMissing(t *testing.T) {
	for whole, want := range map[bool]string{
		false: `1 missing:["ap","us"] 2 missing:[] 3`,
		true:  `1 end: stream orders: missing ap, us: out of reach now; what is kept there is not lost`,
	} {
		w := httptest.NewRecorder()
		out := &lines{s: eventStream{w: w, rc: http.NewResponseController(w)}, whole: whole}
		err := out.copy(t.Context(), newScript(t), 0, &counters{})
		if err := out.s.flush(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(w.Body.String()) {
			var l struct {
				Event   struct{ ID string }
				Missing json.RawMessage
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			if l.Missing != nil {
				l.Event.ID = "missing:" + string(l.Missing)
			}
			got = append(got, l.Event.ID)
		}
		if err != nil {
			got = append(got, "end: "+err.Error())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("it says %v, want %s", got, want)
		}
	}
}

func TestLongPollsSayWhichRegionsAreMissing(t *testing.T) {
	p := &poll{sub: &replay{reader: &script{t: t, steps: []any{"1", []string{"us"}}}}}
	for i, want := range []string{"us", "us", ""} {
		if i == 2 {
			p.sub.(*replay).reader.(*script).steps = []any{[]string{}, "2"}
		}
		if i == 1 {
			p.sub.(*replay).reader.(*script).steps = []any{"x"}
		}
		a, err := p.wait(t.Context(), time.Now().Add(time.Minute), &query{max: 10}, mediaJSONBatch)
		if err != nil || a.lost != want || len(a.gaps) > 0 {
			t.Errorf("answer %d says that %q is missing and %v are gaps, %v", i, a.lost, a.gaps, err)
		}
	}
}

func TestLongPollsSayWhereTheAnswerEnds(t *testing.T) {
	event := func(id string) queue.Item {
		ev, err := (&script{t: t, steps: []any{id}}).Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return queue.Item{Event: ev.Event}
	}
	p := &poll{
		sub:  &replay{reader: &script{t: t, steps: []any{"4"}}},
		rest: []queue.Item{event("1"), event("2"), event("3")}, cursors: []string{"one", "two", "three"},
	}
	for _, want := range []string{"two", "three", "eu/0:1"} {
		a, err := p.wait(t.Context(), time.Now().Add(time.Minute), &query{max: 2}, mediaJSONBatch)
		if err != nil || a.after != want {
			t.Errorf("the answer %s ends at %q, it should at %q: %v", a.body, a.after, want, err)
		}
	}
}

// sent is what a WebSocket sends of a reader, and why it ends.
func sent(t *testing.T, r *script, gaps gaps) (got []string, err error) {
	t.Helper()
	why := make(chan error, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		conn, err := websocket.Accept(w, req, &websocket.AcceptOptions{Subprotocols: []string{subJSON}})
		if err != nil {
			why <- err
			return
		}
		s := &socket{api: &API{}, conn: conn, gaps: gaps, sub: &replay{reader: r}}
		why <- s.send(req.Context(), req.Context())
		conn.Close(websocket.StatusNormalClosure, "")
	}))
	defer srv.Close()
	c, _, err := websocket.Dial(t.Context(), srv.URL, &websocket.DialOptions{Subprotocols: []string{subJSON}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for {
		_, b, err := c.Read(t.Context())
		if err != nil {
			return got, <-why
		}
		got = append(got, describe(t, b))
	}
}

func TestWebSocketsSayWhichRegionsAreMissingToWhoAsks(t *testing.T) {
	for gaps, want := range map[gaps]string{
		gapsNative: `1 2 3`,
		gapsEvents: `1 ` + MissingType + `:{"regions":["ap","us"]} 2 ` + MissingType + `:{"regions":[]} 3`,
		gapsSkip:   `1 2 3`,
	} {
		if got, err := sent(t, newScript(t), gaps); strings.Join(got, " ") != want || err != io.EOF {
			t.Errorf("with gaps %d it sends %v, want %s; %v", gaps, got, want, err)
		}
	}
	trimmed := &node.TrimmedError{Stream: "orders", Region: "eu", Offset: 2, Start: 7}
	got, err := sent(t, &script{t: t, steps: []any{"1", trimmed, "7"}}, gapsNative)
	if strings.Join(got, " ") != "1" || err == nil || !strings.Contains(err.Error(), `"cause":"trimmed"`) {
		t.Errorf("where retention has passed it sends %v, and ends with %v", got, err)
	}
}

// A WebSocket reads a stream from where it is told, and follows it.
func TestAWebSocketReadsAStreamAndFollowsIt(t *testing.T) {
	f := serveNode(t)
	f.keepOrders(4)
	for _, sub := range []string{subJSON, subProto} {
		f.replayOverWS(sub)
	}
	for query, status := range map[string]int{
		"stream=none": 404, "stream=orders&from=nowhere": 400, "stream=orders&order=random": 400,
	} {
		f.wantStatus(f.raw(strings.Replace(upgrade, "/events", "/events?"+query, 1)+"Sec-WebSocket-Protocol: cloudevents.json\n\n"), status)
	}
}

// replayOverWS reads from offset 2 on while more is published, some of it over the
// socket itself.
func (f *face) replayOverWS(sub string) {
	f.t.Helper()
	all := f.openWS("/events", "stream=orders&from=0&order=arrival", sub)
	defer all.close()
	some := f.openWS("/events", "stream=orders&from=2&filter="+"id%20%3C%3E%20%273%27", sub)
	defer some.close()
	var next int
	for ; next < 4; next++ {
		if ev := all.next(f.t); ev.ID() != fmt.Sprint(next) {
			f.t.Fatalf("event %d is %s", next, ev.ID())
		}
	}
	if ev := some.next(f.t); ev.ID() != "2" {
		f.t.Fatalf("from 2 the first is %s", ev.ID())
	}
	var b event.Builder
	b.SetString("id", "over-"+sub).SetString("source", "/shop").SetString("type", "order.placed")
	ev, err := b.Event()
	if err != nil {
		f.t.Fatal(err)
	}
	kind, text := websocket.MessageText, ev.AppendJSON(nil)
	if sub == subProto {
		kind, text = websocket.MessageBinary, ev.AppendProto(nil)
	}
	if err := all.Write(all.ctx, kind, text); err != nil {
		f.t.Fatal(err)
	}
	for _, w := range []outlet{all, some} {
		for got := ""; got != "over-"+sub; {
			got = w.next(f.t).ID()
			if got == "3" && w == outlet(some) {
				f.t.Error("what the filter does not want comes")
			}
		}
	}
}

// Whatever the face, who begins where retention has passed is told the first offset
// that is still there, and can begin there by earliest.
func TestEachFaceNamesTheFirstOffsetThatIsStillThere(t *testing.T) {
	f := serveNode(t)
	f.keepOrders(4)
	var view node.StreamView
	if err := json.Unmarshal([]byte(f.do("GET", "/streams/orders", "").body), &view); err != nil {
		t.Fatal(err)
	}
	number := view.Logs[0].Partition
	if a := f.do("POST", "/streams/orders/trim", fmt.Sprintf(`{"partition":%d,"before":3}`, number)); a.StatusCode != 204 {
		t.Fatal(a.body)
	}
	for _, from := range []string{"1", fmt.Sprintf("%s/%d:1", view.Logs[0].Region, number)} {
		for what, a := range map[string]*reply{
			"lines":              f.do("GET", "/streams/orders/events?from="+from, ""),
			"lines that follow":  f.do("GET", "/streams/orders/events?follow=true&from="+from, ""),
			"server-sent events": f.do("GET", "/events?stream=orders&from="+from, ""),
			"long poll":          f.do("GET", "/events?stream=orders&from="+from, "", "Accept", mediaJSONBatch),
			"websocket":          f.raw(strings.Replace(upgrade, "/events", "/events?stream=orders&from="+from, 1) + "Sec-WebSocket-Protocol: cloudevents.json\n\n"),
		} {
			if a.StatusCode != 410 || a.problem.Trimmed == nil || a.problem.Trimmed.Start != 3 || a.problem.Trimmed.Offset != 1 {
				t.Errorf("%s from %s: %d %s", what, from, a.StatusCode, a.body)
			}
		}
	}
	ws := f.openWS("/events", "stream=orders&from=earliest", subJSON)
	defer ws.close()
	if ev := ws.next(t); ev.ID() != "3" {
		t.Errorf("the earliest is %s", ev.ID())
	}
}
