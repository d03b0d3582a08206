package session

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/wire"
)

// Keeper is a Broker that keeps events in streams.
type Keeper interface {
	// Keeps reports whether there are streams that publishing may have to wait for.
	Keeps() bool
	// Begin begins to publish, and keeps the events until that is over. Publishes
	// are kept in the order of the calls.
	Begin(ctx context.Context, namespace string, evs []event.Event, how node.PublishOptions) (Keeping, error)
	ReadStream(ctx context.Context, q node.StreamRead) (StreamReader, error)
}

// Keeping is a publish under way.
type Keeping interface {
	Far() bool // nothing may begin before it ends
	// End waits for streams and routes the events. It is called in the order in
	// which publishes began.
	End() ([]node.Position, error)
	// Settled is closed when streams are done with the events, which may be long after
	// the End of what is only to be routed. It is nil if there is nothing to wait for.
	Settled() <-chan struct{}
}

// Begin is the node's.
func (b broker) Begin(ctx context.Context, namespace string, evs []event.Event, how node.PublishOptions) (Keeping, error) {
	k, err := b.Node.Begin(ctx, namespace, evs, how)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// StreamReader reads a stream at the broker.
type StreamReader interface {
	Next(ctx context.Context) (node.StreamEvent, error)
	Ready() bool // Next has an event without waiting
	Cursor() string
	End() string // the cursor of where it ends, if it does
	Close()
}

// ReadStream is the node's.
func (b broker) ReadStream(ctx context.Context, q node.StreamRead) (StreamReader, error) {
	r, err := b.Node.ReadStream(ctx, q)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// late is what a client has published and streams have yet to keep. Publishes begin
// as their frames come, many at once. When no more may begin, frames wait, and then
// are published together.
type late struct {
	mu      sync.Mutex // guards the fields below; held while a publish begins
	frames  []lateFrame
	begun   []lateBatch // oldest first
	behind  []lateBatch // acknowledged, while streams are not done with them; oldest first
	bytes   int         // of all
	ending  bool        // endLate runs
	settles bool        // settleLate runs

	room chan struct{} // there may be room for frames
}

// lateFrame is a publish frame, of which nothing is refused yet.
type lateFrame struct {
	namespace   string
	first, last uint64
	evs         []event.Event
	numbers     []uint64 // of evs
	bytes       int
}

// lateBatch is a publish that has begun, of a frame or several.
type lateBatch struct {
	lateFrame
	keeping Keeping // nil if there is an error, or there are no events
	err     error
}

const (
	lateMost   = 4 << 20 // bytes of frames that wait for streams, unless it is one
	lateEvents = 4096    // published at once, unless they are of one frame
	lateBytes  = 1 << 20
	lateBegun  = 64 // publishes at the same time
)

// postpone publishes a frame after those before it, without waiting for streams. It
// waits while too many frames do: then nothing is read from the client.
func (x *session) postpone(f lateFrame) error {
	l := &x.late
	for {
		l.mu.Lock()
		if l.bytes == 0 || l.bytes+f.bytes <= lateMost {
			l.frames, l.bytes = append(l.frames, f), l.bytes+f.bytes
			x.beginLate()
			l.mu.Unlock()
			return nil
		}
		l.mu.Unlock()
		select {
		case <-l.room:
		case <-x.ctx.Done():
			return context.Cause(x.ctx)
		}
	}
}

// idle reports that nothing is being published.
func (l *late) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.begun)+len(l.frames) == 0
}

// beginLate begins to publish frames that wait, as far as may be, and sees that what
// has begun ends. late.mu is held.
func (x *session) beginLate() {
	l := &x.late
	for len(l.frames) > 0 && len(l.begun)+len(l.behind) < lateBegun && !l.far() {
		b := lateBatch{lateFrame: l.join()}
		if len(b.evs) > 0 {
			b.keeping, b.err = x.server.keeper.Begin(x.ctx, b.namespace, b.evs, node.PublishOptions{Overflow: x.overflow, Durability: x.durability})
		}
		l.begun = append(l.begun, b)
	}
	if !l.ending && len(l.begun) > 0 {
		l.ending = true
		x.wg.Go(x.endLate)
	}
}

// far reports whether what was begun last must end before anything else begins.
func (l *late) far() bool {
	n := len(l.begun)
	return n > 0 && l.begun[n-1].keeping != nil && l.begun[n-1].keeping.Far()
}

// join takes the frames that are published next, as one: of one namespace.
func (l *late) join() lateFrame {
	all := l.frames[0]
	n := 1
	for ; n < len(l.frames); n++ {
		f := &l.frames[n]
		if f.namespace != all.namespace || len(all.evs)+len(f.evs) > lateEvents || all.bytes+f.bytes > lateBytes {
			break
		}
		all.evs, all.numbers = append(all.evs, f.evs...), append(all.numbers, f.numbers...)
		all.last, all.bytes = f.last, all.bytes+f.bytes
	}
	rest := copy(l.frames, l.frames[n:])
	clear(l.frames[rest:])
	l.frames = l.frames[:rest]
	return all
}

// endLate ends publishes in the order in which they began, until there are none.
func (x *session) endLate() {
	l := &x.late
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.begun) > 0 {
		b := l.begun[0]
		l.mu.Unlock()
		going := x.publishKept(&b)
		l.mu.Lock()
		if !going {
			for _, b := range l.begun[1:] {
				if b.keeping != nil {
					b.keeping.End() // what is kept is routed; there is nobody to tell
				}
			}
			return // ending stays: what would come after it must not be published
		}
		rest := copy(l.begun, l.begun[1:])
		clear(l.begun[rest:])
		l.begun = l.begun[:rest]
		if b.settled() {
			x.forgetLate(&b)
			continue
		}
		// A publisher that does not wait for streams is acknowledged already, but must
		// not be faster than they are for long.
		b.evs, b.numbers = nil, nil
		l.behind = append(l.behind, b)
		x.beginLate()
		if !l.settles {
			l.settles = true
			x.wg.Go(x.settleLate)
		}
	}
	l.ending = false
}

// settled reports whether streams are done with the events.
func (b *lateBatch) settled() bool {
	if b.keeping == nil || b.keeping.Settled() == nil {
		return true
	}
	select {
	case <-b.keeping.Settled():
		return true
	default:
		return false
	}
}

// forgetLate makes the room of a publish that is over that of others. late.mu is held.
func (x *session) forgetLate(b *lateBatch) {
	x.late.bytes -= b.bytes
	x.beginLate()
	select {
	case x.late.room <- struct{}{}:
	default:
	}
}

// settleLate waits until streams are done with what is acknowledged, oldest first.
func (x *session) settleLate() {
	l := &x.late
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.behind) > 0 {
		b := l.behind[0]
		l.mu.Unlock()
		select {
		case <-b.keeping.Settled():
		case <-x.ctx.Done():
		}
		l.mu.Lock()
		if x.ctx.Err() != nil {
			return // settles stays: nothing more begins
		}
		rest := copy(l.behind, l.behind[1:])
		clear(l.behind[rest:])
		l.behind = l.behind[:rest]
		x.forgetLate(&b)
	}
	l.settles = false
}

// publishKept ends a publish and tells the client how that went. It reports false if
// the session ended: then no answer is the true answer.
func (x *session) publishKept(b *lateBatch) bool {
	var positions []node.Position
	if len(b.evs) > 0 {
		err := b.err
		if err == nil {
			positions, err = b.keeping.End()
		}
		switch {
		case err == nil:
			x.server.count.in.Add(uint64(len(b.evs)))
		case x.ctx.Err() != nil:
			return false
		default:
			from, partial := b.first, (*node.PartialError)(nil)
			if errors.As(err, &partial) {
				from = b.numbers[partial.Routed]
				x.server.count.in.Add(uint64(partial.Routed))
			} else {
				positions = nil
			}
			x.nack(from, b.last-from+1, err)
		}
	}
	var kept, held []wire.Position
	for _, p := range positions {
		at := wire.Position{
			Number: b.numbers[p.Event], Stream: p.Stream, Region: p.Region, Partition: p.Partition, Offset: p.Offset, Duplicate: p.Duplicate,
			Waiting: p.Waiting, Routed: p.Routed,
		}
		switch {
		case !x.positions:
		case !p.Waiting && !p.Routed:
			kept = append(kept, at)
		case x.held:
			held = append(held, at)
		}
	}
	x.send(func(dst []byte) []byte {
		for part := range slices.Chunk(kept, keptMost) {
			dst = wire.AppendKept(dst, part)
		}
		for part := range slices.Chunk(held, keptMost) {
			dst = wire.AppendHeld(dst, part)
		}
		return wire.AppendAck(dst, b.last)
	})
	return true
}

// keptMost is how many positions a frame has at most, so that it is no larger than
// wire.MaxControl.
const keptMost = 128
