package httpapi

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
)

// gaps says what a subscriber is told where it missed events:
//
//	            (not given)             events                skip
//	SSE         event: gap              a dev.skein.gap event nothing
//	long poll   header Skein-Gap        a dev.skein.gap event nothing
//	WebSocket   close 1013 with JSON    a dev.skein.gap event nothing
//
// A WebSocket message is a CloudEvent by the binding, so a standard client
// would take anything else for a broken server, and would take an event that
// it did not ask for as one of its own. It asks for them, or it is told by the
// close, or it says that it does not care.
//
// A region of a stream that is out of reach is no gap. It is told in the same forms,
// but that a WebSocket is not closed for it:
//
//	            (not given)                   events                     skip
//	SSE         event: missing                a dev.skein.missing event  nothing
//	long poll   header Skein-Missing-Regions  both                       the header
//	WebSocket   that header of the handshake  a dev.skein.missing event  the header
type gaps uint8

const (
	gapsNative gaps = iota
	gapsEvents
	gapsSkip
)

func parseGaps(s string) (gaps, error) {
	switch s {
	case "":
		return gapsNative, nil
	case "events":
		return gapsEvents, nil
	case "skip":
		return gapsSkip, nil
	}
	return 0, parameter("gaps", "must be events or skip")
}

// GapType is the type of the event that stands for a gap, and MissingType of the one
// that says which regions of a stream are out of reach.
const (
	GapType     = "dev.skein.gap"
	MissingType = "dev.skein.missing"
)

// appendMissing writes, in JSON, which regions are out of reach.
func appendMissing(dst []byte, g *queue.Gap) []byte {
	regions := []string{}
	if g.Origin != "" {
		regions = strings.Split(g.Origin, ", ")
	}
	b, err := json.Marshal(map[string][]string{"regions": regions})
	if err != nil {
		return append(dst, "{}"...)
	}
	return append(dst, b...)
}

// gapReport is a gap's JSON: how many events of a subscription were lost (0 when
// nobody knows, and of those lost on the way at most so many), why, at which node
// they had been published if they were lost on the way, and when the first and
// the last of them came or were found missing.
type gapReport struct {
	Count  uint64    `json:"count"`
	Cause  string    `json:"cause"`
	Origin string    `json:"origin,omitempty"`
	From   time.Time `json:"from,omitzero"`
	To     time.Time `json:"to,omitzero"`
}

func reportOf(g *queue.Gap) gapReport {
	return gapReport{Count: g.Count, Cause: string(g.Cause), Origin: g.Origin, From: g.From.UTC(), To: g.To.UTC()}
}

// appendGap writes a gap's JSON, which has no line end.
func appendGap(dst []byte, g *queue.Gap) []byte {
	b, err := json.Marshal(reportOf(g))
	if err != nil { // a year beyond 9999
		return append(dst, "{}"...)
	}
	return append(dst, b...)
}

// gapReason is a gap's JSON as the reason of a close frame has it, which is short:
// without its times, and without the origin if that is too long a name.
func gapReason(g *queue.Gap) []byte {
	short := *g
	short.From, short.To = time.Time{}, time.Time{}
	b := appendGap(nil, &short)
	if len(b) > maxReason {
		short.Origin = ""
		b = appendGap(nil, &short)
	}
	return b
}

// gapHeader is a gap as the header Skein-Gap has it.
func gapHeader(g *queue.Gap) string {
	s := fmt.Sprintf("count=%d; cause=%v", g.Count, g.Cause)
	if g.Origin != "" {
		s += "; origin=" + g.Origin
	}
	return s
}

// gapEvent is a gap, or which regions are missing, as an event, for subscribers that
// asked for that.
func gapEvent(g *queue.Gap) (event.Event, error) {
	var b event.Builder
	b.SetString("id", rand.Text())
	b.Set("source", event.URIRefValue("/skein/subscriptions"))
	b.SetTime(g.To.UTC())
	b.SetString("datacontenttype", "application/json")
	if g.Cause == missing {
		b.SetString("type", MissingType)
		b.SetData(event.BinaryData, appendMissing(nil, g))
	} else {
		b.SetString("type", GapType)
		b.SetData(event.BinaryData, appendGap(nil, g))
	}
	return b.Event()
}
