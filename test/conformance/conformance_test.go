// Package conformance holds the edge of Skein, where programs of others and
// people meet it, to its word: with the official CloudEvents SDKs as they are
// published, with the commands of the README as they stand there, and with what
// the programs of a mesh may rely on when a node dies or a region is cut off.
// Every node is a process of the skein binary, and what is published in one
// region is received in another.
package conformance

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/test/realmesh"
)

// patience bounds a whole exchange. It tells a broken one from a slow machine,
// and is no promise of the mesh's.
const patience = 2 * time.Minute

// twoRegions starts a mesh with a node in each of two regions.
func twoRegions(t *testing.T) (m *realmesh.Mesh, eu, us *realmesh.Node) {
	t.Helper()
	if testing.Short() {
		t.Skip("a mesh of processes takes its time")
	}
	m = realmesh.New(t, realmesh.Binary(t), 1, realmesh.Region{Name: "eu", Nodes: 1}, realmesh.Region{Name: "us", Nodes: 1})
	return m, m.Nodes[0], m.Nodes[1]
}

// awaitInterest waits until a node knows that a region wants something, of which
// a filter there speaks. On a machine that is busy enough a subscription's
// barrier may be over before.
func awaitInterest(ctx context.Context, t *testing.T, node, region, something string) {
	t.Helper()
	for {
		var known []struct{ Scope, Region, Filter string }
		get(ctx, t, node+"/mesh/interests", &known)
		for _, in := range known {
			if in.Scope == "region" && in.Region == region && strings.Contains(in.Filter, something) {
				return
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s does not learn that %s wants %s; it knows %v", node, region, something, known)
		}
	}
}

// get decodes the answer to a GET.
func get(ctx context.Context, t *testing.T, url string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, res.Status)
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
}

// bounded is the test's context with patience.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
