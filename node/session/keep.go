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
	PublishKept(ctx context.Context, namespace string, evs []event.Event, overflow node.Overflow) ([]node.Position, error)
	ReadStream(ctx context.Context, q node.StreamRead) (StreamReader, error)
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

// late is what a client has published while the publish before waits for streams
// to keep its events: frames that are then published together, so that one round
// of the replicas and their disks serves all that came during the last.
type late struct {
	mu      sync.Mutex // guards the fields below
	frames  []lateFrame
	bytes   int
	running bool // publishLate is

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

const (
	lateMost   = 2 << 20 // bytes of frames that wait, unless it is one
	lateEvents = 4096    // published at once, unless they are of one frame
	lateBytes  = 1 << 20
)

// postpone has a frame published after those before it. It waits while too many
// do: then nothing is read from the client.
func (x *session) postpone(f lateFrame) error {
	l := &x.late
	for {
		l.mu.Lock()
		if l.bytes == 0 || l.bytes+f.bytes <= lateMost {
			l.frames, l.bytes = append(l.frames, f), l.bytes+f.bytes
			if !l.running {
				l.running = true
				x.wg.Go(x.publishLate)
			}
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

// idle reports that no frame waits, nor is being published.
func (l *late) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.running
}

// take takes the frames that are published next: of one namespace. It is empty
// when none is left, and then publishLate ends.
func (l *late) take() (frames []lateFrame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, bytes := 0, 0
	n := 0
	for ; n < len(l.frames); n++ {
		f := &l.frames[n]
		if n > 0 && (f.namespace != l.frames[0].namespace || events+len(f.evs) > lateEvents || bytes+f.bytes > lateBytes) {
			break
		}
		events, bytes = events+len(f.evs), bytes+f.bytes
	}
	frames = slices.Clone(l.frames[:n])
	rest := copy(l.frames, l.frames[n:])
	clear(l.frames[rest:])
	l.frames, l.bytes = l.frames[:rest], l.bytes-bytes
	l.running = n > 0
	select {
	case l.room <- struct{}{}:
	default:
	}
	return frames
}

// publishLate publishes what was postponed until there is no more.
func (x *session) publishLate() {
	for frames := x.late.take(); len(frames) > 0; frames = x.late.take() {
		evs, numbers := frames[0].evs, frames[0].numbers
		for _, f := range frames[1:] {
			evs, numbers = append(evs, f.evs...), append(numbers, f.numbers...)
		}
		last := &frames[len(frames)-1]
		if !x.publishKept(last.namespace, evs, numbers, frames[0].first, last.last) {
			return // running stays: what would come after it must not be published
		}
	}
}

// publishKept publishes events, which the client has numbered so, and tells it how
// that went: for the whole of its frames from first to last. It reports false if
// the session ended: then no answer is the true answer.
func (x *session) publishKept(namespace string, evs []event.Event, numbers []uint64, first, last uint64) bool {
	var positions []node.Position
	if len(evs) > 0 {
		var err error
		positions, err = x.server.keeper.PublishKept(x.ctx, namespace, evs, x.overflow)
		switch {
		case err == nil:
			x.server.count.in.Add(uint64(len(evs)))
		case x.ctx.Err() != nil:
			return false
		default:
			from, partial := first, (*node.PartialError)(nil)
			if errors.As(err, &partial) {
				from = numbers[partial.Routed]
				x.server.count.in.Add(uint64(partial.Routed))
			} else {
				positions = nil
			}
			x.nack(from, last-from+1, err)
		}
	}
	var kept []wire.Position
	if x.positions {
		for _, p := range positions {
			kept = append(kept, wire.Position{
				Number: numbers[p.Event], Stream: p.Stream, Region: p.Region, Partition: p.Partition, Offset: p.Offset, Duplicate: p.Duplicate,
			})
		}
	}
	x.send(func(dst []byte) []byte {
		for part := range slices.Chunk(kept, keptMost) {
			dst = wire.AppendKept(dst, part)
		}
		return wire.AppendAck(dst, last)
	})
	return true
}

// keptMost is how many positions a frame has at most, so that it is no larger than
// wire.MaxControl.
const keptMost = 128
