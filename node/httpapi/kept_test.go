package httpapi

import (
	"strings"
	"testing"

	"github.com/skeinmesh/skein/node"
)

// How safe an event shall be is asked for, and how safe it is is told.
func TestPublishSaysHowSafeEventsAre(t *testing.T) {
	f := serveRecorder(t)
	at := func(p node.Position) []node.Position { return []node.Position{p} }
	for _, c := range []struct {
		ask    string
		asked  node.Durability
		kept   []node.Position
		told   string
		status int
	}{
		{"", node.Quorum, nil, "", 202},
		{"quorum", node.Quorum, nil, "routed", 202}, // no stream wants it
		{"", node.Quorum, at(node.Position{Offset: 3}), "quorum", 202},
		{"leader", node.Leader, at(node.Position{Offset: 3}), "quorum", 202},
		{"routed", node.Routed, at(node.Position{Routed: true}), "routed", 202},
		{"quorum", node.Quorum, at(node.Position{Waiting: true}), "waiting", 202},
		{"sure", "", nil, "", 400},
	} {
		f.broker.kept = c.kept
		headers := ceHeaders()
		if c.ask != "" {
			headers = append(headers, "Skein-Durability", c.ask)
		}
		a := f.do("POST", "/events", "", headers...)
		f.wantStatus(a, c.status)
		if c.status == 400 {
			if !strings.Contains(a.problem.Detail, "routed, leader or quorum") {
				t.Errorf("%s is refused with %s", c.ask, a.body)
			}
			continue
		}
		if got := a.Header.Get("Skein-Durability"); got != c.told || f.broker.how.Durability != c.asked {
			t.Errorf("%q: the node is asked for %q and %q is told, want %q and %q", c.ask, f.broker.how.Durability, got, c.asked, c.told)
		}
	}
}

func TestPublishSaysWhereEventsAreKept(t *testing.T) {
	f := serveRecorder(t)
	f.broker.kept = []node.Position{
		{Stream: "orders", Region: "eu", Partition: 1, Offset: 17},
		{Stream: "audit", Region: "us", Partition: 0, Offset: 3, Duplicate: true},
	}
	a := f.do("POST", "/events", "", ceHeaders()...)
	f.wantStatus(a, 202)
	if got := strings.Join(a.Header.Values("Skein-Position"), " "); got != "orders@eu/1/17 audit@us/0/3;duplicate" || a.Header.Get("Skein-Kept") != "2" {
		t.Errorf("kept %q at %q", a.Header.Get("Skein-Kept"), got)
	}
	f.broker.kept = make([]node.Position, 1000)
	a = f.do("POST", "/events", "", ceHeaders()...)
	if n := len(a.Header.Values("Skein-Position")); n != maxPositions || a.Header.Get("Skein-Kept") != "1000" {
		t.Errorf("%d positions of %q are told", n, a.Header.Get("Skein-Kept"))
	}
}
