package session_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/node/session"
	"github.com/skeinmesh/skein/transport/event"
)

// shelf is a hub that keeps all in one stream of one log, in memory.
type shelf struct {
	*hub
	round  chan struct{} // not nil: the end of a publish takes a value from it first
	far    bool
	shelve chan struct{} // not nil: what is published is settled when it is closed

	mu     sync.Mutex // guards the fields below
	list   []event.Event
	start  int
	begun  int // publishes
	rounds int // that ended
	handed int // to readers
	more   chan struct{}
	absent []string // regions that are missing; told once more for each change
	asked  []node.StreamRead
}

func newShelf() *shelf { return &shelf{hub: &hub{}, more: make(chan struct{})} }

func (s *shelf) Keeps() bool { return true }

func (s *shelf) Begin(ctx context.Context, ns string, evs []event.Event, o node.PublishOptions) (session.Keeping, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun++
	return &shelving{s, ctx, ns, evs, o}, nil
}

// shelving is a publish under way.
type shelving struct {
	*shelf
	ctx context.Context
	ns  string
	evs []event.Event
	o   node.PublishOptions
}

func (k *shelving) Far() bool { return k.far }

func (k *shelving) Settled() <-chan struct{} { return k.shelve }

func (k *shelving) End() (list []node.Position, err error) {
	s, ctx, ns, evs, o := k.shelf, k.ctx, k.ns, k.evs, k.o
	if s.round != nil {
		select {
		case <-s.round:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := s.Publish(ctx, ns, evs, o.Overflow); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rounds++
	if o.Durability == node.Routed {
		for i := range evs {
			list = append(list, node.Position{Event: i, Stream: "all", Region: "eu", Routed: i%2 == 0, Waiting: i%2 == 1})
		}
		return list, nil
	}
	for i := range evs {
		list = append(list, node.Position{Event: i, Stream: "all", Region: "here", Offset: int64(len(s.list)), Duplicate: evs[i].ID() == "again"})
		s.list = append(s.list, evs[i].Clone())
	}
	close(s.more)
	s.more = make(chan struct{})
	return list, nil
}

func (s *shelf) ReadStream(_ context.Context, q node.StreamRead) (session.StreamReader, error) {
	if q.Name != "all" {
		return nil, fmt.Errorf("%w: %s", node.ErrNoStream, q.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, q)
	if len(s.absent) > 0 && !q.Follow && !q.Partial {
		return nil, &node.MissingError{Stream: "all", Regions: s.absent}
	}
	r := &shelfReader{s: s, follow: q.Follow, next: s.start, end: len(s.list)}
	if q.Until != "" {
		if _, err := fmt.Sscanf(q.Until, "here/0:%d", &r.end); err != nil {
			return nil, fmt.Errorf("%w: until %s", node.ErrPosition, q.Until)
		}
	}
	switch q.From {
	case "", client.Earliest:
	case client.Latest:
		r.next = len(s.list)
	default:
		if _, err := fmt.Sscanf(q.From, "here/0:%d", &r.next); err != nil {
			return nil, fmt.Errorf("%w: %s", node.ErrPosition, q.From)
		}
	}
	if r.next < s.start {
		return nil, &node.TrimmedError{Stream: "all", Region: "here", Offset: int64(r.next), Start: int64(s.start)}
	}
	return r, nil
}

// dull is the type of events that no reader of a shelf wants.
const dull = "dull"

type shelfReader struct {
	s         *shelf
	follow    bool
	next, end int
	told      []string
}

func (r *shelfReader) Ready() bool {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return slices.ContainsFunc(r.s.list[min(r.next, len(r.s.list)):], func(ev event.Event) bool { return ev.Type() != dull }) && slices.Equal(r.told, r.s.absent)
}

func (r *shelfReader) Cursor() string { return fmt.Sprintf("here/0:%d", r.next) }

func (r *shelfReader) End() string {
	if r.follow {
		return ""
	}
	return fmt.Sprintf("here/0:%d", r.end)
}

func (r *shelfReader) Close() {}

// lose sets the regions that are missing.
func (s *shelf) lose(regions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.absent = regions
	close(s.more)
	s.more = make(chan struct{})
}

func (r *shelfReader) Next(ctx context.Context) (node.StreamEvent, error) {
	for {
		r.s.mu.Lock()
		more := r.s.more
		if !slices.Equal(r.told, r.s.absent) {
			r.told = r.s.absent
			err := &node.MissingError{Stream: "all", Regions: r.told}
			r.s.mu.Unlock()
			return node.StreamEvent{}, err
		}
		if !r.follow && r.next >= r.end {
			r.s.mu.Unlock()
			return node.StreamEvent{}, io.EOF
		}
		if r.next < len(r.s.list) && r.s.list[r.next].Type() == dull {
			r.next++
			r.s.mu.Unlock()
			continue
		}
		if r.next < len(r.s.list) {
			ev := node.StreamEvent{Event: r.s.list[r.next], Time: time.Unix(int64(r.next), 0)}
			ev.Position = node.Position{Stream: "all", Region: "here", Offset: int64(r.next)}
			r.next++
			r.s.handed++
			r.s.mu.Unlock()
			return ev, nil
		}
		r.s.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return node.StreamEvent{}, ctx.Err()
		}
	}
}

// fill publishes events with the ids from..to-1 and waits until they are kept.
func fill(t *testing.T, c *client.Client, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := c.PublishAsync(t.Context(), newEvent(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// expect reads the events with ids from..to-1, at the offsets of the same numbers.
func expect(t *testing.T, r *client.Reader, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		ev, err := r.Next(ctx)
		cancel()
		if err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
		if ev.Event.ID() != fmt.Sprint(i) || ev.Position.Offset != int64(i) || ev.Position.Stream != "all" || ev.Time.Unix() != int64(i) {
			t.Fatalf("%s at %s of %s, want event %d", ev.Event.ID(), ev.Position, ev.Time, i)
		}
	}
}

func (s *shelf) inOrder(t *testing.T, n int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) != n {
		t.Errorf("%d of %d events were kept", len(s.list), n)
	}
	for i := range s.list {
		if s.list[i].ID() != fmt.Sprint(i) {
			t.Fatalf("event %s is number %d", s.list[i].ID(), i)
		}
	}
}
