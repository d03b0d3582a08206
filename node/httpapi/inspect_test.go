package httpapi

import (
	"strings"
	"testing"

	"github.com/skeinmesh/skein/node"
)

func TestRouteAsksForAnEventWithTheAttributesOfTheQuery(t *testing.T) {
	f := serveRecorder(t)
	a := f.do("GET", "/mesh/route?type=order.created&source=/a&subject=x+y&ext=partitionkey=k%3D1&namespace=n", "")
	if a.StatusCode != 200 || !strings.Contains(a.body, `"namespace":"n"`) {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	for name, want := range map[string]string{"type": "order.created", "source": "/a", "subject": "x y", "partitionkey": "k=1"} {
		wantAttr(t, f.broker.asked, name, want)
	}
	for query, attribute := range map[string]string{"": "type", "type=t&tpye=x": "tpye", "type=t&ext=x": "ext", "type=t&ext=data=x": "ext", "type=t&source=a%20b": "source", "type=t&at=nobody": "at"} {
		a := f.do("GET", "/mesh/route?"+query, "")
		f.wantStatus(a, 400)
		a.wantError(t, attribute)
	}
}

func TestRouteSendsTheClientToTheNodeThatIsAskedFor(t *testing.T) {
	f := serveRecorder(t)
	f.broker.nodes = []node.NodeView{{ID: "1", Name: "here", State: "self"}, {ID: "2", Name: "there", State: "up", HTTP: "127.0.0.1:9"}, {ID: "3", Name: "dark", State: "up"}}
	f.wantStatus(f.do("GET", "/mesh/route?type=t&at=here", ""), 200)
	for _, at := range []string{"there", "2"} {
		a := f.do("GET", "/mesh/route?at="+at+"&type=t", "")
		if a.StatusCode != 307 || a.Header.Get("Location") != "http://127.0.0.1:9/mesh/route?type=t" {
			t.Errorf("%d %q", a.StatusCode, a.Header.Get("Location"))
		}
	}
	a := f.do("GET", "/mesh/route?type=t&at=dark", "")
	f.wantStatus(a, 400)
	a.wantError(t, "at")
}

func TestListsOfNothingAreEmptyArrays(t *testing.T) {
	f := serveRecorder(t)
	for _, path := range []string{"/mesh/nodes", "/mesh/links", "/mesh/interests"} {
		if a := f.do("GET", path, ""); a.body != "[]\n" {
			t.Errorf("%s: %q", path, a.body)
		}
	}
}
