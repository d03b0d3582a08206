package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/event"
)

// Broker is what publishing and subscribing need of a node. PublishWith keeps
// nothing of its slice and of the events' memory.
type Broker interface {
	PublishWith(ctx context.Context, namespace string, evs []event.Event, how node.PublishOptions) ([]node.Position, error)
	Subscribe(ctx context.Context, req node.SubscribeRequest) (*node.Subscription, error)
	Ready() error
}

// Config says what an API serves. The zero value of a field is its default.
type Config struct {
	// Broker takes events and subscriptions. Required.
	Broker Broker
	// Inspector answers what is asked under /mesh and /metrics. Required.
	Inspector Inspector
	// Streams keeps events. Without it its paths do not exist.
	Streams Streams
	// Log gets refusals of the network and bugs; nothing per event. Default:
	// discarded.
	Log *slog.Logger
	// MaxEvent bounds one event's envelope in bytes. Default 1 MiB.
	MaxEvent int
	// MaxBatch bounds the body of a batch in bytes. Default 16 MiB.
	MaxBatch int
	// QueueBytes bounds the queue of a subscriber. Default: the node's.
	QueueBytes int
	// EventsPerSecond bounds what is taken over HTTP from all senders together;
	// what is over it is answered 429. Default: no bound.
	EventsPerSecond int
	// Polls bounds the subscriptions kept between long polls. Default 1024.
	Polls int
	// Tokens are the bearer tokens that are let in. Without any, everybody is.
	Tokens []Token
	// Native serves GET /native, the upgrade to the native protocol. Without
	// it the path does not exist.
	Native http.Handler
	// Collectors are further metrics for /metrics.
	Collectors []prometheus.Collector
}

// API is the HTTP face of one node. It is an http.Handler for any number of
// goroutines. Close ends the subscriptions it serves.
type API struct {
	broker  Broker
	inspect Inspector
	streams Streams // may be nil
	native  http.Handler
	log     *slog.Logger

	maxEvent int
	maxBatch int
	queue    int           // bytes
	quota    *rate.Limiter // nil: no bound
	tokens   tokens
	paths    map[string]*resource
	metrics  http.Handler
	count    counters

	responses sync.Pool // *response
	scratch   sync.Pool // *scratch

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	polls  *polls

	starting sync.Mutex // nothing is added to wg once ctx has ended
	wg       sync.WaitGroup
}

// New makes the API of a node. Its Close must be called.
func New(cfg Config) *API {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxEvent <= 0 {
		cfg.MaxEvent = 1 << 20
	}
	if cfg.MaxBatch <= 0 {
		cfg.MaxBatch = 16 << 20
	}
	if cfg.Polls <= 0 {
		cfg.Polls = 1024
	}
	a := &API{
		broker: cfg.Broker, inspect: cfg.Inspector, streams: cfg.Streams, native: cfg.Native, log: cfg.Log,
		maxEvent: cfg.MaxEvent, maxBatch: max(cfg.MaxBatch, cfg.MaxEvent),
		queue: cfg.QueueBytes, tokens: newTokens(cfg.Tokens),
	}
	if n := cfg.EventsPerSecond; n > 0 {
		a.quota = rate.NewLimiter(rate.Limit(n), n)
	}
	a.responses.New = func() any { return new(response) }
	a.scratch.New = func() any { return new(scratch) }
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.polls = newPolls(cfg.Polls)
	a.wg.Go(func() { a.polls.reap(a.ctx) })
	a.metrics = a.newMetrics(cfg.Collectors)
	a.route()
	return a
}

// Close ends the subscriptions that the API serves: WebSockets are told that
// the node goes away, streams and polls end. It returns when the WebSockets and
// the API's own goroutines have ended. Requests that come later are answered 503.
func (a *API) Close() error {
	a.starting.Lock()
	a.cancel()
	a.starting.Unlock()
	a.polls.close()
	a.wg.Wait()
	return nil
}

// hold makes Close wait for a.wg.Done, unless Close was called.
func (a *API) hold() error {
	a.starting.Lock()
	defer a.starting.Unlock()
	if a.ctx.Err() != nil {
		return node.ErrClosed
	}
	a.wg.Add(1)
	return nil
}

// ServeHTTP answers one request. A panic in it is answered 500, or ends the
// connection where an answer has begun; the process goes on.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	res := a.responses.Get().(*response)
	res.ResponseWriter, res.status = w, 0
	defer func() {
		if p := recover(); p != nil {
			a.panicked(res, r, p)
		}
		a.count.request(res.status)
		res.ResponseWriter = nil
		a.responses.Put(res)
	}()
	if err := a.serve(res, r); err != nil {
		a.refuse(res, r, err)
	}
}

// serve finds the resource and calls its method.
func (a *API) serve(w *response, r *http.Request) error {
	res, namespace := a.lookup(r.URL.Path)
	if res == nil {
		return problemf(http.StatusNotFound, "no such path: GET / names those there are")
	}
	if r.Method == http.MethodOptions {
		return res.options(w, r, a.quota)
	}
	do, ok := res.methods[r.Method]
	if !ok {
		p := problemf(http.StatusMethodNotAllowed, "this path takes %s", res.allow)
		return p.with("Allow", res.allow)
	}
	if err := a.tokens.allow(r, do.right, namespace); err != nil {
		return err
	}
	if a.ctx.Err() != nil {
		return node.ErrClosed
	}
	return do.serve(w, r, namespace)
}

func (a *API) panicked(w *response, r *http.Request, p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	a.log.Error("a request met a bug", "method", r.Method, "path", excerpt(r.URL.Path), "panic", p, "stack", string(debug.Stack()))
	if w.status != 0 { // an answer has begun: it must not look whole
		w.status = http.StatusInternalServerError
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Connection", "close")
	a.refuse(w, r, problemf(http.StatusInternalServerError, "a bug in this node; its log has the details"))
}

// response remembers the status of the answer that passes through it.
type response struct {
	http.ResponseWriter
	status int
}

// WriteHeader and Write are those of the ResponseWriter below.
func (r *response) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController and the WebSocket upgrade through.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }
