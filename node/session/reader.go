package session

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/wire"
)

// read starts to read a stream for the client, or says why not.
func (x *session) readStream(body []byte) error {
	sid, ask, err := wire.ReadRead(body)
	switch {
	case err != nil && sid == 0:
		return err
	case err != nil:
		x.ended(sid, &wire.Refusal{Code: wire.CodeRequest, Reason: err.Error()})
		return nil
	case x.server.keeper == nil:
		x.ended(sid, &wire.Refusal{Code: wire.CodeNoStream, Reason: "this node keeps no streams"})
		return nil
	}
	if _, err := parseFilter(ask.Filter); err != nil {
		x.ended(sid, &wire.Refusal{Code: wire.CodeFilter, Reason: err.Error()})
		return nil
	}
	s := &subscriber{session: x, sid: sid, more: make(chan struct{}, 1), missing: ask.Missing, passed: ask.Passed}
	s.grant(uint64(max(ask.Credit, 0)))
	q := node.StreamRead{
		Namespace: ask.Namespace, Name: ask.Name, From: ask.From, Until: ask.Until, Follow: ask.Follow,
		Filter: ask.Filter, Order: node.Order(ask.Order), Partial: ask.Partial,
		Hold: time.Duration(min(max(ask.HoldMs, 0), node.MaxHold.Milliseconds())) * time.Millisecond,
	}
	return x.begin(s, func() error { return s.replay(q) })
}

// replay moves the events of a stream to the client, as credit comes, until there
// are no more or the client has enough. What the client does not take stays where
// it is kept.
func (s *subscriber) replay(q node.StreamRead) error {
	x := s.session
	r, err := x.server.keeper.ReadStream(s.ctx, q)
	if err != nil {
		s.tellMissing(err)
		return err
	}
	defer r.Close()
	at := r.Cursor()
	x.send(func(dst []byte) []byte { return wire.AppendReading(dst, s.sid, at, r.End()) })
	told := time.Now()
	var frames run
	for {
		if err := s.await(); err != nil {
			return err
		}
		frames.reset(s.sid)
		ev, err := s.next(r)
		for err == nil {
			frames.add(&ev)
			if len(frames.buf) >= wire.MaxBatch || !r.Ready() {
				break
			}
			ev, err = r.Next(s.ctx)
		}
		if frames.count > 0 {
			size := frames.end()
			if !x.out.Append(func(dst []byte) []byte { return append(dst, frames.buf...) }) {
				return context.Cause(x.ctx)
			}
			x.flush()
			s.spend(size)
			x.server.count.out.Add(uint64(frames.count))
		}
		if over := errors.Is(err, io.EOF); s.passed && (over || time.Since(told) >= passedEvery) {
			if told = time.Now(); r.Cursor() != at {
				at = r.Cursor()
				x.send(func(dst []byte) []byte { return wire.AppendPassed(dst, s.sid, at) })
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return errRead
		case errors.Is(err, errQuiet):
		case s.tellMissing(err) && (q.Follow || q.Partial): // it goes on
		case err != nil:
			return err
		}
	}
}

// passedEvery is how often a client hears how far its read is, so that it begins no
// further back than that over another connection.
const passedEvery = wire.AliveEvery

// errQuiet says that a read has had nothing to hand out for a while.
var errQuiet = errors.New("session: nothing to read now")

// next is the reader's next event. While there is none it ends with errQuiet now and
// then, if the client is to hear how far the read is.
func (s *subscriber) next(r StreamReader) (node.StreamEvent, error) {
	if !s.passed || r.Ready() {
		return r.Next(s.ctx)
	}
	ctx, cancel := context.WithTimeoutCause(s.ctx, passedEvery, errQuiet)
	defer cancel()
	ev, err := r.Next(ctx)
	if err != nil && err == ctx.Err() {
		err = context.Cause(ctx)
	}
	return ev, err
}

// tellMissing tells the client which regions are missing, if that is what err says.
// Clients that know nothing of it read on all the same.
func (s *subscriber) tellMissing(err error) bool {
	var missing *node.MissingError
	if !errors.As(err, &missing) {
		return false
	}
	if s.missing {
		s.session.send(func(dst []byte) []byte { return wire.AppendMissing(dst, s.sid, missing.Regions) })
	}
	return true
}

// errRead ends a read that has come to the end of its stream.
var errRead = errors.New("session: there is no more to read")

// run is records frames that are being made: one for each time that the log
// changes from one event to the next.
type run struct {
	sid       uint64
	buf       []byte
	count     int // of records in buf
	start     int // of the last frame
	size      int // of the bodies of the frames before it
	region    string
	partition uint32
}

func (f *run) reset(sid uint64) {
	*f = run{sid: sid, buf: f.buf[:0]}
}

func (f *run) add(ev *node.StreamEvent) {
	p := &ev.Position
	if f.count == 0 || p.Region != f.region || p.Partition != f.partition {
		if f.count > 0 {
			f.size = f.end()
		}
		f.start, f.region, f.partition = len(f.buf), p.Region, p.Partition
		f.buf = wire.BeginRecords(f.buf, f.sid, p.Region, p.Partition)
	}
	f.buf = wire.AppendRecord(f.buf, p.Offset, ev.Time.UnixNano(), ev.Event.Bytes())
	f.count++
}

// end makes the last frame whole and returns the size of the bodies of all.
func (f *run) end() int { return f.size + wire.EndEvents(f.buf, f.start) }

// endedRead tells the client how a read ended.
func (x *session) endedRead(sid uint64, err error) {
	var trimmed *node.TrimmedError
	var missing *node.MissingError
	switch {
	case errors.As(err, &missing):
		x.ended(sid, &wire.Refusal{Code: wire.CodeMissing, Reason: err.Error()})
	case errors.Is(err, errRead):
		x.ended(sid, &wire.Refusal{Code: wire.CodeDone})
	case errors.As(err, &trimmed):
		x.send(func(dst []byte) []byte {
			return wire.AppendTrimmed(dst, sid, trimmed.Region, trimmed.Partition, trimmed.Start)
		})
	default:
		x.ended(sid, refusal(err))
	}
}
