package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/skeinmesh/skein/node"
)

// The recorder is drained, or not, as it was told last.

func (b *recorder) Drain(_ context.Context, drain bool) (node.DrainView, error) {
	b.mu.Lock()
	b.drained = drain
	b.mu.Unlock()
	return b.Drained()
}

func (b *recorder) Drained() (node.DrainView, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drained {
		return node.DrainView{State: "draining", Replicas: 3, Others: 2}, b.fail
	}
	return node.DrainView{State: "active", Replicas: 3, Others: 2}, b.fail
}

func TestANodeIsDrainedAndThatIsTakenBack(t *testing.T) {
	f := serveRecorder(t)
	for _, c := range []struct{ method, state string }{
		{"GET", "active"}, {"POST", "draining"}, {"GET", "draining"}, {"POST", "draining"}, {"DELETE", "active"}, {"GET", "active"},
	} {
		a := f.do(c.method, "/mesh/drain", "")
		f.wantStatus(a, 200)
		var view node.DrainView
		if err := json.Unmarshal([]byte(a.body), &view); err != nil || view != (node.DrainView{State: c.state, Replicas: 3, Others: 2}) {
			t.Errorf("%s: %v %s", c.method, err, a.body)
		}
	}
	for err, status := range map[error]int{node.ErrNotReady: 503, node.ErrNoLeader: 503, node.ErrRefused: 409} {
		f.broker.failWith(fmt.Errorf("node: drain: %w", err), nil)
		f.wantStatus(f.do("POST", "/mesh/drain", ""), status)
	}
	f.wantStatus(f.do("POST", "/namespaces/a/mesh/drain", ""), 404)
}

// A page in a browser of the node's machine reaches the node, and must not drain it, nor
// delete a stream. Who is no browser says nothing of where the request comes from.
func TestPagesOfOtherOriginsMayNotManage(t *testing.T) {
	f := serveRecorder(t)
	f.wantStatus(f.do("POST", "/mesh/drain", "", "Origin", "https://elsewhere.example", "Sec-Fetch-Site", "cross-site"), 403)
	if f.broker.drained {
		t.Error("it drains")
	}
	f.wantStatus(f.do("POST", "/mesh/drain", "", "Sec-Fetch-Site", "same-origin"), 200)
	f.wantStatus(f.do("GET", "/mesh/drain", "", "Sec-Fetch-Site", "cross-site"), 200)
}

// A node belongs to all namespaces: who may manage the streams of some drains none.
func TestDrainingTakesATokenForAllNamespaces(t *testing.T) {
	f := serveRecorder(t, func(c *Config, _ *ServerConfig) {
		c.Tokens = []Token{
			{Secret: "root"}, {Secret: "manages", Rights: Manage}, {Secret: "looks", Rights: Inspect},
			{Secret: "some", Rights: Manage | Inspect, Namespaces: []string{"default"}},
		}
	})
	for _, c := range []struct {
		token           string
		get, post, undo int
	}{
		{"root", 200, 200, 200}, {"manages", 403, 200, 200}, {"looks", 200, 403, 403}, {"some", 200, 403, 403}, {"nobody", 401, 401, 401},
	} {
		for method, want := range map[string]int{"GET": c.get, "POST": c.post, "DELETE": c.undo} {
			if a := f.do(method, "/mesh/drain", "", "Authorization", "Bearer "+c.token); a.StatusCode != want {
				t.Errorf("%s by %s: %d, want %d", method, c.token, a.StatusCode, want)
			}
		}
	}
}
