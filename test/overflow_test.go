package test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

const (
	smallBuffer = 64 << 10 // bytes towards a region
	padding     = 1000     // bytes of an event
	tooMany     = 200      // events, for the buffer
)

// cutOff runs a test on a mesh of two regions that are cut from each other, with
// little room for what they have for each other, and a subscriber in the second.
func cutOff(t *testing.T, test func(t *testing.T, m *simmesh.Mesh, far *node.Subscription)) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}, Node: func(_ int, cfg *node.Config) { cfg.RegionBuffer = smallBuffer }})
		far := subscribe(t, m.Nodes[1], "a")
		publish(t, m.Nodes[0], "a", "first")
		if got := collect(t, far, time.Second); !slices.Equal(got, []string{"first"}) {
			t.Fatalf("before the cut: %v", got)
		}
		m.CutRegions("r0", "r1")
		m.Until(time.Minute, "the link is down", func() bool { return !linked(m, "r0", "r1") })
		test(t, m, far)
	})
}

// flood publishes events of one key until one is refused, and says how many were
// taken.
func flood(t *testing.T, n *node.Node, overflow node.Overflow) (taken int, err error) {
	t.Helper()
	for ; taken < tooMany; taken++ {
		ev := newEvent(t, "a", fmt.Sprint(taken), make([]byte, padding))
		if err := n.Publish(t.Context(), "", []event.Event{ev}, overflow); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// harvest is what comes of a flood once the regions reach each other again.
func harvest(t *testing.T, m *simmesh.Mesh, s *node.Subscription) (items []queue.Item) {
	t.Helper()
	m.HealRegions("r0", "r1")
	m.Until(time.Minute, "the flow has caught up", func() bool {
		return m.Nodes[0].Stats().Flows.Bytes == 0 && linked(m, "r0", "r1")
	})
	buf := make([]queue.Item, 2*tooMany)
	n, err := s.Next(t.Context(), buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func TestWithoutRoomTheOldestGoAndAGapTellsHowMany(t *testing.T) {
	cutOff(t, func(t *testing.T, m *simmesh.Mesh, far *node.Subscription) {
		start := time.Now()
		if _, err := flood(t, m.Nodes[0], node.DropOldest); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited > 0 {
			t.Errorf("a publisher waited %v for a region that is cut off", waited)
		}
		items := harvest(t, m, far)
		g := items[0].Gap
		if g == nil || g.Cause != "overflow" || g.Origin != "n0" || int(g.Count) != tooMany-len(items)+1 {
			t.Fatalf("of %d events came %d after the gap %+v", tooMany, len(items)-1, g)
		}
		if last := items[len(items)-1].Event.ID(); last != fmt.Sprint(tooMany-1) {
			t.Errorf("the last is event %s", last)
		}
		if st := m.Nodes[1].Stats(); st.Missed["overflow"] != g.Count || st.Gaps["overflow"] == 0 {
			t.Errorf("counted: missed %v, gaps %v", st.Missed, st.Gaps)
		}
	})
}

func TestWithoutRoomTheNewestGoWhenThatIsAskedFor(t *testing.T) {
	cutOff(t, func(t *testing.T, m *simmesh.Mesh, far *node.Subscription) {
		if _, err := flood(t, m.Nodes[0], node.DropNewest); err != nil {
			t.Fatal(err)
		}
		items := harvest(t, m, far)
		g := items[len(items)-1].Gap
		if g == nil || g.Cause != "overflow" || int(g.Count) != tooMany-len(items)+1 || items[0].Event.ID() != "0" {
			t.Errorf("of %d events came %d, the first is %q, then the gap %+v", tooMany, len(items)-1, items[0].Event.ID(), g)
		}
	})
}

func TestWithoutRoomAPublisherThatBlocksIsRefusedAfterAWhileAndLosesNothing(t *testing.T) {
	cutOff(t, func(t *testing.T, m *simmesh.Mesh, far *node.Subscription) {
		near := subscribe(t, m.Nodes[0], "a")
		start := time.Now()
		taken, err := flood(t, m.Nodes[0], node.Block)
		if !errors.Is(err, node.ErrOverloaded) || taken < smallBuffer/2/16/padding {
			t.Fatalf("%d events were taken, then %v", taken, err)
		}
		if waited := time.Since(start); waited < time.Second || waited > 3*time.Second {
			t.Errorf("it waited %v", waited)
		}
		items := harvest(t, m, far)
		if len(items) != taken || items[0].Gap != nil {
			t.Errorf("of %d events came %d", taken, len(items))
		}
		if got := collect(t, near, time.Second); len(got) != taken {
			t.Errorf("a subscriber here got %d events, %d were taken: one that is refused must reach nobody", len(got), taken)
		}
	})
}

// A batch of which only a part finds room: that part is routed at once, and the
// publisher is told which it is.
func TestABatchThatBlocksIsRefusedFromTheEventOnThatFindsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 1}, Node: func(_ int, cfg *node.Config) { cfg.RegionBuffer = smallBuffer }})
		near, far := subscribe(t, m.Nodes[1], "near"), subscribe(t, m.Nodes[2], "a")
		m.CutRegions("r0", "r1")
		m.Until(time.Minute, "the link is down", func() bool { return !linked(m, "r0", "r1") })
		taken, err := flood(t, m.Nodes[0], node.Block)
		if !errors.Is(err, node.ErrOverloaded) {
			t.Fatal(err)
		}
		start := time.Now()
		heard := make(chan time.Duration, 1)
		go func() {
			buf := make([]queue.Item, 4)
			if n, err := near.Next(t.Context(), buf); err != nil || n != 1 {
				t.Errorf("a subscriber of the own region got %d events, %v", n, err)
			}
			heard <- time.Since(start)
		}()
		full := func(id string) event.Event { return newEvent(t, "a", id, make([]byte, padding)) }
		err = m.Nodes[0].Publish(t.Context(), "", []event.Event{newEvent(t, "near", "1", nil), full("x"), full("y")}, node.Block)
		var partial *node.PartialError
		if !errors.Is(err, node.ErrOverloaded) || !errors.As(err, &partial) || partial.Routed != 1 {
			t.Errorf("the batch ended with %v", err)
		}
		if waited := time.Since(start); waited > 11*time.Second {
			t.Errorf("it waited %v", waited)
		}
		if took := <-heard; took > 100*time.Millisecond {
			t.Errorf("what is for the own region waited %v for another one", took)
		}
		items := harvest(t, m, far)
		if len(items) != taken || items[len(items)-1].Event.ID() == "y" {
			t.Errorf("%d events were taken and %d came", taken, len(items))
		}
	})
}

func TestAPublisherThatBlocksGoesOnWhenThereIsRoom(t *testing.T) {
	cutOff(t, func(t *testing.T, m *simmesh.Mesh, far *node.Subscription) {
		if _, err := flood(t, m.Nodes[0], node.DropNewest); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			done <- m.Nodes[0].Publish(t.Context(), "", []event.Event{newEvent(t, "a", "late", make([]byte, padding))}, node.Block)
		}()
		m.HealRegions("r0", "r1")
		for {
			err := <-done
			if err == nil {
				break
			}
			if !errors.Is(err, node.ErrOverloaded) { // it is dialled for longer than a publish waits
				t.Fatal(err)
			}
			go func() {
				done <- m.Nodes[0].Publish(t.Context(), "", []event.Event{newEvent(t, "a", "late", make([]byte, padding))}, node.Block)
			}()
		}
		items := harvest(t, m, far)
		if last := items[len(items)-1]; last.Gap != nil || last.Event.ID() != "late" {
			t.Errorf("the last is %+v", last)
		}
	})
}

// TestSlowConsumerIsolation: a subscriber that reads nothing, and a region that takes
// nothing, have gaps, and slow nobody else.
func TestSlowConsumerIsolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wan = 40 * time.Millisecond
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 1, 1}, WAN: wan, Node: func(_ int, cfg *node.Config) { cfg.RegionBuffer = smallBuffer }})
		all := []*node.Subscription{subscribe(t, m.Nodes[1], "a"), subscribe(t, m.Nodes[2], "a")}
		f, err := filter.Pattern("a")
		if err != nil {
			t.Fatal(err)
		}
		slow, err := m.Nodes[1].Subscribe(t.Context(), node.SubscribeRequest{Filter: f, QueueBytes: 10 * padding}) // reads nothing
		if err != nil {
			t.Fatal(err)
		}
		subscribe(t, m.Nodes[3], "a")
		m.IsolateRegion("r2")
		for i := range tooMany {
			ev := newEvent(t, "a", fmt.Sprint(i), make([]byte, padding))
			start := time.Now()
			if err := m.Nodes[0].Publish(t.Context(), "", []event.Event{ev}, ""); err != nil {
				t.Fatal(err)
			}
			for k, s := range all {
				buf := make([]queue.Item, 1)
				if _, err := s.Next(t.Context(), buf); err != nil || buf[0].Gap != nil || buf[0].Event.ID() != fmt.Sprint(i) {
					t.Fatalf("event %d at subscriber %d: %+v, %v", i, k, buf[0].Gap, err)
				}
				if took := time.Since(start); took > wan+10*time.Millisecond {
					t.Errorf("event %d came to subscriber %d after %v", i, k, took)
				}
			}
		}
		if got := collect(t, slow, time.Second); len(got) < 2 || len(got) > 11 || got[0] != "gap" {
			t.Errorf("the slow one got %v", got)
		}
		slow.Close()
	})
}

func TestASlowSubscriberIsDisconnectedWhenItAskedForThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1}})
		s, err := m.Nodes[0].Subscribe(t.Context(), node.SubscribeRequest{Filter: filter.Everything(), QueueBytes: 10 * padding, Slow: node.SlowDisconnect})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := flood(t, m.Nodes[0], ""); err != nil {
			t.Fatal(err)
		}
		buf := make([]queue.Item, 10)
		if n, err := s.Next(t.Context(), buf); !errors.Is(err, node.ErrSlow) {
			t.Errorf("it got %d items, %v", n, err)
		}
		if st := m.Nodes[0].Stats(); st.Subscribers != 0 {
			t.Errorf("%d subscriptions are left", st.Subscribers)
		}
	})
}
