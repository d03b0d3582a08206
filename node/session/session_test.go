package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/node/client"
	"github.com/skeinmesh/skein/transport/event"
)

func TestPublishedEventsReachSubscribersInOrder(t *testing.T) {
	p := serve(t, &hub{}, "127.0.0.1:0")
	sub, pub := dial(t, p.addr), dial(t, "http://"+p.addr)
	got := make(chan client.Delivery, 10)
	s, err := sub.SubscribeChan(t.Context(), client.Everything(), got)
	if err != nil {
		t.Fatal(err)
	}
	if m := s.Missing(); len(m) != 1 || m[0] != "far" {
		t.Errorf("missing regions %q, want far", m)
	}
	if n := pub.Node(); n.Name != "one" || n.Region != "here" || n.ID != "n1" {
		t.Errorf("the node greets as %+v", n)
	}
	const n = 5000
	go func() {
		for i := range n {
			if _, err := pub.PublishAsync(context.Background(), newEvent(i)); err != nil {
				t.Error(err)
			}
		}
		if err := pub.Flush(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for i, d := range receive(t, got, n) {
		if d.Gap != nil || d.Event.ID() != fmt.Sprint(i) {
			t.Fatalf("delivery %d is %v, gap %v", i, d.Event.ID(), d.Gap)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the subscription is gone at the broker", func() bool { return p.live() == 0 })
}

func TestPublishTellsWhyTheNodeRefused(t *testing.T) {
	h := &hub{}
	p := serve(t, h, "127.0.0.1:0")
	c := dial(t, p.addr)
	bad := newEvent(1)
	bad.SetType("")
	if err := c.Publish(t.Context(), bad); !errors.Is(err, client.ErrInvalidEvent) || !strings.Contains(err.Error(), "type") {
		t.Errorf("an event without a type: %v", err)
	}
	if err := c.Publish(t.Context(), newEvent(2)); err != nil {
		t.Errorf("a good event after a bad one: %v", err)
	}
	why := fmt.Errorf("%w: seeds are silent", node.ErrNotReady)
	h.fail.Store(&why)
	if err := c.Publish(t.Context(), newEvent(3)); !errors.Is(err, client.ErrNotReady) || !strings.Contains(err.Error(), "seeds are silent") {
		t.Errorf("at a node that is not ready: %v", err)
	}
	unkept := fmt.Errorf("%w: no leader", node.ErrNotKept)
	h.fail.Store(&unkept)
	if err := c.Publish(t.Context(), newEvent(3)); !errors.Is(err, client.ErrNotKept) || !strings.Contains(err.Error(), "no leader") {
		t.Errorf("where a stream cannot keep it: %v", err)
	}
	large := newEvent(4)
	large.SetData("text/plain", make([]byte, 1<<20))
	if err := c.Publish(t.Context(), large); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("a large event: %v", err)
	}
	if n := h.count.Load(); n != 1 {
		t.Errorf("%d events were routed, want 1", n)
	}
}

func TestOneBadEventOfABatchIsRefusedAlone(t *testing.T) {
	h := &hub{}
	p := serve(t, h, "127.0.0.1:0")
	c := dial(t, p.addr)
	var acks []client.Ack
	for i := range 100 {
		e := newEvent(i)
		if i == 50 {
			e.SetType("")
		}
		ack, err := c.PublishAsync(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, ack)
	}
	for i, ack := range acks {
		if err := ack.Wait(t.Context()); (err != nil) != (i == 50) {
			t.Errorf("event %d: %v", i, err)
		}
	}
	if err := c.Flush(t.Context()); !errors.Is(err, client.ErrInvalidEvent) {
		t.Errorf("Flush: %v", err)
	}
	if n := h.count.Load(); n != 99 {
		t.Errorf("%d events were routed, want 99", n)
	}
}

func TestOfABatchThatIsRoutedInPartOnlyTheRestIsRefused(t *testing.T) {
	h := &hub{gate: make(chan struct{})}
	p := serve(t, h, "127.0.0.1:0")
	c := dial(t, p.addr)
	var why error = &node.PartialError{Routed: 4, Err: fmt.Errorf("%w: no room", node.ErrOverloaded)}
	h.fail.Store(&why)
	var acks []client.Ack // of few frames: the broker is busy with the first
	for i := range 100 {
		e := newEvent(i)
		if i%7 == 3 {
			e.SetType("")
		}
		ack, err := c.PublishAsync(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, ack)
	}
	close(h.gate)
	taken, refused := int64(0), 0
	for i, ack := range acks {
		switch err := ack.Wait(t.Context()); {
		case err == nil:
			taken++
		case errors.Is(err, client.ErrOverloaded):
			refused++
		case i%7 != 3:
			t.Error(err)
		}
	}
	if routed := h.count.Load(); routed != taken || refused == 0 {
		t.Errorf("%d events were routed, %d acknowledged and %d refused", routed, taken, refused)
	}
}

func TestABusyBrokerSlowsThePublisherDown(t *testing.T) {
	h := &hub{gate: make(chan struct{})}
	p := serve(t, h, "127.0.0.1:0")
	c := dial(t, p.addr, client.WithWindow(10, 1<<20))
	for i := range 10 {
		if _, err := c.PublishAsync(t.Context(), newEvent(i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.PublishAsync(ctx, newEvent(10)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the eleventh event of a window of ten: %v", err)
	}
	close(h.gate)
	if err := c.Publish(t.Context(), newEvent(11)); err != nil {
		t.Fatal(err)
	}
	if n := h.count.Load(); n != 11 {
		t.Errorf("%d events were routed, want 11", n)
	}
}

// Credit and subscribe frames leave between events that are being published:
// they must not end up within a publish frame that still grows.
func TestOtherFramesDoNotDisturbABatch(t *testing.T) {
	p := serve(t, &hub{}, "127.0.0.1:0")
	c := dial(t, p.addr)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			s, err := c.SubscribeRaw(t.Context(), client.Everything(), func(event.Event) {}, client.WithBuffer(1))
			if err != nil {
				t.Error(err)
				return
			}
			s.Close()
		}
	})
	for i := range 20000 {
		if _, err := c.PublishAsync(t.Context(), newEvent(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	close(stop)
	wg.Wait()
}

func TestASlowSubscriberGetsAGapAndSlowsNobody(t *testing.T) {
	p := serve(t, &hub{}, "127.0.0.1:0")
	c := dial(t, p.addr) // both on one connection
	release, gap := make(chan struct{}), make(chan client.Gap, 100)
	let := sync.OnceFunc(func() { close(release) })
	t.Cleanup(let)
	slow, slowSeen := 0, make(chan int, 1)
	const n = 20000
	_, err := c.SubscribeRaw(t.Context(), client.Everything(), func(ev event.Event) {
		<-release
		if slow++; ev.ID() == fmt.Sprint(n-1) {
			slowSeen <- slow
		}
	}, client.OnGap(func(g client.Gap) { gap <- g }), client.WithBuffer(64<<10), client.WithQueue(64<<10))
	if err != nil {
		t.Fatal(err)
	}
	fast := make(chan struct{})
	var seen atomic.Int64
	if _, err := c.SubscribeRaw(t.Context(), client.Everything(), func(event.Event) {
		if seen.Add(1) == n {
			close(fast)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := c.PublishAsync(t.Context(), newEvent(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-fast:
	case <-time.After(10 * time.Second):
		t.Fatalf("the fast subscriber waits for the slow one: it has %d of %d events", seen.Load(), n)
	}
	let()
	got := <-slowSeen
	lost := 0
	for len(gap) > 0 {
		lost += int((<-gap).Count)
	}
	if lost == 0 || got+lost != n {
		t.Errorf("the slow subscriber got %d events and gaps of %d, together not %d", got, lost, n)
	}
}

func TestNamespacesNeverMix(t *testing.T) {
	p := serve(t, &hub{}, "127.0.0.1:0")
	a, b := dial(t, p.addr, client.WithNamespace("a")), dial(t, p.addr, client.WithNamespace("b"))
	got := make(chan client.Delivery, 10)
	if _, err := b.SubscribeChan(t.Context(), client.Everything(), got); err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(t.Context(), newEvent(1)); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), newEvent(2)); err != nil {
		t.Fatal(err)
	}
	if d := receive(t, got, 1)[0]; d.Event.ID() != "2" {
		t.Errorf("namespace b got %s", d.Event.ID())
	}
}

func TestTheClientConnectsAgainAndTellsOfTheGap(t *testing.T) {
	for _, once := range []bool{false, true} {
		t.Run(fmt.Sprintf("at least once %v", once), func(t *testing.T) {
			h := &hub{gate: make(chan struct{})}
			p := serve(t, h, "127.0.0.1:0")
			options := []client.Option{client.WithReconnect(20 * time.Millisecond)}
			if once {
				options = append(options, client.WithAtLeastOnce())
			}
			c := dial(t, p.addr, options...)
			got := make(chan client.Delivery, 10)
			if _, err := c.SubscribeChan(t.Context(), client.Everything(), got); err != nil {
				t.Fatal(err)
			}
			ack, err := c.PublishAsync(t.Context(), newEvent(1)) // the hub never routes it
			if err != nil {
				t.Fatal(err)
			}
			p.stop()
			h2 := &hub{}
			serve(t, h2, p.addr)
			switch err := ack.Wait(t.Context()); {
			case once && err != nil:
				t.Errorf("with at least once: %v", err)
			case !once && !errors.Is(err, client.ErrUnknownOutcome):
				t.Errorf("an event without an answer: %v", err)
			}
			if d := receive(t, got, 1)[0]; d.Gap == nil || d.Gap.Cause != client.Reconnect {
				t.Errorf("first came %v, want a gap", d)
			}
			eventually(t, "the subscription is made anew", func() bool { return h2.live() == 1 })
			if err := c.Publish(t.Context(), newEvent(2)); err != nil {
				t.Error(err)
			}
			want := 1
			if once {
				want = 2
			}
			if n := h2.count.Load(); n != int64(want) {
				t.Errorf("the second node routed %d events, want %d", n, want)
			}
		})
	}
}

func TestWithoutReconnectTheClientEnds(t *testing.T) {
	p := serve(t, &hub{}, "127.0.0.1:0")
	c := dial(t, p.addr, client.WithReconnect(0))
	s, err := c.Subscribe(t.Context(), client.Everything(), func(cloudevents.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	p.stop()
	<-s.Done()
	if !errors.Is(s.Err(), client.ErrClosed) {
		t.Errorf("the subscription ended with %v", s.Err())
	}
	if err := c.Publish(t.Context(), newEvent(1)); !errors.Is(err, client.ErrClosed) || !strings.Contains(err.Error(), "closing") {
		t.Errorf("publish: %v", err)
	}
}

func TestSubscriptionsAreBoundedAndRefusedWithReason(t *testing.T) {
	p := serve(t, &hub{}, "127.0.0.1:0")
	c := dial(t, p.addr)
	for i := range 9 {
		_, err := c.Subscribe(t.Context(), client.Everything(), func(cloudevents.Event) {})
		if (i < 8) != (err == nil) || i == 8 && !errors.Is(err, client.ErrTooMany) {
			t.Errorf("subscription %d: %v", i, err)
		}
	}
	if err := c.Publish(t.Context(), newEvent(1)); err != nil {
		t.Errorf("a refused subscription ended more than itself: %v", err)
	}
}

func TestAnUpgradeToAnotherProtocolIsRefusedWithReason(t *testing.T) {
	p := serve(t, &hub{}, "127.0.0.1:0")
	for _, upgrade := range []string{"", "websocket", "skein/2"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+p.addr+"/native", nil)
		if err != nil {
			t.Fatal(err)
		}
		if upgrade != "" {
			req.Header.Set("Connection", "upgrade")
			req.Header.Set("Upgrade", upgrade)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusUpgradeRequired || res.Header.Get("Upgrade") != "skein/1" || !strings.Contains(string(body), upgrade) {
			t.Errorf("upgrade to %q: %s, %s, %v", upgrade, res.Status, body, err)
		}
	}
}
