package httpapi

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/node"
)

// document is what the tests need of the OpenAPI document.
type document struct {
	OpenAPI    string                                `json:"openapi"`
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components map[string]map[string]json.RawMessage `json:"components"`
}

func readDocument(t *testing.T) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(openapiDocument, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenAPIHasEveryRouteAndMethodAndNoOther(t *testing.T) {
	f := serveRecorder(t, func(c *Config, _ *ServerConfig) { c.Native = http.NotFoundHandler() })
	d := readDocument(t)
	for _, path := range f.api.documented() {
		res, _ := f.api.lookup(strings.ReplaceAll(path, "{namespace}", "x"))
		if res == nil {
			t.Fatalf("%s is documented and not served", path)
		}
		methods := []string{}
		for m := range res.methods {
			methods = append(methods, strings.ToLower(m))
		}
		if res.ingress {
			methods = append(methods, "options")
		}
		inDocument := []string{}
		for m := range d.Paths[path] {
			if m != "parameters" {
				inDocument = append(inDocument, m)
			}
		}
		slices.Sort(methods)
		slices.Sort(inDocument)
		if !slices.Equal(methods, inDocument) {
			t.Errorf("%s takes %v, the document says %v", path, methods, inDocument)
		}
		delete(d.Paths, path)
	}
	for path := range d.Paths {
		t.Errorf("%s is in the document and not served", path)
	}
}

func TestOpenAPIReferencesResolve(t *testing.T) {
	d := readDocument(t)
	for part := range strings.SplitSeq(string(openapiDocument), `"$ref": "#/components/`) {
		name, _, _ := strings.Cut(part, `"`)
		kind, name, ok := strings.Cut(name, "/")
		if !ok || strings.ContainsAny(kind, "{\n") {
			continue // before the first reference
		}
		if d.Components[kind][name] == nil {
			t.Errorf("nothing is at #/components/%s/%s", kind, name)
		}
	}
}

func TestOpenAPISchemasHaveTheFieldsThatAreSent(t *testing.T) {
	d := readDocument(t)
	for _, v := range []any{node.Topology{}, node.RegionView{}, node.NodeView{}, node.LinkView{}, node.InterestView{}, node.RouteReport{}, node.RouteNode{}, node.RouteHop{}, Problem{}, ProblemError{}, node.TrimmedError{}, node.StreamDefinition{}, node.StreamView{}, node.StreamLog{}, node.ReplicaView{}, node.StreamTrim{}, node.DrainView{}, streamLine{}} {
		typ := reflect.TypeOf(v)
		schemaName := strings.ToUpper(typ.Name()[:1]) + typ.Name()[1:]
		var schema struct {
			Properties map[string]json.RawMessage `json:"properties"`
			Required   []string                   `json:"required"`
		}
		if err := json.Unmarshal(d.Components["schemas"][schemaName], &schema); err != nil {
			t.Fatalf("%s: %v", typ.Name(), err)
		}
		for i := range typ.NumField() {
			name, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if name == "" {
				continue
			}
			if schema.Properties[name] == nil {
				t.Errorf("%s has no %s", typ.Name(), name)
			}
			if required := slices.Contains(schema.Required, name); required == strings.Contains(options, "omitempty") {
				t.Errorf("%s: %s required: %v", typ.Name(), name, required)
			}
			delete(schema.Properties, name)
		}
		for name := range schema.Properties {
			t.Errorf("%s has a %s that is never sent", typ.Name(), name)
		}
	}
}

func TestOpenAPIParametersAreThoseThatAreTaken(t *testing.T) {
	d := readDocument(t)
	taken := append([]string{"barrier", "wait", "gaps", "max", "poll", "mode", "stream", "from", "count", "follow", "partial", "order", "hold"}, filterParameters...)
	for name, raw := range d.Components["parameters"] {
		var p struct{ In string }
		if err := json.Unmarshal(raw, &p); err != nil {
			t.Fatal(err)
		}
		if p.In == "query" && !slices.Contains(taken, name) {
			t.Errorf("%s is documented and not taken", name)
		}
	}
	for _, name := range taken {
		if d.Components["parameters"][name] == nil {
			t.Errorf("%s is taken and not documented", name)
		}
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	f := serveRecorder(t)
	a := f.do("GET", "/openapi.json", "")
	var d document
	if err := json.Unmarshal([]byte(a.body), &d); err != nil || d.OpenAPI != "3.1.0" {
		t.Errorf("%d %q: %v", a.StatusCode, d.OpenAPI, err)
	}
}
