package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"
)

// The native client protocol: what a program and its node say to each other on
// one stream, over TCP, a unix socket or QUIC. Both begin with a Greet frame;
// the client sends on without waiting for the node's.
//
//	greet:       JSON of a Greeting                              both ways
//	publish:     first (uvarint) | namespace | event …           client → node
//	ack:         last (uvarint)                                  node → client
//	nack:        first (uvarint) | count (uvarint) | code | reason
//	subscribe:   sid (uvarint) | JSON of a Subscribe             client → node
//	subscribed:  sid | region …                                  node → client
//	events:      sid | event …                                   node → client
//	gap:         sid | count (uvarint) | from | to (varint, Unix ns) | cause | origin
//	credit:      sid | bytes (uvarint)                           client → node
//	unsubscribe: sid                                             client → node
//	ended:       sid | code | reason                             node → client
//	alive:       nothing                                         both ways
//	bye:         code | reason                                   both ways, last
//
// Further frames, of streams, are drawn in client_stream.go.
//
//	event:       length (uvarint) | envelope
//	namespace, region, code, reason, cause, origin: length (uvarint) | text
//
// Publishing. The client numbers its events without holes, across connections
// too; a frame names the number of its first. The node routes a frame's events
// in order and then acknowledges the frame: an ack says that every event up to
// last was routed, but for those that a nack named before. Acks fall on the
// ends of publish frames only.
//
// Subscribing. The client chooses sids and never uses one twice for different
// subscriptions. A subscribe is answered by subscribed or by ended; an
// unsubscribe by ended. The node sends a subscription's events only while it
// has credit: what the Subscribe gave and credit frames add, less the bytes of
// the bodies of its events frames; the last frame may overdraw it. So a slow
// reader fills its own queue at the node and nothing else.
//
// Either side sends an alive, which has no answer, at the latest when it had
// nothing to send for AliveEvery, and takes the other for dead when nothing came
// for DeadAfter. The 64 bytes in it mean nothing: over QUIC, a node that has
// restarted answers no shorter packet with a reset.
const (
	Greet       Kind = 0x40
	Publish     Kind = 0x41
	Ack         Kind = 0x42
	Nack        Kind = 0x43
	Subscribe   Kind = 0x44
	Subscribed  Kind = 0x45
	Events      Kind = 0x46
	Gap         Kind = 0x47
	Credit      Kind = 0x48
	Unsubscribe Kind = 0x49
	Ended       Kind = 0x4a
	Bye         Kind = 0x4b
	Alive       Kind = 0x4c
)

// ClientVersion is the version of the native client protocol, ClientProtocol
// its name in an HTTP upgrade.
const (
	ClientVersion  = 1
	ClientProtocol = "skein/1"
)

// Bounds of client frames.
const (
	MaxBatch   = 64 << 10 // bytes after which a publish or events frame takes no further event
	MaxControl = 64 << 10 // bytes of any frame but publish and events
	MaxReason  = 1 << 10  // bytes of a reason; longer ones are cut
	maxCode    = 32
)

// Silence: when to send an Alive, and when to end the connection.
const (
	AliveEvery = 2 * time.Second
	DeadAfter  = 20 * time.Second
)

// AppendAlive appends an alive frame.
func AppendAlive(dst []byte) []byte {
	var body [64]byte
	return AppendFrame(dst, Alive, body[:])
}

// Code says, for programs, why something was refused or ended.
type Code string

const (
	CodeVersion   Code = "version"       // the other side speaks a version that this one does not
	CodeProtocol  Code = "protocol"      // what came is not this protocol
	CodeTooLarge  Code = "too-large"     // a frame or an event exceeds its bound
	CodeInvalid   Code = "invalid-event" // not a valid CloudEvent
	CodeFilter    Code = "bad-filter"
	CodeNamespace Code = "bad-namespace"
	CodeRequest   Code = "bad-request"
	CodeTooMany   Code = "too-many" // subscriptions of one session
	CodeNotReady  Code = "not-ready"
	CodeBusy      Code = "busy"    // RESOURCE_EXHAUSTED: there was no room in time
	CodeSlow      Code = "slow"    // the subscriber did not keep up, and wanted to be ended then
	CodeDone      Code = "done"    // as asked
	CodeClosing   Code = "closing" // the node leaves or stops
	CodeIdle      Code = "idle"    // nothing was heard for too long
	CodeDenied    Code = "denied"
	CodeInternal  Code = "internal"
)

// Greeting is the body of a Greet frame. Fields that the reader does not know
// are skipped, so they can be added within a version.
type Greeting struct {
	Version int    `json:"version"`
	Agent   string `json:"agent,omitempty"` // who speaks, for people

	// From the client only: what becomes of events for which there is no room.
	Overflow string `json:"overflow,omitempty"`
	// From the client only: it wants kept frames, see client_stream.go.
	Positions bool `json:"positions,omitempty"`
	// From the client only: it wants held frames, too.
	Held bool `json:"held,omitempty"`
	// From the client only: how safe its events shall be when they are acknowledged.
	Durability string `json:"durability,omitempty"`

	// From the node only.
	Node     string `json:"node,omitempty"`
	Name     string `json:"name,omitempty"`
	Region   string `json:"region,omitempty"`
	MaxEvent int    `json:"maxEvent,omitempty"` // bytes of an envelope
	Streams  bool   `json:"streams,omitempty"`  // it can be asked to read them
	Reads    bool   `json:"reads,omitempty"`    // and knows all that a Read can say
}

// Request is what a Subscribe frame asks for.
type Request struct {
	Namespace  string          `json:"namespace,omitempty"`
	Filter     json.RawMessage `json:"filter,omitempty"` // Subscriptions API dialects; none means all events
	Barrier    string          `json:"barrier,omitempty"`
	WaitMs     int64           `json:"waitMs,omitempty"`
	QueueBytes int             `json:"queueBytes,omitempty"`
	Slow       string          `json:"slow,omitempty"` // what becomes of a subscriber that does not keep up: gap or disconnect
	Label      string          `json:"label,omitempty"`
	Credit     int             `json:"credit"` // bytes the node may send at once
}

// Loss is what a Gap frame tells: events that the subscription should have got
// and never will.
type Loss struct {
	Count    uint64 // at most; 0 when nobody knows
	From, To time.Time
	Cause    string
	Origin   string // the node where they had been published, if they were lost on the way
}

// Refusal is why something was refused or ended. It is an error.
type Refusal struct {
	Code   Code
	Reason string
}

// Error is the reason and the code.
func (r *Refusal) Error() string {
	if r.Reason == "" {
		return string(r.Code)
	}
	return fmt.Sprintf("%s (%s)", r.Reason, r.Code)
}

// AppendGreeting appends a greet frame.
func AppendGreeting(dst []byte, g Greeting) []byte { return AppendFrame(dst, Greet, mustJSON(g)) }

// mustJSON encodes what JSON can express, as all that is given to it here.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("wire: encode a %T: %v", v, err))
	}
	return b
}

// ReadGreeting reads the body of a Greet frame.
func ReadGreeting(body []byte) (g Greeting, err error) {
	if err := json.Unmarshal(body, &g); err != nil {
		return g, fmt.Errorf("%w: greeting: %w", ErrMalformed, err)
	}
	return g, nil
}

// lengthRoom is reserved for the length of a frame that is still growing.
const lengthRoom = 4

// BeginPublish begins a publish frame at the end of dst. AppendEvent adds
// events to it; EndEvents makes it whole.
func BeginPublish(dst []byte, first uint64, namespace string) []byte {
	dst = append(dst, byte(Publish), 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, first)
	if namespace == DefaultNamespace {
		namespace = ""
	}
	return appendText(dst, namespace)
}

// BeginEvents begins an events frame at the end of dst.
func BeginEvents(dst []byte, sid uint64) []byte {
	dst = append(dst, byte(Events), 0, 0, 0, 0)
	return binary.AppendUvarint(dst, sid)
}

// AppendEvent adds an event to the frame that dst ends with.
func AppendEvent(dst, envelope []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(envelope)))
	return append(dst, envelope...)
}

// EndEvents writes the length of the publish or events frame that begins at
// start and ends with buf. More events may be added, and the frame ended again.
// It returns the size of the frame's body.
func EndEvents(buf []byte, start int) int {
	body := len(buf) - start - 1 - lengthRoom
	PutLength(buf[start+1:start+1+lengthRoom], body)
	return body
}

// ReadPublish reads the body of a publish frame: the number of its first
// event, the namespace, and the events for NextEvent. All are views of body.
func ReadPublish(body []byte) (first uint64, namespace string, events []byte, err error) {
	first, n, err := readLength(body)
	if err != nil {
		return 0, "", nil, err
	}
	namespace, m, err := readText(body[n:], MaxNamespace)
	if err != nil {
		return 0, "", nil, err
	}
	if namespace == "" {
		namespace = DefaultNamespace
	}
	return first, namespace, body[n+m:], nil
}

// ReadEvents reads the body of an events frame.
func ReadEvents(body []byte) (sid uint64, events []byte, err error) {
	sid, n, err := readLength(body)
	if err != nil {
		return 0, nil, err
	}
	return sid, body[n:], nil
}

// NextEvent splits the first envelope off the events of a publish or events
// frame. Both results are views.
func NextEvent(events []byte) (envelope, rest []byte, err error) {
	size, n, err := readLength(events)
	if err != nil {
		return nil, nil, err
	}
	if size > uint64(len(events)-n) {
		return nil, nil, ErrTruncated
	}
	end := n + int(size)
	return events[n:end:end], events[end:], nil
}
