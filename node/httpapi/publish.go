package httpapi

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/event"
)

// mode is how a request carries events: the content modes and formats of the
// CloudEvents HTTP binding.
type mode uint8

const (
	binaryMode mode = iota
	jsonMode
	protoMode
	jsonBatch
	protoBatch
)

// Media types of the structured and batch modes.
const (
	mediaJSON       = "application/cloudevents+json"
	mediaProto      = "application/cloudevents+protobuf"
	mediaJSONBatch  = "application/cloudevents-batch+json"
	mediaProtoBatch = "application/cloudevents-batch+protobuf"
	acceptPost      = mediaJSON + ", " + mediaProto + ", " + mediaJSONBatch + ", " + mediaProtoBatch + ", */*"
)

// publish takes the events of a POST: all of them, or none.
func (a *API) publish(w *response, r *http.Request, namespace string) error {
	m, err := modeOf(r.Header)
	if err != nil {
		return err
	}
	s := a.scratch.Get().(*scratch)
	defer a.release(s)
	body, err := s.read(r, a.bodyLimit(m))
	if err != nil {
		return err
	}
	events, err := a.decode(s, m, r.Header, body)
	if err != nil {
		return err
	}
	kept, err := a.take(r, namespace, events)
	if err != nil {
		return err
	}
	tellPositions(w.Header(), kept)
	if len(kept) > 0 || r.Header.Get(headerDurability) != "" {
		w.Header().Set(headerDurability, string(node.Reached(len(events), kept)))
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// take publishes decoded events within the quota. An empty batch is taken at
// any time. A batch that finds no room at its beginning is refused; one that
// finds none any more is taken all the same.
func (a *API) take(r *http.Request, namespace string, events []event.Event) ([]node.Position, error) {
	if len(events) == 0 {
		return nil, nil
	}
	how, err := optionsOf(r.Header)
	if err != nil {
		return nil, err
	}
	if err := a.withinQuota(len(events)); err != nil {
		return nil, err
	}
	kept, err := a.broker.PublishWith(r.Context(), namespace, events, how)
	if partial := (*node.PartialError)(nil); errors.As(err, &partial) && errors.Is(err, node.ErrOverloaded) {
		// Who is told to try again sends all of them again. What finds no room now is
		// told by a gap. No stream keeps any of them, or the node had refused none.
		how.Overflow = node.DropNewest
		_, err = a.broker.PublishWith(r.Context(), namespace, events[partial.Routed:], how)
	}
	if err != nil {
		return nil, err
	}
	a.count.accepted.Add(uint64(len(events)))
	return kept, nil
}

const (
	// headerPosition says where a stream keeps an event, as node.Position.String
	// writes it: one for each event and stream, in the order of the events.
	headerPosition = "Skein-Position"
	// headerKept is how many positions there are.
	headerKept = "Skein-Kept"
	// maxPositions bounds the headers of an answer: clients bound them, too. Of a
	// larger batch the first ones are told.
	maxPositions = 64
)

// tellPositions adds where events are kept to an answer.
func tellPositions(h http.Header, kept []node.Position) {
	if len(kept) == 0 {
		return
	}
	h.Set(headerKept, strconv.Itoa(len(kept)))
	for _, p := range kept[:min(len(kept), maxPositions)] {
		h.Add(headerPosition, p.String())
	}
}

const (
	// headerOverflow says what becomes of events for which there is no room.
	headerOverflow = "Skein-Overflow"
	// headerDurability says how safe events shall be before the answer, and, in the
	// answer, how safe all of them are.
	headerDurability = "Skein-Durability"
)

// optionsOf reads how to publish.
func optionsOf(h http.Header) (how node.PublishOptions, err error) {
	if how.Overflow, err = node.ParseOverflow(h.Get(headerOverflow)); err != nil {
		return how, problemf(http.StatusBadRequest, "the header %s: %s", headerOverflow, err)
	}
	if how.Durability, err = node.ParseDurability(h.Get(headerDurability)); err != nil {
		return how, problemf(http.StatusBadRequest, "the header %s: %s", headerDurability, err)
	}
	return how, nil
}

// withinQuota takes n events from the quota. A batch larger than a second's
// worth counts as a second's worth: it could never pass otherwise.
func (a *API) withinQuota(n int) error {
	if a.quota == nil {
		return nil
	}
	now := time.Now()
	res := a.quota.ReserveN(now, min(n, a.quota.Burst()))
	wait := res.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	res.CancelAt(now)
	return problemf(http.StatusTooManyRequests, "this node takes %v events a second over HTTP", a.quota.Limit()).
		with("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
}

// modeOf reads the mode from the headers, the longer media type first. A
// request that is no event at all gets 415.
func modeOf(h http.Header) (mode, error) {
	if enc := h.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return 0, problemf(http.StatusUnsupportedMediaType, "the content encoding %s is not taken: send the body as it is", excerpt(enc)).
			with("Accept-Encoding", "identity")
	}
	types := h["Content-Type"]
	if len(types) > 1 {
		p := problemf(http.StatusBadRequest, "the request has %d Content-Type headers", len(types))
		p.Errors = []ProblemError{{Attribute: "datacontenttype", Reason: "has more than one Content-Type header"}}
		return 0, p
	}
	const prefix = "application/cloudevents"
	if len(types) == 1 && len(types[0]) >= len(prefix) && strings.EqualFold(types[0][:len(prefix)], prefix) {
		return structuredMode(types[0])
	}
	if !event.HasHTTP(h) {
		return 0, unsupported("this is no CloudEvent: it has neither a CloudEvents Content-Type nor any ce- header")
	}
	return binaryMode, nil
}

func structuredMode(contentType string) (mode, error) {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	switch {
	case strings.EqualFold(media, mediaJSON):
		return jsonMode, nil
	case strings.EqualFold(media, mediaProto):
		return protoMode, nil
	case strings.EqualFold(media, mediaJSONBatch):
		return jsonBatch, nil
	case strings.EqualFold(media, mediaProtoBatch):
		return protoBatch, nil
	}
	return 0, unsupported("the format " + excerpt(media) + " is not taken")
}

func unsupported(detail string) *Problem {
	return problemf(http.StatusUnsupportedMediaType, "%s", detail).with("Accept", acceptPost)
}

// bodyLimit bounds a body in bytes. The limit on an event is on its envelope,
// which the decoder holds; text forms of it are larger: Base64 by a third,
// escapes by more.
func (a *API) bodyLimit(m mode) int {
	switch m {
	case binaryMode:
		return a.maxEvent
	case jsonMode, protoMode:
		return 2*a.maxEvent + 64<<10
	}
	return a.maxBatch
}

// decode makes events of a body. Single events live in s until its release,
// but their envelope is their own.
func (a *API) decode(s *scratch, m mode, h http.Header, body []byte) (_ []event.Event, err error) {
	d := event.Decoder{MaxEvent: a.maxEvent}
	switch m {
	case jsonBatch:
		return d.DecodeJSONBatch(body)
	case protoBatch:
		return d.DecodeProtoBatch(body)
	case jsonMode:
		s.envelope, err = d.AppendFromJSON(s.envelope[:0], body)
	case protoMode:
		s.envelope, err = d.AppendFromProto(s.envelope[:0], body)
	default:
		s.envelope, err = d.AppendHTTP(s.envelope[:0], h, body)
	}
	if err != nil {
		return nil, err
	}
	return s.single()
}
