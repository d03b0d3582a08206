package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// A question to another region goes from node to node on the way that its events
// would take, and whoever is there first in that region answers it.

// abroad is a question to a region.
type abroad struct {
	Region string          `json:"region"`
	Kind   string          `json:"kind"`
	Body   json.RawMessage `json:"body"`
	Hops   int             `json:"hops"` // so far
	// Relay asks a node of the asker's region to be the relay, see relays.
	Relay bool `json:"relay,omitempty"`
	// Bulk says that the answer is large: it comes past the links on the way.
	Bulk bool `json:"bulk,omitempty"`
}

const (
	abroadKeep   = "keep"   // []abroadRecord → []Position: older nodes ask so, see bundle
	abroadRead   = "read"   // replication.Read → replication.Records in Base64: older nodes ask so
	abroadBlock  = "block"  // blockAsk → replication.Block, in its binary form
	abroadStream = "stream" // a stream's UUID → []StreamLog
	abroadEnds   = "ends"   // a stream's UUID → []logEnd
	abroadTrim   = "trim"   // logTrim → nothing
	abroadKnown  = "known"  // knownQuestion → who does not know the stream, []string
	abroadPurged = "purged" // a stream's UUID → whether the region knows that it is purged, bool

	maxAbroadHops = 16

	// unknownQuestion begins the refusal of a node that is older than a question. It
	// is part of the protocol.
	unknownQuestion = "unknown question"
)

// abroadAnswer is what came of a question.
type abroadAnswer struct {
	Code  string          `json:"code,omitempty"` // of an error that has one
	Error string          `json:"error,omitempty"`
	Start int64           `json:"start,omitempty"` // of a log that is trimmed
	Body  json.RawMessage `json:"body,omitempty"`
}

// askAbroad asks a region and reads the answer.
func (n *Node) askAbroad(ctx context.Context, to, kind string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	q, err := json.Marshal(abroad{Region: to, Kind: kind, Body: body})
	if err != nil {
		return err
	}
	b, err := n.passAbroad(ctx, to, q, false)
	return heardAbroad(to, b, err, answer)
}

// heardAbroad reads what a region has answered, unless there is an error.
func heardAbroad(to string, b []byte, err error, answer any) error {
	if errors.Is(err, ErrUnreachable) || errors.Is(err, ErrBusy) || errors.Is(err, transport.ErrTooLarge) {
		return err // nobody was asked
	}
	if err != nil {
		return fmt.Errorf("%w: region %s: %w", replication.ErrUnknown, to, err)
	}
	var a abroadAnswer
	if err := json.Unmarshal(b, &a); err != nil {
		return fmt.Errorf("%w: region %s: %w", replication.ErrUnknown, to, err)
	}
	if a.Error != "" {
		return a.err(to)
	}
	return json.Unmarshal(a.Body, answer)
}

// callFor is how a node is asked for little or, in bulk, for much.
func (n *Node) callFor(bulk bool) func(context.Context, peer.ID, wire.Kind, []byte) ([]byte, error) {
	if bulk {
		return n.net.CallBulk
	}
	return n.net.Call
}

// nextTo is the next node on the way to a region.
func (n *Node) nextTo(region string) (peer.ID, error) {
	hop := n.graph.Hop(region, 0)
	if hop.Next == "" {
		return "", fmt.Errorf("%w: no way leads to region %.80q now", ErrUnreachable, region)
	}
	return hop.Next, nil
}

// passAbroad hands a question to the next node on the way.
func (n *Node) passAbroad(ctx context.Context, region string, q []byte, bulk bool) ([]byte, error) {
	next, err := n.nextTo(region)
	if err != nil {
		return nil, err
	}
	answer, err := n.callFor(bulk)(ctx, next, kindAbroad, q)
	if errors.Is(err, transport.ErrBusy) { // it did not look at the question
		err = &busyError{err}
	}
	return answer, err
}

// busyError is an ErrBusy in the words of its cause: it is not of appends.
type busyError struct{ cause error }

func (e *busyError) Error() string   { return e.cause.Error() }
func (e *busyError) Unwrap() []error { return []error{ErrBusy, e.cause} }

func (n *Node) answerAbroad(ctx context.Context, body []byte) ([]byte, error) {
	var q abroad
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("the question to a region: %w", err)
	}
	if q.Kind == abroadBlock && (q.Relay || q.Region == n.self.Region) {
		return n.answerBlock(ctx, &q)
	}
	if q.Region != n.self.Region {
		if q.Hops++; q.Hops > maxAbroadHops {
			return nil, errors.New("the question has gone through too many nodes")
		}
		b, err := json.Marshal(q)
		if err != nil {
			return nil, err
		}
		answer, err := n.passAbroad(ctx, q.Region, b, q.Bulk)
		if errors.Is(err, ErrUnreachable) || errors.Is(err, ErrBusy) {
			return json.Marshal(refusalAbroad(err))
		}
		return answer, err
	}
	var result any
	var err error
	switch q.Kind {
	case abroadKeep:
		result, err = n.answerKeep(ctx, q.Body)
	case abroadRead:
		result, err = n.answerReadAbroad(ctx, q.Body)
	case abroadStream:
		result, err = n.answerStream(ctx, q.Body)
	case abroadEnds:
		result, err = n.answerEnds(ctx, q.Body)
	case abroadTrim:
		result, err = n.answerTrim(ctx, q.Body)
	case abroadKnown:
		result, err = n.answerKnown(ctx, q.Body)
	case abroadPurged:
		result, err = n.answerPurged(ctx, q.Body)
	default:
		err = fmt.Errorf("%s %q: is this node older than the asker?", unknownQuestion, q.Kind)
	}
	return replyAbroad(result, err)
}

// replyAbroad is the answer to a question: what came of it, or the error.
func replyAbroad(result any, err error) ([]byte, error) {
	var a abroadAnswer
	if err == nil {
		a.Body, err = json.Marshal(result)
	}
	if err != nil {
		a = refusalAbroad(err)
	}
	return json.Marshal(a)
}

// abroadErrors are the errors that stay what they are on their way, the one that
// says most first.
func abroadErrors() []abroadError {
	return []abroadError{
		{"unknown", ErrUnknown}, {"full", ErrFull}, {"busy", ErrBusy}, {"no leader", ErrNoLeader},
		{"unreachable", ErrUnreachable}, {"not kept", ErrNotKept}, {"no stream", ErrNoStream},
		{"invalid", ErrInvalid}, {"ahead", replication.ErrAhead}, {"not ready", ErrNotReady},
	}
}

type abroadError struct {
	code string
	is   error
}

func refusalAbroad(err error) abroadAnswer {
	a := abroadAnswer{Error: err.Error()}
	var trimmed *replication.TrimmedError
	if errors.As(err, &trimmed) {
		a.Code, a.Start = "trimmed", trimmed.Start
	}
	for _, e := range abroadErrors() {
		if a.Code == "" && errors.Is(err, e.is) {
			a.Code = e.code
		}
	}
	return a
}

func (a *abroadAnswer) err(region string) error {
	text := fmt.Errorf("region %s: %s", region, a.Error)
	if a.Code == "trimmed" {
		return fmt.Errorf("%w: %w", &replication.TrimmedError{Start: a.Start}, text)
	}
	for _, e := range abroadErrors() {
		if e.code == a.Code {
			return fmt.Errorf("%w: %w", e.is, text)
		}
	}
	return text
}

func (n *Node) answerReadAbroad(ctx context.Context, body []byte) (any, error) {
	var q replication.Read
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, err
	}
	m := n.streams.member.Load()
	if m == nil {
		return nil, errNoStreams
	}
	records, err := m.Read(ctx, q)
	if err != nil {
		return nil, err
	}
	return records.AppendTo(nil), nil
}

func (n *Node) answerStream(ctx context.Context, body []byte) (any, error) {
	var id meta.ID
	if err := json.Unmarshal(body, &id); err != nil {
		return nil, err
	}
	return n.streamLogs(ctx, id)
}
