package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/event"
)

// ids are the ids of events that came a line each.
func (a *reply) ids(t testing.TB) string {
	t.Helper()
	var list []string
	for line := range strings.Lines(a.body) {
		var l struct {
			Event struct{ ID string }
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, l.Event.ID)
	}
	return strings.Join(list, " ")
}

// sse reads Server-Sent Events of a path until so many events have come, and
// returns their ids as the events and as the stream have them.
func (f *face) sse(path, last string, count int) (events, cursors []string) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", f.url+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	cursor := ""
	for lines := bufio.NewScanner(res.Body); len(events) < count && lines.Scan(); {
		line := lines.Text()
		if c, is := strings.CutPrefix(line, "id: "); is {
			cursor = c
		}
		data, is := strings.CutPrefix(line, "data: ")
		if !is {
			continue
		}
		var e struct{ ID, Cause string }
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			f.t.Fatal(err)
		}
		events, cursors = append(events, e.ID+e.Cause), append(cursors, cursor)
	}
	return events, cursors
}

func TestServerSentEventsOfAStreamResumeWhereTheyWere(t *testing.T) {
	f := serveNode(t)
	f.keepOrders(4)
	got, cursors := f.sse("/events?stream=orders&from=1", "", 2)
	if strings.Join(got, " ") != "1 2" {
		t.Fatalf("from 1: %v", got)
	}
	if got, _ = f.sse("/events?stream=orders&from=1", cursors[0], 2); strings.Join(got, " ") != "2 3" {
		t.Errorf("after %s: %v", cursors[0], got)
	}
	var view node.StreamView
	if err := json.Unmarshal([]byte(f.do("GET", "/streams/orders", "").body), &view); err != nil {
		t.Fatal(err)
	}
	if a := f.do("POST", "/streams/orders/trim", fmt.Sprintf(`{"partition":%d,"before":3}`, view.Logs[0].Partition)); a.StatusCode != 204 {
		t.Fatal(a.body)
	}
	if got, _ = f.sse("/events?stream=orders", cursors[0], 2); strings.Join(got, " ") != "trimmed 3" {
		t.Errorf("after %s, which is trimmed: %v", cursors[0], got)
	}
}

func TestLongPollsOfAStreamGoOnWhereTheyWere(t *testing.T) {
	f := serveNode(t)
	f.keepOrders(3)
	a := f.do("GET", "/events?stream=orders&max=2", "", "Accept", mediaJSONBatch)
	if a.StatusCode != 200 || strings.Count(a.body, `"id"`) != 2 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	for _, other := range []*reply{ // at this node or another, if the poll is forgotten
		f.do("GET", "/events?stream=orders&from="+a.Header.Get("Skein-Cursor"), "", "Accept", mediaJSONBatch),
		f.do("GET", "/events?stream=orders", "", "Accept", mediaJSONBatch, "Last-Event-ID", a.Header.Get("Skein-Cursor")),
	} {
		if other.StatusCode != 200 || strings.Count(other.body, `"id"`) != 1 || !strings.Contains(other.body, `"id":"2"`) {
			t.Errorf("from the cursor: %d %s", other.StatusCode, other.body)
		}
	}
	a = f.do("GET", "/events?poll="+a.Header.Get("Skein-Poll"), "", "Accept", mediaJSONBatch)
	if a.StatusCode != 200 || !strings.Contains(a.body, `"id":"2"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestFollowingAStreamGoesOnWithWhatComes(t *testing.T) {
	f := serveNode(t)
	f.keepOrders(2)
	req, err := http.NewRequestWithContext(t.Context(), "GET", f.url+"/streams/orders/events?follow=true&count=4", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	next := func() string {
		for lines.Scan() {
			if lines.Text() == "" {
				continue // a sign of life
			}
			var l streamLine
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil || l.Cursor == "" || l.Time.IsZero() {
				t.Fatalf("%s: %v", lines.Text(), err)
			}
			envelope, err := event.AppendFromJSON(nil, l.Event)
			var ev event.Event
			if err := errors.Join(err, ev.Scan(envelope)); err != nil {
				t.Fatal(err)
			}
			return ev.ID()
		}
		return "over"
	}
	for i := range 4 {
		if i >= 2 {
			f.keepOrder(i)
		}
		if got := next(); got != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, got)
		}
	}
	if got := next(); got != "over" {
		t.Errorf("after the count comes %s", got)
	}
}
