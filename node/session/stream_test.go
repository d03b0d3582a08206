package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
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

func TestAStreamIsReadToItsEnd(t *testing.T) {
	c := dial(t, serveBroker(t, newShelf()))
	fill(t, c, 0, 3000)
	r, err := c.Stream("all").Read(t.Context(), client.Earliest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	expect(t, r, 0, 3000)
	if _, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if got := r.Cursor(); got != "here/0:3000" {
		t.Errorf("the cursor is %s", got)
	}
	n := 0
	if r, err = c.Stream("all").Read(t.Context(), "here/0:2990"); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for ev, err := range r.Events(t.Context()) {
		if err != nil || ev.Position.Offset != int64(2990+n) {
			t.Fatalf("%v %v", ev.Position, err)
		}
		n++
	}
	if n != 10 {
		t.Errorf("%d events behind the cursor, want 10", n)
	}
}

func TestAReaderFollowsWhatIsKept(t *testing.T) {
	c := dial(t, serveBroker(t, newShelf()))
	fill(t, c, 0, 10)
	old, err := c.Stream("all").Read(t.Context(), client.Earliest, client.Follow())
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	late, err := c.Stream("all").Read(t.Context(), client.Latest, client.Follow())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	expect(t, old, 0, 10)
	fill(t, c, 10, 20)
	expect(t, old, 10, 20)
	expect(t, late, 10, 20)
}

// What the reader does not take stays where it is kept.
func TestASlowReaderHoldsNoMemory(t *testing.T) {
	s := newShelf()
	c := dial(t, serveBroker(t, s))
	const n = 20_000
	fill(t, c, 0, n)
	r, err := c.Stream("all").Read(t.Context(), client.Earliest, client.WithReadBuffer(10_000))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	expect(t, r, 0, 1)
	s.mu.Lock()
	handed := s.handed
	s.mu.Unlock()
	if most := 2000; handed > most { // a frame of 64 KiB, and one that it overdraws
		t.Errorf("%d events were sent to a reader that takes none, want at most %d", handed, most)
	}
	expect(t, r, 1, n)
}

func TestAReaderGoesOnOverANewConnection(t *testing.T) {
	s := newShelf()
	p := open(t, s, "127.0.0.1:0")
	c := dial(t, p.addr, client.WithReconnect(20*time.Millisecond))
	fill(t, c, 0, 5000)
	r, err := c.Stream("all").Read(t.Context(), client.Earliest, client.Follow(), client.WithReadBuffer(50_000))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	none, err := c.Stream("all").Read(t.Context(), client.Latest, client.Follow())
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	expect(t, r, 0, 1234)
	p.stop()
	open(t, s, p.addr)
	eventually(t, "there is a connection again", func() bool { return c.Publish(t.Context(), newEvent(5000)) == nil })
	_ = c.Flush(t.Context()) // tells of what was published over the old one
	fill(t, c, 5001, 5100)
	expect(t, r, 1234, 5100)    // of which it had got some before
	expect(t, none, 5000, 5100) // it had read nothing, and misses nothing
}

// A reader is told how far it is past what it does not want, and goes on there over
// another connection.
func TestACursorMovesOverWhatIsNotWanted(t *testing.T) {
	s := newShelf()
	p := open(t, s, "127.0.0.1:0")
	c := dial(t, p.addr, client.WithReconnect(20*time.Millisecond))
	fill(t, c, 0, 10)
	for range 90 {
		e := newEvent(0)
		e.SetType(dull)
		if err := c.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := c.Stream("all").Read(t.Context(), client.Earliest)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	expect(t, whole, 0, 10)
	if _, err := whole.Next(t.Context()); !errors.Is(err, io.EOF) || whole.Cursor() != "here/0:100" {
		t.Errorf("a read ends at %s, %v", whole.Cursor(), err)
	}
	r, err := c.Stream("all").Read(t.Context(), client.Earliest, client.Follow())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	expect(t, r, 0, 10)
	eventually(t, "the cursor has moved", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if ev, err := r.Next(ctx); err == nil {
			t.Fatalf("there is %s", ev.Position)
		}
		return r.Cursor() == "here/0:100"
	})
	s.mu.Lock()
	s.start = 100 // retention has passed all that
	s.mu.Unlock()
	p.stop()
	open(t, s, p.addr)
	eventually(t, "there is a connection again", func() bool { return c.Publish(t.Context(), newEvent(100)) == nil })
	_ = c.Flush(t.Context())
	fill(t, c, 101, 110)
	expect(t, r, 100, 110)
}

// A read that does not follow ends where it was to end when it began, also over
// another connection, and whatever was published since.
func TestAReadEndsWhereItWasToEnd(t *testing.T) {
	s := newShelf()
	p := open(t, s, "127.0.0.1:0")
	c := dial(t, p.addr, client.WithReconnect(20*time.Millisecond))
	fill(t, c, 0, 5000)
	r, err := c.Stream("all").Read(t.Context(), client.Earliest, client.WithReadBuffer(50_000))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	expect(t, r, 0, 1234)
	p.stop()
	open(t, s, p.addr)
	eventually(t, "there is a connection again", func() bool { return c.Publish(t.Context(), newEvent(5000)) == nil })
	_ = c.Flush(t.Context())
	fill(t, c, 5001, 5100)
	expect(t, r, 1234, 5000)
	if ev, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("behind the end is %v, %v", ev.Position, err)
	}
}

// A read in parts that does not follow leaves a region out to its end: that it is back
// over another connection does not mean that it is read.
func TestWhatAReadLeavesOutStaysMissing(t *testing.T) {
	s := newShelf()
	p := open(t, s, "127.0.0.1:0")
	c := dial(t, p.addr, client.WithReconnect(20*time.Millisecond))
	fill(t, c, 0, 1000)
	s.lose("us")
	var told [][]string
	r, err := c.Stream("all").Read(t.Context(), client.Earliest, client.Partial(), client.WithReadBuffer(1),
		client.OnMissing(func(regions []string) { told = append(told, regions) }))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	expect(t, r, 0, 10)
	p.stop()
	s.lose()
	open(t, s, p.addr)
	expect(t, r, 10, 1000)
	if _, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if want := [][]string{{"us"}}; !reflect.DeepEqual(told, want) {
		t.Errorf("missing are %v, want %v", told, want)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) < 2 || s.asked[len(s.asked)-1].Until == "" {
		t.Errorf("it was asked as %+v", s.asked)
	}
}

// What a reader asks for arrives at the node.
func TestWhatAReaderAsksForArrives(t *testing.T) {
	s := newShelf()
	c := dial(t, serveBroker(t, s))
	r, err := c.Stream("all").Read(t.Context(), client.Latest, client.Follow(), client.Partial(),
		client.Matching(client.Source("/a")), client.OrderByTime(3*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want := node.StreamRead{
		Namespace: s.asked[0].Namespace, Name: "all", From: "latest", Follow: true, Partial: true,
		Filter: []byte(`{"exact":{"source":"/a"}}`), Order: node.ByTime, Hold: 3 * time.Second,
	}
	if !reflect.DeepEqual(s.asked[0], want) {
		t.Errorf("asked for is %+v, want %+v", s.asked[0], want)
	}
	if _, err := c.Stream("all").Read(t.Context(), "", client.Matching(client.Where("this is no expression"))); !errors.Is(err, client.ErrBadFilter) {
		t.Errorf("a filter that does not parse: %v", err)
	}
}

// Readers are told which regions are missing, in their place; who needs all of them
// gets an error that names them.
func TestReadersAreToldWhichRegionsAreMissing(t *testing.T) {
	s := newShelf()
	p := open(t, s, "127.0.0.1:0")
	c := dial(t, p.addr, client.WithReconnect(20*time.Millisecond))
	fill(t, c, 0, 10)
	var told [][]string
	hear := client.OnMissing(func(regions []string) { told = append(told, regions) })
	r, err := c.Stream("all").Read(t.Context(), client.Earliest, client.Follow(), hear)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	expect(t, r, 0, 10)
	s.lose("eu", "us")
	fill(t, c, 10, 20)
	expect(t, r, 10, 20)
	if want := [][]string{{"eu", "us"}}; !reflect.DeepEqual(told, want) {
		t.Errorf("missing are %v, want %v", told, want)
	}
	var missing *client.MissingError
	if _, err := c.Stream("all").Read(t.Context(), client.Earliest); !errors.As(err, &missing) || !errors.Is(err, client.ErrMissing) ||
		!reflect.DeepEqual(missing.Regions, []string{"eu", "us"}) {
		t.Errorf("a read that needs all regions: %v", err)
	}
	var some [][]string
	part, err := c.Stream("all").Read(t.Context(), client.Earliest, client.Partial(), client.OnMissing(func(regions []string) { some = append(some, regions) }))
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	expect(t, part, 0, 20)
	if _, err := part.Next(t.Context()); !errors.Is(err, io.EOF) || len(some) != 1 {
		t.Errorf("at the end: %v, missing were %v", err, some)
	}
	s.lose()
	fill(t, c, 20, 30)
	expect(t, r, 20, 30)
	if len(told) != 2 || len(told[1]) > 0 {
		t.Errorf("missing are %v", told)
	}
	// In the middle of a read that needs all.
	fill(t, c, 30, 3000)
	whole, err := c.Stream("all").Read(t.Context(), client.Earliest, client.WithReadBuffer(1))
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	s.lose("us")
	for {
		if _, err = whole.Next(t.Context()); err != nil {
			break
		}
	}
	if !errors.As(err, &missing) || !reflect.DeepEqual(missing.Regions, []string{"us"}) {
		t.Errorf("in the middle: %v", err)
	}
}

func TestAReadThatCannotBeSaysWhy(t *testing.T) {
	s := newShelf()
	c := dial(t, serveBroker(t, s))
	fill(t, c, 0, 10)
	s.mu.Lock()
	s.start = 5
	s.mu.Unlock()
	for _, one := range []struct {
		name, from string
		want       error
	}{{"none", "", client.ErrNoStream}, {"all", "nowhere", client.ErrBadPosition}, {"all", "here/0:3", client.ErrTrimmed}} {
		if _, err := c.Stream(one.name).Read(t.Context(), one.from); !errors.Is(err, one.want) {
			t.Errorf("stream %s from %q: %v, want %v", one.name, one.from, err, one.want)
		}
	}
	var trimmed *client.TrimmedError
	if _, err := c.Stream("all").Read(t.Context(), "here/0:3"); !errors.As(err, &trimmed) || trimmed.First != 5 || trimmed.Region != "here" {
		t.Errorf("trimmed is told as %v", err)
	}
	old := dial(t, serveBroker(t, &hub{}))
	if _, err := old.Stream("all").Read(t.Context(), ""); !errors.Is(err, client.ErrVersion) {
		t.Errorf("a node that knows nothing of streams: %v", err)
	}
}

func TestPublishersLearnWhereTheirEventsAreKept(t *testing.T) {
	s := newShelf()
	addr := serveBroker(t, s)
	c := dial(t, addr, client.WithPositions())
	var acks []client.Ack
	for i := range 1000 {
		e := newEvent(i)
		if i == 999 {
			e.SetID("again")
		}
		ack, err := c.PublishAsync(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, ack)
	}
	for i, ack := range acks {
		if err := ack.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := ack.Positions()
		if len(p) != 1 || p[0].Offset != int64(i) || p[0].Duplicate != (i == 999) {
			t.Fatalf("event %d is kept at %v", i, p)
		}
	}
	quiet := dial(t, addr)
	ack, err := quiet.PublishAsync(t.Context(), newEvent(1))
	if err == nil {
		err = ack.Wait(t.Context())
	}
	if err != nil || len(ack.Positions()) != 0 {
		t.Errorf("who did not ask is told %v, %v", ack.Positions(), err)
	}
	for code, err := range map[error]error{
		client.ErrNotKept:   fmt.Errorf("%w: no leader", node.ErrNotKept),
		client.ErrMaybeKept: fmt.Errorf("%w: %w", node.ErrNotKept, node.ErrUnknown),
	} {
		s.fail.Store(&err)
		if got := c.Publish(t.Context(), newEvent(1)); !errors.Is(got, code) {
			t.Errorf("%v is told as %v", err, got)
		}
	}
}

// A publisher that does not wait for streams hears that its events are not kept yet.
func TestPublishersLearnWhatIsNotKeptYet(t *testing.T) {
	addr := serveBroker(t, newShelf())
	c := dial(t, addr, client.WithPositions(), client.WithDurability(client.Routed))
	acks := make([]client.Ack, 300)
	for i := range acks {
		var err error
		if acks[i], err = c.PublishAsync(t.Context(), newEvent(i)); err != nil {
			t.Fatal(err)
		}
	}
	told := map[string]int{}
	for i, ack := range acks {
		if err := ack.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := ack.Positions()
		if len(p) != 1 || p[0].Routed == p[0].Waiting {
			t.Fatalf("event %d is at %+v", i, p)
		}
		told[p[0].String()]++
	}
	if told["all@eu/0;routed"] == 0 || told["all@eu/0;routed"]+told["all@eu;waiting"] != len(acks) {
		t.Errorf("it is told as %v", told)
	}
	if _, err := client.Dial(t.Context(), addr, client.WithDurability("sure")); err == nil {
		t.Error("an unknown durability is taken")
	}
}

// Who does not wait for streams becomes as slow as they are, instead of having ever
// more on its way to them.
func TestWhoOnlyRoutesIsNotFasterThanStreamsForLong(t *testing.T) {
	s := newShelf()
	s.shelve = make(chan struct{})
	c := dial(t, open(t, s, "127.0.0.1:0").addr, client.WithDurability(client.Routed))
	const most = 64
	for i := range most { // each is acknowledged although nothing is kept
		if err := c.Publish(t.Context(), newEvent(i)); err != nil {
			t.Fatal(err)
		}
	}
	one, err := c.PublishAsync(t.Context(), newEvent(most))
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Stream("all").Read(t.Context(), client.Earliest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() // the node reads one frame after the other: it has that event
	s.mu.Lock()
	begun := s.begun
	s.mu.Unlock()
	if begun != most {
		t.Errorf("%d publishes are on their way to streams that keep nothing, want %d", begun, most)
	}
	close(s.shelve)
	if err := one.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	fill(t, c, most+1, 3*most)
}

// Publishes begin while those before are being kept, and end in their order.
func TestPublishesDoNotWaitForEachOther(t *testing.T) {
	s := newShelf()
	s.round = make(chan struct{})
	c := dial(t, open(t, s, "127.0.0.1:0").addr)
	const n = 15
	for i := range n {
		if _, err := c.PublishAsync(t.Context(), newEvent(i)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the publish begins", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.begun == i+1
		})
	}
	close(s.round)
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.inOrder(t, n)
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

// While another region is asked to keep a publish, what comes is kept together after
// it.
func TestWhatWaitsIsKeptTogether(t *testing.T) {
	s := newShelf()
	s.far = true
	s.round = make(chan struct{})
	p := open(t, s, "127.0.0.1:0")
	c := dial(t, p.addr)
	const n = 15
	for i := range n {
		e := newEvent(i)
		e.SetData("text/plain", make([]byte, 40<<10)) // so that each has a frame
		if _, err := c.PublishAsync(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	bad, err := c.PublishEnvelope(t.Context(), []byte("no event"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all frames have been read", func() bool { return p.server.Stats().EventsRefused == 1 })
	close(s.round)
	if err := bad.Wait(t.Context()); !errors.Is(err, client.ErrInvalidEvent) {
		t.Errorf("what is no event: %v", err)
	}
	s.inOrder(t, n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rounds > 3 { // the last frame is known to be read a moment before it waits
		t.Errorf("the events were kept in %d rounds, want 2, or 3", s.rounds)
	}
}
