package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skeinmesh/skein/node"
)

// headerMissing names the regions that had not confirmed a subscription's
// interest when its answer began, or, of a stream, those that are out of reach; or, of
// one that was made, those and the nodes, as region/node, that do not know it yet; joined
// by ", ".
const headerMissing = "Skein-Missing-Regions"

// mediaStream is the media type of Server-Sent Events.
const mediaStream = "text/event-stream"

// subscribe serves GET of events: as WebSocket when the request asks for that
// upgrade, else as its Accept says.
func (a *API) subscribe(w *response, r *http.Request, namespace string) error {
	if asksForWebSocket(r) {
		return a.webSocket(w, r, namespace)
	}
	switch media := accepted(r.Header.Values("Accept")); media {
	case mediaStream:
		return a.stream(w, r, namespace)
	case mediaJSONBatch, mediaProtoBatch:
		return a.poll(w, r, namespace, media)
	}
	return problemf(http.StatusNotAcceptable, "events come as %s, %s or %s, or over a WebSocket", mediaStream, mediaJSONBatch, mediaProtoBatch)
}

// accepted chooses among what a subscription can be sent as; the client's
// highest quality wins, then its first mention. Empty when nothing fits.
func accepted(accept []string) string {
	best, quality := "", 0.0
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			media, params, _ := strings.Cut(part, ";")
			media = strings.ToLower(strings.TrimSpace(media))
			switch media {
			case "*/*", "text/*":
				media = mediaStream
			case "application/*":
				media = mediaJSONBatch
			case mediaStream, mediaJSONBatch, mediaProtoBatch:
			default:
				continue
			}
			if q := qualityOf(params); q > quality {
				best, quality = media, q
			}
		}
	}
	if len(accept) == 0 {
		return mediaStream
	}
	return best
}

func qualityOf(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		if v, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(p)), "q="); ok {
			if q, err := strconv.ParseFloat(v, 64); err == nil {
				return q
			}
			return 0
		}
	}
	return 1
}

// Bounds of a subscription's parameters.
const (
	maxWait     = time.Minute
	defaultPoll = 20 * time.Second
	defaultMax  = 100
	maxMax      = 1000
)

// query is what the parameters of a subscription say.
type query struct {
	request node.SubscribeRequest
	wait    time.Duration // until the answer; 0: the face's default
	gaps    gaps
	max     int    // events in a poll's answer
	poll    string // the cursor of an earlier poll
	mode    string // of a WebSocket: both, publish or subscribe
	stream  string // that is read and followed; empty: what comes, live
	from    string // where reading of it begins
	filter  []byte // request.Filter in JSON
	order   node.Order
	hold    time.Duration
}

// filterParameters say which events are wanted; all that are given must hold.
var filterParameters = []string{"type", "source", "subject", "filter", "filters"}

// parseQuery reads the parameters that a face takes. One it does not know is
// refused: a mistyped filter must not subscribe to everything.
func parseQuery(r *http.Request, namespace string, face string, known ...string) (*query, error) {
	values, err := parseValues(r)
	if err != nil {
		return nil, err
	}
	known = append(known, filterParameters...)
	if err := onlyKnown(values, append(known, "stream", "from", "order", "hold", "barrier", "wait", "gaps", "slow")); err != nil {
		return nil, err
	}
	q := &query{
		max: defaultMax, poll: values.Get("poll"), mode: values.Get("mode"),
		stream: values.Get("stream"), from: values.Get("from"),
	}
	for _, name := range []string{"from", "order", "hold"} {
		if q.stream == "" && values.Has(name) {
			return nil, parameter(name, "goes with stream: only a stream keeps what was")
		}
	}
	if q.order, q.hold, err = parseOrder(values); err != nil {
		return nil, err
	}
	if q.wait, err = parseWait(values.Get("wait")); err != nil {
		return nil, err
	}
	if q.gaps, err = parseGaps(values.Get("gaps")); err != nil {
		return nil, err
	}
	if q.request.Slow, err = node.ParseSlow(values.Get("slow")); err != nil {
		return nil, parameter("slow", "must be gap or disconnect")
	}
	if s := values.Get("max"); s != "" {
		if q.max, err = strconv.Atoi(s); err != nil || q.max < 1 || q.max > maxMax {
			return nil, parameter("max", "must be a number from 1 to %d", maxMax)
		}
	}
	switch q.mode {
	case "":
		q.mode = "both"
	case "both", "publish", "subscribe":
	default:
		return nil, parameter("mode", "must be both, publish or subscribe")
	}
	if q.request.Barrier, err = node.ParseBarrier(values.Get("barrier")); err != nil {
		return nil, parameter("barrier", "must be none, region or mesh")
	}
	if q.filter, q.request.Filter, err = filterOf(values); err != nil {
		return nil, err
	}
	q.request.Namespace = namespace
	q.request.Label = face + " " + r.RemoteAddr
	return q, nil
}

// onlyKnown refuses parameters that are not known, or given more than once.
func onlyKnown(values url.Values, known []string) error {
	for name, given := range values {
		if !slices.Contains(known, name) {
			return parameter(excerpt(name), "is not known here; known are %s", strings.Join(known, ", "))
		}
		if len(given) > 1 {
			return parameter(name, "is given %d times", len(given))
		}
	}
	return nil
}

// parseWait reads a duration such as 2s or 500ms, or a number of milliseconds.
func parseWait(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if ms, e := strconv.Atoi(s); e == nil && ms <= int(maxWait/time.Millisecond) {
		d, err = time.Duration(ms)*time.Millisecond, nil
	}
	if err != nil || d < 0 || d > maxWait {
		return 0, parameter("wait", "must be a duration such as 2s, or milliseconds, up to %v", maxWait)
	}
	return max(d, time.Millisecond), nil
}

// open subscribes, and notes the regions that have not confirmed in the
// answer's header; or it begins to read a stream.
func (a *API) open(ctx context.Context, w http.ResponseWriter, r *http.Request, q *query) (source, error) {
	if q.stream != "" {
		return a.openReplay(ctx, w, r, q)
	}
	q.request.QueueBytes = a.queue
	sub, err := a.broker.Subscribe(ctx, q.request)
	if err != nil {
		return nil, err
	}
	if missing := sub.Missing(); len(missing) > 0 {
		w.Header().Set(headerMissing, strings.Join(missing, ", "))
	}
	return sub, nil
}

// untilClose is a context that ends with the request and with the API.
func (a *API) untilClose(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(a.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}
