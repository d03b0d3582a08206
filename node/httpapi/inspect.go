package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/event"
)

// Inspector answers what people and tools ask about the mesh.
type Inspector interface {
	Topology(ctx context.Context) node.Topology
	NodeViews() []node.NodeView
	LinkViews() []node.LinkView
	InterestViews() []node.InterestView
	Route(namespace string, ev *event.Event) (node.RouteReport, error)
	Stats() node.Stats
}

// answerJSON answers 200 with a value. Nothing was written before it.
func answerJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return answer200(w, "application/json", append(body, '\n'))
}

// answer200 writes a whole answer. The client's going away is no error.
func answer200(w http.ResponseWriter, contentType string, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.Write(body) //nolint:errcheck // the client is gone: nobody to tell
	return nil
}

func (a *API) meshTopology(w *response, r *http.Request, _ string) error {
	return answerJSON(w, a.inspect.Topology(r.Context()))
}

func (a *API) meshNodes(w *response, _ *http.Request, _ string) error {
	return answerJSON(w, listOf(a.inspect.NodeViews()))
}

func (a *API) meshLinks(w *response, _ *http.Request, _ string) error {
	return answerJSON(w, listOf(a.inspect.LinkViews()))
}

func (a *API) meshInterests(w *response, _ *http.Request, _ string) error {
	return answerJSON(w, listOf(a.inspect.InterestViews()))
}

// listOf makes an empty list of none, for JSON.
func listOf[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// meshRoute says where an event would go: one with the attributes of the
// query (type and source; subject, and ext=NAME=VALUE any number of times),
// seen from the node that is asked or, with at, from another one, whose HTTP
// face the client is sent to.
func (a *API) meshRoute(w *response, r *http.Request, _ string) error {
	values, err := parseValues(r)
	if err != nil {
		return err
	}
	if at := values.Get("at"); at != "" {
		elsewhere, err := a.findNode(at)
		if err != nil {
			return err
		}
		if elsewhere != "" {
			values.Del("at")
			to := url.URL{Scheme: schemeOf(r), Host: elsewhere, Path: r.URL.Path, RawQuery: values.Encode()}
			w.Header().Set("Location", to.String())
			w.WriteHeader(http.StatusTemporaryRedirect)
			return nil
		}
	}
	ev, err := exampleEvent(values)
	if err != nil {
		return err
	}
	report, err := a.inspect.Route(values.Get("namespace"), ev)
	if err != nil {
		return err
	}
	return answerJSON(w, report)
}

// findNode finds a node by ID or name: empty when it is the one asked, else
// the host and port of its HTTP face.
func (a *API) findNode(at string) (elsewhere string, err error) {
	for _, v := range a.inspect.NodeViews() {
		if v.Name != at && string(v.ID) != at {
			continue
		}
		if v.State == "self" {
			return "", nil
		}
		if v.HTTP == "" {
			return "", parameter("at", "names a node whose HTTP face is not known")
		}
		return v.HTTP, nil
	}
	return "", parameter("at", "names no node of the mesh: GET /mesh/nodes lists them")
}

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// exampleEvent is the event that a route is asked for.
func exampleEvent(values url.Values) (*event.Event, error) {
	attrs := map[string]string{"specversion": event.SpecVersion, "id": "route", "source": "/"}
	for name, given := range values {
		switch name {
		case "namespace", "at":
		case "type", "source", "subject":
			attrs[name] = given[0]
		case "ext":
			for _, kv := range given {
				k, v, ok := strings.Cut(kv, "=")
				if !ok || k == "" || k == "data" || k == "data_base64" {
					return nil, parameter("ext", "must be NAME=VALUE")
				}
				attrs[k] = v
			}
		default:
			return nil, parameter(excerpt(name), "is not known here; known are type, source, subject, ext, namespace, at")
		}
	}
	if attrs["type"] == "" {
		return nil, parameter("type", "is missing")
	}
	body, err := json.Marshal(attrs)
	if err != nil {
		return nil, err
	}
	envelope, err := event.AppendFromJSON(nil, body)
	if err != nil {
		return nil, err
	}
	var ev event.Event
	return &ev, ev.Scan(envelope)
}

// parseValues reads the query, whose syntax it checks.
func parseValues(r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, problemf(http.StatusBadRequest, "the query does not parse: %s", excerpt(err.Error()))
	}
	return values, nil
}

// healthz says that the process lives; readyz, that the node is part of its
// mesh, or why it is not.
func (a *API) healthz(w *response, _ *http.Request, _ string) error {
	return answer200(w, "text/plain; charset=utf-8", []byte("ok\n"))
}

func (a *API) readyz(w *response, _ *http.Request, _ string) error {
	if err := a.broker.Ready(); err != nil {
		return unavailable(strings.TrimPrefix(err.Error(), "node: "))
	}
	text := "ready\n"
	if unheard := a.streams.StreamsUnheard(); len(unheard) > 0 {
		text += "not heard yet, which streams these regions own: " + strings.Join(unheard, ", ") + "\n"
	}
	return answer200(w, "text/plain; charset=utf-8", []byte(text))
}

// welcome names the paths, for people and for programs.
func (a *API) welcome(w *response, _ *http.Request, _ string) error {
	return answerJSON(w, struct {
		Skein string   `json:"skein"`
		Paths []string `json:"paths"`
		API   string   `json:"api"`
	}{"a node of an event mesh: POST CloudEvents to /events, GET /events to receive them", a.documented(), "/openapi.json"})
}
