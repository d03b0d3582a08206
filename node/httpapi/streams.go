package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/skeinmesh/skein/node"
)

// Streams is what streams, and emptying a node of them, need of the node.
type Streams interface {
	CreateStream(ctx context.Context, d node.StreamDefinition) (node.StreamView, error)
	StreamViews(namespace string) ([]node.StreamView, error)
	Stream(ctx context.Context, namespace, name string) (node.StreamView, error)
	DeleteStream(ctx context.Context, namespace, name string) error
	UndeleteStream(ctx context.Context, namespace, name string) (missing []string, err error)
	TrimStream(ctx context.Context, namespace, name string, t node.StreamTrim) error
	ReadStream(ctx context.Context, q node.StreamRead) (*node.StreamReader, error)
	StreamsUnheard() []string
	Drain(ctx context.Context, drain bool) (node.DrainView, error)
	Drained() (node.DrainView, error)
}

// maxDefinition bounds the JSON that says what a stream is, in bytes.
const maxDefinition = 256 << 10

// routeStreams adds the paths of streams.
func (a *API) routeStreams() {
	for path, methods := range map[string]map[string]action{
		"/streams":                   {"GET": {Inspect, a.listStreams}, "POST": {Manage, a.createStream}},
		"/streams/{stream}":          {"GET": {Inspect, a.showStream}, "DELETE": {Manage, a.deleteStream}},
		"/streams/{stream}/undelete": {"POST": {Manage, a.undeleteStream}},
		"/streams/{stream}/trim":     {"POST": {Manage, a.trimStream}},
		"/streams/{stream}/events":   {"GET": {Subscribe, a.readStream}},
	} {
		a.add(path, methods).spaced = true
	}
}

// streamPath splits a path below a namespace into the one that the table of
// resources has, and the stream's name in it.
func streamPath(path string) (resource, name string) {
	rest, ok := strings.CutPrefix(path, "/streams/")
	if !ok {
		return path, ""
	}
	name, verb, more := strings.Cut(rest, "/")
	if name == "" {
		return path, ""
	}
	resource = "/streams/{stream}"
	if more {
		resource += "/" + verb
	}
	return resource, name
}

// streamName is the name of the stream that a request is about.
func streamName(r *http.Request) string {
	_, path := splitNamespace(r.URL.Path)
	_, name := streamPath(path)
	return name
}

func (a *API) listStreams(w *response, _ *http.Request, namespace string) error {
	views, err := a.streams.StreamViews(namespace)
	if err != nil {
		return err
	}
	return answerJSON(w, listOf(views))
}

func (a *API) showStream(w *response, r *http.Request, namespace string) error {
	view, err := a.streams.Stream(r.Context(), namespace, streamName(r))
	if err != nil {
		return err
	}
	return answerJSON(w, view)
}

// createStream makes a stream of a node.StreamDefinition in JSON.
func (a *API) createStream(w *response, r *http.Request, namespace string) error {
	var d node.StreamDefinition
	if err := a.readJSON(r, &d); err != nil {
		return err
	}
	if namespace != "" && d.Namespace != "" && d.Namespace != namespace {
		return problemf(http.StatusBadRequest, "the path says namespace %s, the body another", excerpt(namespace))
	}
	if namespace != "" {
		d.Namespace = namespace
	}
	if err := a.tokens.allow(r, Manage, d.Namespace); err != nil {
		return err
	}
	view, err := a.streams.CreateStream(r.Context(), d)
	if err != nil {
		return err
	}
	body, err := json.Marshal(view)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Location", "/namespaces/"+url.PathEscape(view.Namespace)+"/streams/"+url.PathEscape(view.Name))
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	tellMissing(h, view.Missing)
	w.WriteHeader(http.StatusCreated)
	w.Write(append(body, '\n')) //nolint:errcheck // the client is gone: nobody to tell
	return nil
}

// tellMissing names who does not know a stream yet that was made.
func tellMissing(h http.Header, missing []string) {
	if len(missing) > 0 {
		h.Set(headerMissing, strings.Join(missing, ", "))
	}
}

func (a *API) deleteStream(w *response, r *http.Request, namespace string) error {
	if err := a.streams.DeleteStream(r.Context(), namespace, streamName(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) undeleteStream(w *response, r *http.Request, namespace string) error {
	missing, err := a.streams.UndeleteStream(r.Context(), namespace, streamName(r))
	if err != nil {
		return err
	}
	tellMissing(w.Header(), missing)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// trimStream drops the events of one log before an offset. Nothing has a default
// that could drop more than was meant.
func (a *API) trimStream(w *response, r *http.Request, namespace string) error {
	var t struct {
		Region    string  `json:"region"`
		Partition *uint32 `json:"partition"`
		Before    *int64  `json:"before"`
	}
	if err := a.readJSON(r, &t); err != nil {
		return err
	}
	if t.Partition == nil || t.Before == nil {
		return problemf(http.StatusBadRequest, "partition and before are needed: which log, and the offset of the first event to keep")
	}
	trim := node.StreamTrim{Region: t.Region, Partition: *t.Partition, Before: *t.Before}
	if err := a.streams.TrimStream(r.Context(), namespace, streamName(r), trim); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// readJSON reads a body that is one JSON object. What it has that v has not is
// refused: a mistyped limit must not be none.
func (a *API) readJSON(r *http.Request, v any) error {
	s := a.scratch.Get().(*scratch)
	defer a.release(s)
	body, err := s.read(r, maxDefinition)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return problemf(http.StatusBadRequest, "the body does not parse: %s", excerpt(strings.TrimPrefix(err.Error(), "json: ")))
	}
	if d.More() {
		return problemf(http.StatusBadRequest, "the body has more than one JSON value")
	}
	return nil
}
