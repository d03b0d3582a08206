package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/time/rate"
)

// resource is a path and what it takes.
type resource struct {
	path    string // as the OpenAPI document has it
	methods map[string]action
	allow   string // the methods, for Allow
	spaced  bool   // it is there below /namespaces/{namespace}, too
	ingress bool   // events are posted here: OPTIONS consents to webhooks
}

// action is a method of a resource: the right it needs, and what it does. The
// namespace is empty where the path has none. A returned error is answered as
// a problem; nothing may have been written then.
type action struct {
	right Right
	serve func(w *response, r *http.Request, namespace string) error
}

// route fills the table of resources: the only list of paths there is.
func (a *API) route() {
	publish := action{Publish, a.publish}
	subscribe := action{Subscribe, a.subscribe}
	a.paths = map[string]*resource{}
	events := a.add("/events", map[string]action{"POST": publish, "GET": subscribe})
	events.spaced, events.ingress = true, true
	root := a.add("/", map[string]action{"POST": publish, "GET": {0, a.welcome}, "HEAD": {0, a.welcome}})
	root.ingress = true
	for path, do := range map[string]action{
		"/healthz":        {0, a.healthz},
		"/readyz":         {0, a.readyz},
		"/openapi.json":   {0, a.openapi},
		"/metrics":        {Inspect, a.serveMetrics},
		"/mesh/topology":  {Inspect, a.meshTopology},
		"/mesh/nodes":     {Inspect, a.meshNodes},
		"/mesh/links":     {Inspect, a.meshLinks},
		"/mesh/interests": {Inspect, a.meshInterests},
		"/mesh/route":     {Inspect, a.meshRoute},
	} {
		a.add(path, map[string]action{"GET": do, "HEAD": do})
	}
	if a.streams != nil {
		a.routeStreams()
		a.routeDrain()
	}
	if a.native != nil {
		a.add("/native", map[string]action{"GET": {Publish | Subscribe | anywhere, a.serveNative}})
	}
}

func (a *API) add(path string, methods map[string]action) *resource {
	res := &resource{path: path, methods: methods}
	for _, m := range []string{"POST", "OPTIONS", "GET", "HEAD", "DELETE"} {
		if _, ok := methods[m]; ok || m == "OPTIONS" {
			if res.allow != "" {
				res.allow += ", "
			}
			res.allow += m
		}
	}
	a.paths[path] = res
	return res
}

// lookup finds a path's resource and the namespace in it.
func (a *API) lookup(path string) (_ *resource, namespace string) {
	namespace, path = splitNamespace(path)
	path, _ = streamPath(path)
	res := a.paths[path]
	if res == nil || namespace != "" && !res.spaced {
		return nil, ""
	}
	return res, namespace
}

// splitNamespace takes the namespace off the front of a path that has one.
func splitNamespace(path string) (namespace, rest string) {
	below, ok := strings.CutPrefix(path, "/namespaces/")
	if !ok {
		return "", path
	}
	slash := strings.IndexByte(below, '/')
	if slash <= 0 {
		return "", path
	}
	return below[:slash], below[slash:]
}

// documented lists the paths as the OpenAPI document must have them.
func (a *API) documented() (list []string) {
	for path, res := range a.paths {
		list = append(list, path)
		if res.spaced {
			list = append(list, "/namespaces/{namespace}"+path)
		}
	}
	slices.Sort(list)
	return list
}

// options answers OPTIONS: what the path takes and, for a sender that means to
// deliver here as to a webhook, the consent to that. Consent is no right: the
// sender's POST is checked all the same.
func (res *resource) options(w *response, r *http.Request, quota *rate.Limiter) error {
	h := w.Header()
	h.Set("Allow", res.allow)
	if res.ingress {
		h.Set("Accept-Post", acceptPost)
		if origin := r.Header.Get("WebHook-Request-Origin"); origin != "" {
			if len(origin) > 255 {
				origin = "*"
			}
			h.Set("WebHook-Allowed-Origin", origin)
			if asked := r.Header.Get("WebHook-Request-Rate"); asked != "" {
				h.Set("WebHook-Allowed-Rate", allowedRate(asked, quota))
			}
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// allowedRate is a webhook's rate in requests a minute: what was asked for,
// within the quota; "*", no limit, where there is none.
func allowedRate(asked string, quota *rate.Limiter) string {
	if quota == nil {
		return "*"
	}
	most := int(quota.Limit() * 60)
	if n, err := strconv.Atoi(asked); err == nil && n > 0 && n < most {
		return asked
	}
	return strconv.Itoa(most)
}

func (a *API) serveNative(w *response, r *http.Request, _ string) error {
	a.native.ServeHTTP(w, r)
	return nil
}
