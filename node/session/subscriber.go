package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/wire"
)

// errUnsubscribed ends a subscriber as its client asked.
var errUnsubscribed = errors.New("session: unsubscribed")

// subscriber moves the events of one subscription from its queue at the broker
// to the session's outbox, or those of a stream that is read.
type subscriber struct {
	session *session
	sid     uint64
	missing bool // the client of a stream's reader knows missing frames
	passed  bool // and passed frames

	ctx context.Context // ends with the subscription, for the cause
	end context.CancelCauseFunc

	more chan struct{} // there may be credit
	mu   sync.Mutex    // guards the field below
	left int64         // bytes that may be sent; below 0 when overdrawn
}

const (
	maxCredit = 1 << 40 // bytes: beyond that, credit stops growing
	itemsMost = 512     // taken from a queue at a time
	bytesMost = 256 << 10
)

// subscribe starts a subscription, or says why not.
func (x *session) subscribe(body []byte) error {
	sid, ask, err := wire.ReadSubscribe(body)
	if err != nil {
		if sid != 0 {
			x.ended(sid, &wire.Refusal{Code: wire.CodeRequest, Reason: err.Error()})
			return nil
		}
		return err
	}
	req, why := request(&ask, x.agent)
	if why != nil {
		x.ended(sid, why)
		return nil
	}
	s := &subscriber{session: x, sid: sid, more: make(chan struct{}, 1)}
	s.grant(uint64(max(ask.Credit, 0)))
	return x.begin(s, func() error { return s.deliver(req) })
}

// begin has a subscriber live, until deliver ends, or tells why it cannot.
func (x *session) begin(s *subscriber, deliver func() error) error {
	s.ctx, s.end = context.WithCancelCause(x.ctx)
	x.mu.Lock()
	_, twice := x.subs[s.sid]
	full := len(x.subs) >= x.server.cfg.Subscriptions
	if !twice && !full {
		x.subs[s.sid] = s
	}
	x.mu.Unlock()
	switch {
	case twice:
		s.end(nil)
		return &wire.Refusal{Code: wire.CodeProtocol, Reason: fmt.Sprintf("subscription %d exists", s.sid)}
	case full:
		s.end(nil)
		x.ended(s.sid, &wire.Refusal{Code: wire.CodeTooMany, Reason: fmt.Sprintf("a session has at most %d subscriptions", x.server.cfg.Subscriptions)})
		return nil
	}
	x.wg.Go(func() { s.run(deliver) })
	return nil
}

// request is what the client asks for in the node's terms.
func request(ask *wire.Request, agent string) (req node.SubscribeRequest, why *wire.Refusal) {
	req = node.SubscribeRequest{Namespace: ask.Namespace, QueueBytes: max(ask.QueueBytes, 0), Label: ask.Label}
	if req.Label == "" {
		req.Label = agent
	}
	req.Label = req.Label[:min(len(req.Label), maxAgent)]
	var err error
	if req.Filter, err = parseFilter(ask.Filter); err != nil {
		return req, &wire.Refusal{Code: wire.CodeFilter, Reason: err.Error()}
	}
	if req.Barrier, err = node.ParseBarrier(ask.Barrier); err != nil {
		return req, &wire.Refusal{Code: wire.CodeRequest, Reason: err.Error()}
	}
	if req.Slow, err = node.ParseSlow(ask.Slow); err != nil {
		return req, &wire.Refusal{Code: wire.CodeRequest, Reason: err.Error()}
	}
	req.Wait = time.Duration(min(max(ask.WaitMs, 0), node.MaxWait.Milliseconds())) * time.Millisecond
	return req, nil
}

// subscriber is the live one with that id, or nil.
func (x *session) subscriber(sid uint64) *subscriber {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.subs[sid]
}

// ended tells the client that a subscription has ended, or never began.
func (x *session) ended(sid uint64, why *wire.Refusal) {
	x.send(func(dst []byte) []byte { return wire.AppendEnded(dst, sid, why) })
}

// run lives as long as the subscription.
func (s *subscriber) run(deliver func() error) {
	x := s.session
	x.server.count.subscriptions.Add(1)
	defer x.server.count.subscriptions.Add(-1)
	defer s.end(nil)
	err := deliver()
	x.mu.Lock()
	delete(x.subs, s.sid)
	x.mu.Unlock()
	switch {
	case x.ctx.Err() != nil: // nobody is there to tell
	case errors.Is(context.Cause(s.ctx), errUnsubscribed):
		x.ended(s.sid, &wire.Refusal{Code: wire.CodeDone})
	default:
		x.endedRead(s.sid, err)
	}
}

// deliver subscribes and moves events until one side ends.
func (s *subscriber) deliver(req node.SubscribeRequest) error {
	x := s.session
	sub, err := x.server.broker.Subscribe(s.ctx, req)
	if err != nil {
		return err
	}
	defer sub.Close()
	x.send(func(dst []byte) []byte { return wire.AppendSubscribed(dst, s.sid, sub.Missing()) })
	items := make([]queue.Item, itemsMost)
	for size := 16; ; {
		n, err := sub.Next(s.ctx, items[:size])
		if err != nil {
			return err
		}
		bytes, err := s.send(items[:n])
		if err != nil {
			return err
		}
		clear(items[:n]) // their bytes are the queue's business only
		// Few large events or many small ones: what is in hand stays small.
		size = min(max(bytesMost/(bytes/n+1), 1), itemsMost)
	}
}

// send puts items into the outbox as events and gap frames, as credit comes.
func (s *subscriber) send(items []queue.Item) (bytes int, err error) {
	x := s.session
	for len(items) > 0 {
		if gap := items[0].Gap; gap != nil {
			loss := wire.Loss{Count: gap.Count, From: gap.From, To: gap.To, Cause: string(gap.Cause), Origin: gap.Origin}
			x.send(func(dst []byte) []byte { return wire.AppendGap(dst, s.sid, &loss) })
			x.server.count.gaps.Add(gap.Count)
			items = items[1:]
			continue
		}
		if err := s.await(); err != nil {
			return bytes, err
		}
		n, size := 0, 0
		if !x.out.Append(func(dst []byte) []byte {
			start := len(dst)
			dst = wire.BeginEvents(dst, s.sid)
			for n < len(items) && items[n].Gap == nil && (n == 0 || len(dst)-start+len(items[n].Event.Bytes()) <= wire.MaxBatch) {
				dst = wire.AppendEvent(dst, items[n].Event.Bytes())
				n++
			}
			size = wire.EndEvents(dst, start)
			return dst
		}) {
			return bytes, context.Cause(x.ctx)
		}
		x.flush()
		s.spend(size)
		x.server.count.out.Add(uint64(n))
		bytes += size
		items = items[n:]
	}
	return bytes, nil
}

// grant adds credit.
func (s *subscriber) grant(bytes uint64) {
	s.mu.Lock()
	s.left += int64(min(bytes, uint64(max(maxCredit-s.left, 0))))
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

func (s *subscriber) spend(bytes int) {
	s.mu.Lock()
	s.left -= int64(bytes)
	s.mu.Unlock()
}

// await waits until there is credit.
func (s *subscriber) await() error {
	for {
		s.mu.Lock()
		left := s.left
		s.mu.Unlock()
		if left > 0 {
			return nil
		}
		select {
		case <-s.more:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}
