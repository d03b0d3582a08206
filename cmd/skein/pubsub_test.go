package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/node/client"
)

// subscriber is a `skein sub` that runs beside the test.
type subscriber struct {
	out, errOut *safeBuffer
	ended       chan int
}

// subscribe starts `skein sub` and returns once its interest has spread.
func subscribe(t *testing.T, server string, args ...string) *subscriber {
	t.Helper()
	s := &subscriber{out: &safeBuffer{}, errOut: &safeBuffer{}, ended: make(chan int, 1)}
	args = append([]string{"sub", "--server", server, "--timeout", "20s"}, args...)
	go func() { s.ended <- run(t.Context(), args, strings.NewReader(""), s.out, s.errOut) }()
	for !strings.Contains(s.errOut.String(), "subscribed at") {
		select {
		case code := <-s.ended:
			t.Fatalf("sub ended with %d: %s", code, s.errOut)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return s
}

// lines waits for the end, and returns what was printed, as decoded JSON.
func (s *subscriber) lines(t *testing.T) (events []map[string]any) {
	t.Helper()
	if code := <-s.ended; code != exitDone {
		t.Fatalf("sub ended with %d: %s", code, s.errOut)
	}
	for line := range strings.Lines(s.out.String()) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		events = append(events, e)
	}
	return events
}

func TestEventsReachASubscriberInAnotherRegion(t *testing.T) {
	eu, us := serveTwo(t)
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte{0xff, 0x00}, 0o600); err != nil {
		t.Fatal(err)
	}
	s := subscribe(t, us.HTTP, "--type", "order.>", "--count", "4")
	skein(t, "pub", "--server", eu.HTTP, "--type", "order.created", "--source", "/shop", "--id", "1",
		"--subject", "A-1", "--ext", "region=eu", "--data", `{"total": 42}`).want(t, exitDone)
	skeinIn(t, "from stdin", "pub", "--server", eu.HTTP, "--type", "order.noted", "--id", "2", "-").want(t, exitDone)
	skein(t, "pub", "--server", eu.HTTP, "--type", "order.photo", "--id", "3", "--file", file).want(t, exitDone)
	skein(t, "pub", "--server", eu.HTTP, "--type", "invoice.sent", "--id", "x").want(t, exitDone)
	skein(t, "pub", "--server", eu.HTTP, "--type", "order.bare", "--id", "4").want(t, exitDone)
	got := s.lines(t)
	if len(got) != 4 {
		t.Fatalf("got %d events: %v", len(got), got)
	}
	first := got[0]
	if first["id"] != "1" || first["subject"] != "A-1" || first["region"] != "eu" || fmt.Sprint(first["data"]) != "map[total:42]" {
		t.Errorf("first: %v", first)
	}
	if got[1]["data"] != "from stdin" || got[2]["data_base64"] != "/wA=" || got[3]["data"] != nil {
		t.Errorf("got %v", got[1:])
	}
}

func TestLinesArePublishedInOrderAndABadOneIsNamed(t *testing.T) {
	eu, us := serveTwo(t)
	var lines bytes.Buffer
	const n = 2000
	for i := range n {
		fmt.Fprintf(&lines, `{"specversion":"1.0","id":"%d","source":"/s","type":"line"}`+"\n", i)
	}
	s := subscribe(t, us.HTTP, "--type", "line", "--count", fmt.Sprint(n))
	r := skeinIn(t, lines.String(), "pub", "--server", eu.HTTP, "--ndjson", "-", "--json")
	r.want(t, exitDone)
	var p published
	if err := json.Unmarshal([]byte(r.out), &p); err != nil || p.Published != n || p.Bytes != int64(lines.Len()) {
		t.Errorf("got %+v, %v", p, err)
	}
	for i, e := range s.lines(t) {
		if e["id"] != fmt.Sprint(i) {
			t.Fatalf("event %d is %v", i, e["id"])
		}
	}
	file := filepath.Join(t.TempDir(), "bad.ndjson")
	if err := os.WriteFile(file, []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"line"}`+"\n\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	skein(t, "pub", "--server", eu.HTTP, "--ndjson", file).want(t, exitFailed, "line 3: ", "1 event before it published")
	skein(t, "pub", "--server", eu.HTTP, "--ndjson", "/does/not/exist").want(t, exitFailed, "/does/not/exist")
}

func TestSubscriberChoosesByFilter(t *testing.T) {
	eu, us := serveTwo(t)
	s := subscribe(t, us.HTTP, "--filter", "total > 100 AND region = 'eu'", "--source", "/shop", "--count", "1")
	for i, ext := range [][]string{{"total=7", "region=eu"}, {"total=700", "region=us"}, {"total=700", "region=eu"}} {
		skein(t, "pub", "--server", eu.HTTP, "--type", "t", "--source", "/shop", "--id", fmt.Sprint(i), "--ext", ext[0], "--ext", ext[1]).want(t, exitDone)
	}
	if got := s.lines(t); len(got) != 1 || got[0]["id"] != "2" {
		t.Errorf("got %v", got)
	}
	skein(t, "sub", "--server", us.HTTP, "--filter", "total >").want(t, exitFailed, "at byte 7")
	skein(t, "sub", "--server", us.HTTP, "--type", "a..b").want(t, exitFailed)
}

func TestNamespacesAreApart(t *testing.T) {
	eu, us := serveTwo(t)
	s := subscribe(t, us.HTTP, "--namespace", "blue", "--count", "1")
	skein(t, "pub", "--server", eu.HTTP, "--type", "t", "--id", "red").want(t, exitDone)
	skein(t, "pub", "--server", eu.HTTP, "--type", "t", "--id", "blue", "--namespace", "blue").want(t, exitDone)
	if got := s.lines(t); got[0]["id"] != "blue" {
		t.Errorf("got %v", got)
	}
}

func TestSubscriberThatGetsTooLittleFails(t *testing.T) {
	n := serveNode(t)
	skein(t, "sub", "--server", n.HTTP, "--count", "1", "--timeout", "50ms").want(t, exitFailed, "0 of 1 event")
	skein(t, "sub", "--server", n.HTTP, "--timeout", "50ms").want(t, exitDone)
}

func TestPublishingWhatMakesNoSenseIsWrongUsage(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--type", "t", "--data", "x", "--file", "y"},
		{"--type", "t", "--ndjson", "x"},
		{"--type", "t", "data"},
		{"--type", "t", "--ext", "NOPE=1"},
		{"--type", "t", "--ext", "x"},
		{"--type", "t", "--source", ""},
	} {
		skein(t, append([]string{"pub"}, args...)...).want(t, exitUsage)
	}
	skein(t, "pub", "--type", "t", "--server", "http://127.0.0.1:1").want(t, exitFailed, "no node answers", "skein serve")
	skein(t, "pub", "--type", "t", "--server", "ftp://x").want(t, exitUsage, "--server")
}

func TestInspectionPrintsForPeopleAndPrograms(t *testing.T) {
	eu, us := serveTwo(t)
	subscribe(t, us.HTTP, "--type", "order.>")
	for _, c := range []struct {
		args []string
		want []string // in the text
		into any
	}{
		{[]string{"topology"}, []string{"eu-1", "us-1", "eu ── us"}, &node.Topology{}},
		{[]string{"nodes"}, []string{"eu-1", "us-1", "gateway", eu.Advertise}, &[]node.NodeView{}},
		{[]string{"links"}, []string{"eu-1 (eu)", "us-1 (us)", "up"}, &[]node.LinkView{}},
		{[]string{"links", "--all"}, []string{"eu-1 (eu)", "us-1 (us)", "up"}, &[]node.LinkView{}},
		{[]string{"interests"}, []string{"region", "us", "order.>"}, &[]node.InterestView{}},
		{[]string{"route", "--type", "order.created"}, []string{"published at eu-1", "us-1"}, &node.RouteReport{}},
		{[]string{"route", "--type", "order.created", "--at", "us-1"}, []string{"published at us-1", "1 subscription"}, &node.RouteReport{}},
		{[]string{"route", "--type", "other"}, []string{"nobody wants it"}, &node.RouteReport{}},
	} {
		args := append(c.args, "--server", eu.HTTP)
		r := skein(t, args...)
		r.want(t, exitDone)
		for _, w := range c.want {
			if !strings.Contains(r.out, w) {
				t.Errorf("%v: %q is not in\n%s", c.args, w, r.out)
			}
		}
		r = skein(t, append(args, "--json")...)
		r.want(t, exitDone)
		if err := json.Unmarshal([]byte(r.out), c.into); err != nil {
			t.Errorf("%v --json: %v in %s", c.args, err, r.out)
		}
	}
	skein(t, "route", "--server", eu.HTTP).want(t, exitUsage, "--type")
	skein(t, "route", "--server", eu.HTTP, "--type", "t", "--at", "nobody").want(t, exitFailed, "node")
}

func TestBenchmarksMeasure(t *testing.T) {
	eu, us := serveTwo(t)
	for _, args := range [][]string{
		{"bench", "pub", "--server", eu.HTTP, "--count", "500", "--publishers", "2", "--size", "64"},
		{"bench", "rtt", "--server", eu.HTTP, "--to", us.HTTP, "--count", "200", "--rate", "2000"},
	} {
		r := skein(t, append(args, "--json")...)
		r.want(t, exitDone)
		var m loaded
		if err := json.Unmarshal([]byte(r.out), &m); err != nil || m.Events < 200 || m.Rate <= 0 || m.Max <= 0 || m.Lost != 0 {
			t.Errorf("%v: %+v, %v", args, m, err)
		}
	}
	skein(t, "bench", "pub", "--server", eu.HTTP, "--duration", "0s").want(t, exitUsage)
	skein(t, "bench", "pub", "--server", eu.HTTP, "--size", "-1").want(t, exitUsage)
}

// No publisher's event is another's duplicate, nor one of an earlier run.
func TestAStreamKeepsAllThatBenchmarksPublish(t *testing.T) {
	eu, _ := serveTwo(t)
	skein(t, "stream", "create", "load", "--server", eu.HTTP, "--type", "skein.bench").want(t, exitDone)
	for range 2 {
		skein(t, "bench", "pub", "--server", eu.HTTP, "--count", "300", "--publishers", "3", "--size", "64").want(t, exitDone)
	}
	r := skein(t, "stream", "read", "load", "--server", eu.HTTP)
	r.want(t, exitDone)
	if got := strings.Count(r.out, `"specversion"`); got != 600 {
		t.Errorf("%d of 600 events are kept", got)
	}
}

func TestEventsAreDrawnInALineThatSteersNoTerminal(t *testing.T) {
	at := attributes{typ: "a.b", source: "/s", id: "1", subject: "x y"}
	ev, err := at.event([]byte("red \x1b[31m\n"), time.Date(2026, 5, 4, 12, 0, 0, 0, time.Local))
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{w: &bytes.Buffer{}}
	got := string(s.describe(nil, &ev, time.Now()))
	if want := `12:00:00.000  a.b  /s  x y  1  red \x1b[31m\n`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestGapsAreSaidWithCountAndCause(t *testing.T) {
	if got, want := gapText(client.Gap{Count: 3, Cause: "slow"}), "gap: 3 events lost (slow)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := gapText(client.Gap{Cause: client.Reconnect, From: time.Now(), To: time.Now()}); !strings.Contains(got, "nobody knows how many (reconnect) between") {
		t.Errorf("got %q", got)
	}
}
