package client

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skeinmesh/skein/transport/wire"
)

// Where to begin to read. A time as RFC 3339 writes it, an offset if the stream has
// one log, and the Cursor of a Reader will do, too.
const (
	Earliest = "earliest"
	Latest   = "latest"
)

// Stream is a stream of the client's namespace, by its name.
type Stream struct {
	client *Client
	name   string
}

// Stream names a stream. That there is one, Read finds out.
func (c *Client) Stream(name string) *Stream { return &Stream{c, name} }

// ReadOption changes how a stream is read.
type ReadOption func(*Reader)

// Follow goes on with what is kept, as it is. Without it, reading ends with what is
// there when it begins.
func Follow() ReadOption { return func(r *Reader) { r.ask.Follow = true } }

// WithReadBuffer bounds the bytes that are on their way or wait for Next. Default:
// DefaultBuffer.
func WithReadBuffer(bytes int) ReadOption {
	return func(r *Reader) { r.buffer = max(bytes, 1) }
}

// Matching reads the events that filter wants. It is evaluated in the regions that
// keep them: what it does not want crosses to no other region.
func Matching(filter Filter) ReadOption {
	return func(r *Reader) { r.ask.Filter = []byte(filter.String()) }
}

// OrderByTime hands out events in the order in which they were kept, by the clocks of the
// nodes that kept them; those of one key in a region are in order always. A reader
// that follows holds an event back for hold at most (0 is the node's default, 1 s),
// for one of an earlier time that comes later. Without it, a reader that follows hands
// out what comes as it comes, and one that does not is in order of time anyway.
func OrderByTime(hold time.Duration) ReadOption {
	return func(r *Reader) { r.ask.Order, r.ask.HoldMs = "time", hold.Milliseconds() }
}

// OrderByArrival hands out what comes as it comes, also without Follow.
func OrderByArrival() ReadOption { return func(r *Reader) { r.ask.Order = "arrival" } }

// Partial reads what can be read while a region is out of reach, which OnMissing
// tells; the Cursor keeps its place. Without it, a Read that does not follow ends with
// a *MissingError then. Follow means it, too, and goes on with the region when it is
// back.
func Partial() ReadOption { return func(r *Reader) { r.ask.Partial = true } }

// OnMissing is called from Next, in their place among the events, with the regions
// that cannot be read now, each time they are others; with none once all are read
// again. A read that does not follow leaves out to its end what was missing when it
// began. Default: it is logged.
func OnMissing(f func(regions []string)) ReadOption { return func(r *Reader) { r.onMissing = f } }

// MissingError ends a read that needs all regions: some are out of reach.
type MissingError struct {
	Stream  string
	Regions []string
}

// Error says which regions.
func (e *MissingError) Error() string {
	return fmt.Sprintf("client: stream %s: missing %s: out of reach now; what is kept there is not lost", e.Stream, strings.Join(e.Regions, ", "))
}

// Is makes every MissingError an ErrMissing.
func (e *MissingError) Is(target error) bool { return target == ErrMissing }

// tell hears which regions are missing.
func (r *Reader) tell(regions []string) {
	regions = slices.Clone(regions)
	r.put(frame{missing: &regions})
}

// told takes what is to be told before the next event, and reports whether that is
// known already.
func (r *Reader) told() (regions *[]string, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rest) > 0 || len(r.frames) == 0 || r.frames[0].missing == nil {
		return nil, false
	}
	regions = r.frames[0].missing
	known = slices.Equal(*regions, r.without)
	r.frames, r.without = dropFirst(r.frames, 1), *regions
	return regions, known
}

// waiting reports whether something has come that is not handed out.
func (r *Reader) waiting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.frames) > 0 || len(r.rest) > 0
}

// short is why a read ends that needs the regions of which the last frame tells, or
// told, if Next was faster than the end.
func (r *Reader) short() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &MissingError{Stream: r.ask.Name, Regions: r.without}
	if n := len(r.frames); n > 0 && r.frames[n-1].missing != nil {
		e.Regions = *r.frames[n-1].missing
		r.frames = r.frames[:n-1]
	}
	return e
}

// maxAsk bounds where a read begins and ends, together, in bytes: what is more does
// not go into a frame.
const maxAsk = wire.MaxControl - 8<<10
