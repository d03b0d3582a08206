package session_test

import (
	"context"
	"errors"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/node/client"
)

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
