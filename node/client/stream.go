package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/wire"
)

// Position is where a stream keeps an event.
type Position struct {
	Stream    string
	Region    string
	Partition uint32
	Offset    int64
	Duplicate bool // of an acknowledgement: the event had been kept before
	Waiting   bool // of an acknowledgement: it waits on the node's disk, until the region can be reached
	Routed    bool // of an acknowledgement: it is on its way to the partition, and may be lost
}

// String is the position as people write it.
func (p Position) String() string {
	switch {
	case p.Waiting:
		return fmt.Sprintf("%s@%s;waiting", p.Stream, p.Region)
	case p.Routed:
		return fmt.Sprintf("%s@%s/%d;routed", p.Stream, p.Region, p.Partition)
	}
	return fmt.Sprintf("%s@%s/%d/%d", p.Stream, p.Region, p.Partition, p.Offset)
}

// TrimmedError ends a read: retention has passed what it should go on with.
type TrimmedError struct {
	Stream    string
	Region    string
	Partition uint32
	First     int64 // the first offset that is still there
}

// Error says which log, and where it begins.
func (e *TrimmedError) Error() string {
	return fmt.Sprintf("client: stream %s, %s/%d: trimmed, the first offset that is still there is %d", e.Stream, e.Region, e.Partition, e.First)
}

// Is makes every TrimmedError an ErrTrimmed.
func (e *TrimmedError) Is(target error) bool { return target == ErrTrimmed }

// KeptEvent is an event that a stream keeps.
type KeptEvent struct {
	Position Position
	Time     time.Time   // when it was kept
	Event    event.Event // valid until the next is read: who keeps it keeps its Clone
}

// Reader reads a stream. When the connection breaks, it goes on over the next one
// where it was: every event is handed out once. It is for one goroutine at a time,
// but for Close.
type Reader struct {
	client *Client
	sid    uint64
	ask    wire.Read
	buffer int

	wake  chan struct{} // there may be frames
	done  chan struct{} // closed with err
	began chan struct{} // closed by the first reading

	onMissing func(regions []string)

	mu      sync.Mutex           // guards the fields below
	without []string             // the regions that onMissing heard of last
	frames  []frame              // for Next
	at      []byte               // the one that is handed out
	rest    []byte               // of it
	place   Position             // of what is handed out
	log     *logPlace            // of cursor: the log of what is handed out
	cursor  map[string]*logPlace // by the cursor's name of a log
	owed    int                  // bytes handed out, not yet given as credit
	err     error
}

// frame is a records frame, or what is told between two.
type frame struct {
	body    []byte
	missing *[]string // not nil: the regions that are missing now
	passed  string    // not empty: the cursor behind all that came before
}

// logPlace is how far a log is read.
type logPlace struct {
	begin string // as the node said
	read  bool   // then it is next that counts
	next  int64
}

// Read begins to read, from Earliest (also if it is empty), Latest, an offset, a
// time or a cursor. ctx bounds Read only; the Reader's Close must follow.
//
// Errors: ErrNoStream, ErrBadPosition, ErrBadFilter, a *TrimmedError, a *MissingError
// if a region cannot be read and the options do not allow for that, ErrNotReady,
// ErrVersion if the node does not know how to read so, ErrClosed and ctx's.
func (s *Stream) Read(ctx context.Context, from string, options ...ReadOption) (*Reader, error) {
	c := s.client
	r := &Reader{
		client: c, ask: wire.Read{Namespace: c.set.namespace, Name: s.name, From: from}, buffer: DefaultBuffer,
		wake: make(chan struct{}, 1), done: make(chan struct{}), began: make(chan struct{}), cursor: map[string]*logPlace{},
	}
	r.onMissing = func(regions []string) {
		c.log.Warn("a stream's reader goes on without some regions", "stream", s.name, "missing", regions)
	}
	r.ask.Missing, r.ask.Passed = true, true
	for _, option := range options {
		option(r)
	}
	if err := c.startReader(ctx, r); err != nil {
		return nil, err
	}
	select {
	case <-r.began:
		return r, nil
	case <-r.done:
		select {
		case <-r.began: // and it was all over soon
			return r, nil
		default:
			return nil, r.err
		}
	case <-ctx.Done():
		r.Close()
		return nil, ctx.Err()
	}
}

// startReader registers a reader and sends its request.
func (c *Client) startReader(ctx context.Context, r *Reader) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.conn == nil && c.err == nil {
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
	if c.err != nil {
		return c.err
	}
	switch ask := &r.ask; {
	case !c.conn.node.Streams:
		return errNoStreams
	case !c.conn.node.Reads && (ask.Filter != nil || ask.Order != "" || ask.Partial):
		return errReads
	}
	c.lastSID++
	r.sid = c.lastSID
	c.readers[r.sid] = r
	c.sendRead(r)
	return nil
}

// sendRead asks the node to read from where the reader is. The lock is held.
func (c *Client) sendRead(r *Reader) {
	ask := r.restart()
	c.send(c.conn, func(dst []byte) []byte { return wire.AppendRead(dst, r.sid, &ask) })
}

// restart is what the reader asks of a new connection: to go on behind what Next
// has handed out. What else had come will come again.
func (r *Reader) restart() wire.Read {
	r.mu.Lock()
	defer r.mu.Unlock()
	ask := r.ask
	if len(r.cursor) > 0 {
		ask.From = r.cursorNow()
	}
	if len(ask.From)+len(ask.Until) > maxAsk {
		ask.Until = ""
	}
	ask.Credit = r.buffer
	r.frames, r.at, r.rest, r.owed = nil, nil, nil, 0 // not for reuse: the last event may be in use
	return ask
}

// reader is the one with that id; nil when it has ended.
func (c *Client) reader(sid uint64) *Reader {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readers[sid]
}

// endReader handles the node's end of a read: it reports false if there is no such.
// What only now cannot be had is tried again on another connection.
func (c *Client) endReader(sid uint64, why error) (known bool, err error) {
	r := c.readers[sid]
	if r == nil {
		return false, nil
	}
	var refused *RefusedError
	switch {
	case errors.As(why, &refused) && wire.Code(refused.Code) == wire.CodeDone:
		why = io.EOF
	case errors.Is(why, ErrMissing):
		why = r.short()
	case r.established() && errors.Is(why, ErrNotReady) && c.set.maxPause > 0:
		return true, fmt.Errorf("client: read stream %s: %w", r.ask.Name, why)
	}
	delete(c.readers, sid)
	r.end(why)
	return true, nil
}

func (r *Reader) established() bool {
	select {
	case <-r.began:
		return true
	default:
		return false
	}
}

// reading hears where the node begins, for logs of which the reader has nothing yet,
// and where it ends: there it ends also when it begins again.
func (r *Reader) reading(cursor, end string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ask.Until == "" {
		r.ask.Until = end
	}
	// Missing was told of an earlier connection; the node says what is missing now. But
	// a read that ends leaves out to its end what has no end.
	still := slices.DeleteFunc(slices.Clone(r.without), func(region string) bool { return !r.leavesOut(region) })
	if len(still) < len(r.without) {
		r.frames = append(r.frames, frame{missing: &still})
		r.signal()
	}
	for part := range strings.SplitSeq(cursor, ",") {
		if log, at, ok := strings.Cut(part, ":"); ok && r.cursor[log] == nil {
			r.cursor[log] = &logPlace{begin: at}
		}
	}
	select {
	case <-r.began:
	default:
		close(r.began)
	}
}

// leavesOut reports whether a region is not read although it can be, since it was
// missing when the read's end was decided. r.mu is held.
func (r *Reader) leavesOut(region string) bool {
	return r.ask.Until != "" && !strings.HasPrefix(r.ask.Until, region+"/") && !strings.Contains(r.ask.Until, ","+region+"/")
}

// put adds a frame. It does not block: credit bounds what comes.
func (r *Reader) put(f frame) {
	r.mu.Lock()
	r.frames = append(r.frames, f)
	r.mu.Unlock()
	r.signal()
}

// signal has Next look whether there is something.
func (r *Reader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// end ends the reader; what has come is handed out before.
func (r *Reader) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
		close(r.done)
	}
}

// Close ends the reader.
func (r *Reader) Close() error {
	c := r.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readers[r.sid] == r {
		delete(c.readers, r.sid)
		if c.conn != nil {
			c.send(c.conn, func(dst []byte) []byte { return wire.AppendUnsubscribe(dst, r.sid) })
		}
	}
	r.mu.Lock()
	r.frames, r.rest = nil, nil
	r.mu.Unlock()
	r.end(ErrClosed)
	return nil
}

// Next is the next event. The error is io.EOF at the end of a read that does not
// follow, a *TrimmedError, a *MissingError, ErrClosed, the node's, or ctx's.
func (r *Reader) Next(ctx context.Context) (KeptEvent, error) {
	for {
		ev, ok, credit, err := r.next()
		if credit > 0 {
			r.grant(credit)
		}
		if ok || err != nil {
			return ev, err
		}
		if regions, known := r.told(); regions != nil {
			if !known {
				r.onMissing(*regions)
			}
			continue
		}
		select {
		case <-r.wake:
		case <-r.done: // next has found nothing, and nothing comes after the end
			if r.waiting() {
				continue
			}
			return KeptEvent{}, r.err
		case <-ctx.Done():
			return KeptEvent{}, ctx.Err()
		}
	}
}

// next hands out what is there, and tells what credit is due.
func (r *Reader) next() (ev KeptEvent, ok bool, credit int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.rest) == 0 {
		if r.at != nil {
			r.owed += len(r.at)
			r.client.reuse(r.at)
			r.at = nil
			if r.owed >= max(r.buffer/4, 1) {
				credit, r.owed = r.owed, 0
			}
		}
		for len(r.frames) > 0 && r.frames[0].passed != "" {
			r.advance(r.frames[0].passed)
			r.frames = dropFirst(r.frames, 1)
		}
		if len(r.frames) == 0 || r.frames[0].missing != nil {
			return ev, false, credit, nil
		}
		r.at = r.frames[0].body
		r.frames = dropFirst(r.frames, 1)
		r.place = Position{Stream: r.ask.Name}
		if _, r.place.Region, r.place.Partition, r.rest, err = wire.ReadRecords(r.at); err != nil {
			return ev, false, credit, err
		}
		name := fmt.Sprintf("%s/%d", r.place.Region, r.place.Partition)
		if r.log = r.cursor[name]; r.log == nil { // it is new
			r.log = &logPlace{}
			r.cursor[name] = r.log
		}
	}
	var nanos int64
	var envelope []byte
	if r.place.Offset, nanos, envelope, r.rest, err = wire.NextRecord(r.rest); err == nil {
		err = ev.Event.Scan(envelope)
	}
	if err != nil {
		r.rest = nil
		return ev, false, credit, fmt.Errorf("client: the node sent what is no event of stream %s: %w", r.ask.Name, err)
	}
	r.log.read, r.log.next = true, r.place.Offset+1
	ev.Position, ev.Time = r.place, time.Unix(0, nanos)
	return ev, true, credit, nil
}

// grant gives the node credit, on the connection that the reader is on.
func (r *Reader) grant(bytes int) {
	c := r.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.readers[r.sid] == r {
		c.send(c.conn, func(dst []byte) []byte { return wire.AppendCredit(dst, r.sid, bytes) })
	}
}

// Events hands out events until there are no more, ctx ends, or reading fails: then
// the last has the error.
func (r *Reader) Events(ctx context.Context) iter.Seq2[KeptEvent, error] {
	return func(yield func(KeptEvent, error) bool) {
		for {
			ev, err := r.Next(ctx)
			if errors.Is(err, io.EOF) || !yield(ev, err) || err != nil {
				return
			}
		}
	}
}
