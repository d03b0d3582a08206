package session_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/node/client"
)

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
