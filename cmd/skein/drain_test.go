package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/node"
)

// A node of two is emptied, and only then is it said that it can be stopped; what the
// other is left with alone nobody can take over.
func TestANodeIsDrained(t *testing.T) {
	first := serveNode(t, "--name", "eu-1", "--region", "eu")
	second := serveNode(t, "--name", "eu-2", "--region", "eu", "--key-file", first.KeyFile, "--seeds", first.Advertise)
	skein(t, "stream", "create", "orders", "--server", first.HTTP).want(t, exitDone)
	skein(t, "pub", "--server", first.HTTP, "--type", "t", "--id", "1").want(t, exitDone)

	r := skein(t, "drain", "--server", first.HTTP)
	r.want(t, exitDone)
	if !strings.Contains(r.out, "nothing is left on node eu-1") {
		t.Errorf("drain: %s", r.out)
	}
	first.stop().want(t, exitDone)
	if r := skein(t, "stream", "read", "orders", "--server", second.HTTP); r.code != exitDone || strings.Count(r.out, "\n") != 1 {
		t.Errorf("the other has not what it kept: %+v", r)
	}

	skein(t, "drain", "--wait", "1ms", "--server", second.HTTP).
		want(t, exitFailed, "node eu-2 cannot be stopped for good yet: ", " replicas left: there is no other node to take them; it is drained on")
	r = skein(t, "drain", "--wait", "0s", "--json", "--server", second.HTTP)
	r.want(t, exitFailed)
	var view node.DrainView
	if err := json.Unmarshal([]byte(r.out), &view); err != nil || view.Node != "eu-2" || view.State != draining || view.Replicas < 2 || view.Others != 0 {
		t.Errorf("%v: %s", err, r.out)
	}
	if r := skein(t, "nodes", "--server", second.HTTP); !strings.Contains(r.out, draining) {
		t.Errorf("nodes does not say that it is draining: %s", r.out)
	}
	r = skein(t, "drain", "--undo", "--server", second.HTTP)
	r.want(t, exitDone)
	if r := skein(t, "nodes", "--server", second.HTTP); strings.Contains(r.out, draining) {
		t.Errorf("nodes says that it is draining: %s", r.out)
	}
	if !strings.Contains(r.out, "node eu-2 keeps and leads its share again") {
		t.Errorf("undo: %s", r.out)
	}
	if r := skein(t, "drain", "--undo", "--json", "--server", second.HTTP); !strings.Contains(r.out, `"active"`) {
		t.Errorf("it is not active: %s", r.out)
	}
	skein(t, "drain", "--server", "http://127.0.0.1:1").want(t, exitFailed, "no node answers")
}

func TestWhatIsLeftOnANodeIsSaid(t *testing.T) {
	for _, c := range []struct {
		v    node.DrainView
		want string
	}{
		{node.DrainView{}, ""},
		{node.DrainView{Others: 2}, ""},
		{node.DrainView{Replicas: 1, Others: 2}, "1 replica left"},
		{node.DrainView{Replicas: 3}, "3 replicas left: there is no other node to take them"},
		{node.DrainView{Waiting: 2}, "2 events for other regions left"},
		{node.DrainView{Replicas: 3, Waiting: 1, Others: 1}, "3 replicas and 1 event for other regions left"},
	} {
		if got := leftOn(c.v); got != c.want {
			t.Errorf("%+v: %q, want %q", c.v, got, c.want)
		}
	}
}
