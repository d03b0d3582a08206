package httpapi

import "net/http"

// routeDrain adds the path that empties the node.
func (a *API) routeDrain() {
	show := action{Inspect, a.showDrain}
	a.add("/mesh/drain", map[string]action{
		"GET": show, "HEAD": show,
		"POST": {Manage | anywhere, a.drain(true)}, "DELETE": {Manage | anywhere, a.drain(false)},
	})
}

func (a *API) showDrain(w *response, _ *http.Request, _ string) error {
	view, err := a.streams.Drained()
	if err != nil {
		return err
	}
	return answerJSON(w, view)
}

// drain begins to empty the node, or takes that back, and answers how far that is
// without waiting for it.
func (a *API) drain(drain bool) func(*response, *http.Request, string) error {
	return func(w *response, r *http.Request, _ string) error {
		view, err := a.streams.Drain(r.Context(), drain)
		if err != nil {
			return err
		}
		return answerJSON(w, view)
	}
}
