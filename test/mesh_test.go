package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// newEvent makes an event of a type with an id and data.
func newEvent(t *testing.T, typ, id string, data []byte) event.Event {
	t.Helper()
	var b event.Builder
	b.SetString("id", id).SetString("source", "/test").SetString("type", typ)
	b.SetData(event.TextData, data)
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// publish publishes one event at a node.
func publish(t *testing.T, n *node.Node, typ, id string) {
	t.Helper()
	if err := n.Publish(t.Context(), "", []event.Event{newEvent(t, typ, id, []byte("data of "+id))}, ""); err != nil {
		t.Fatalf("publish %s: %v", id, err)
	}
}

// subscribe subscribes to a type pattern with the whole barrier.
func subscribe(t *testing.T, n *node.Node, pattern string) *node.Subscription {
	t.Helper()
	f, err := filter.Pattern(pattern)
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.Subscribe(t.Context(), node.SubscribeRequest{Filter: f})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// collect returns the ids of what comes within a time, gaps as "gap".
func collect(t *testing.T, s *node.Subscription, within time.Duration) (ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	buf := make([]queue.Item, 64)
	for {
		n, err := s.Next(ctx, buf)
		if err != nil {
			return ids
		}
		for _, it := range buf[:n] {
			if it.Gap != nil {
				ids = append(ids, "gap")
			} else {
				ids = append(ids, strings.Clone(it.Event.ID()))
			}
		}
	}
}

func numbers(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint(prefix, i))
	}
	return ids
}

func TestAnEventReachesEveryMatchingSubscriberOnceAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 2, 2}})
		var subs []*node.Subscription
		for _, n := range m.Nodes {
			s := subscribe(t, n, "order.*")
			if len(s.Missing()) > 0 {
				t.Fatalf("the barrier misses %v", s.Missing())
			}
			subs = append(subs, s, subscribe(t, n, "order.>"))
			subscribe(t, n, "other")
		}
		for i := range 20 {
			publish(t, m.Nodes[1], "order.created", fmt.Sprint(i))
			publish(t, m.Nodes[1], "invoice.created", fmt.Sprint("x", i))
		}
		for i, s := range subs {
			if got := collect(t, s, 2*time.Second); !slices.Equal(got, numbers("", 20)) {
				t.Errorf("subscriber %d at node %d got %v", i, i/2, got)
			}
		}
	})
}

func TestAnEventTakesOneWANHop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wan = 40 * time.Millisecond
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}, WAN: wan})
		s := subscribe(t, m.Nodes[1], "a")
		publish(t, m.Nodes[0], "a", "1")
		buf := make([]queue.Item, 1)
		start := time.Now()
		if _, err := s.Next(t.Context(), buf); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != wan {
			t.Errorf("took %v, want one hop of %v", took, wan)
		}
	})
}

func TestAnEventCrossesTheWANOnceForAllNodesOfARegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{3, 4}})
		for _, n := range m.Nodes[3:] {
			subscribe(t, n, "a")
			subscribe(t, n, ">")
		}
		const events = 50
		for i := range events {
			publish(t, m.Nodes[i%3], "a", fmt.Sprint(i))
		}
		time.Sleep(2 * time.Second)
		var crossed uint64
		for _, n := range m.Nodes[:3] {
			for _, l := range n.LinkViews() {
				if l.ToRegion == "r1" {
					crossed += l.EventsOut
				}
			}
		}
		if crossed != events {
			t.Errorf("%d events crossed the WAN for %d published", crossed, events)
		}
	})
}

func TestNamespacesNeverCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}})
		in := func(ns string) *node.Subscription {
			s, err := m.Nodes[1].Subscribe(t.Context(), node.SubscribeRequest{Namespace: ns, Filter: filter.Everything()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			return s
		}
		plain, blue, red := in(""), in("blue"), in("red")
		for _, ns := range []string{"", "default", "blue", "red"} {
			if err := m.Nodes[0].Publish(t.Context(), ns, []event.Event{newEvent(t, "a", "in "+ns, nil)}, ""); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			sub  *node.Subscription
			want []string
		}{{plain, []string{"in ", "in default"}}, {blue, []string{"in blue"}}, {red, []string{"in red"}}} {
			if got := collect(t, c.sub, time.Second); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		}
		if err := m.Nodes[0].Publish(t.Context(), "no good", nil, ""); err == nil {
			t.Error("a namespace with a space was taken")
		}
	})
}

// The theorem of the subscribe barrier: whoever got the answer misses nothing
// that is published afterwards at any linked node.
func TestSubscribeBarrier(t *testing.T) {
	for seed := range uint64(seeds(4)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { barrierRun(t, seed) })
		})
	}
}

func barrierRun(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	m := simmesh.New(t, simmesh.Config{Regions: []int{2, 3, 1}, Seed: seed})
	m.SetLoss(0.02)
	for round := range 12 {
		sub := rng.IntN(len(m.Nodes))
		typ := fmt.Sprintf("type.%d", rng.IntN(6))
		pattern := typ
		if rng.IntN(3) == 0 {
			pattern = "type.*"
		}
		s := subscribe(t, m.Nodes[sub], pattern)
		if len(s.Missing()) > 0 {
			t.Fatalf("round %d: the barrier misses %v", round, s.Missing())
		}
		var want []string
		for i, p := range rng.Perm(len(m.Nodes)) {
			id := fmt.Sprintf("%d/%d at node %d", round, i, p)
			publish(t, m.Nodes[p], typ, id)
			want = append(want, id)
		}
		got := collect(t, s, 3*time.Second)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: subscribed to %s at node %d and got\n%s\nwant\n%s", round, pattern, sub, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if rng.IntN(2) == 0 {
			s.Close() // what is left must not depend on it
		}
	}
}

func TestTheBarrierTakesOneWANRoundTripAndAFewOfTheLAN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wan, lan = 40 * time.Millisecond, 500 * time.Microsecond
		m := simmesh.New(t, simmesh.Config{Regions: []int{3, 3, 3}, WAN: wan, LAN: lan})
		for i, n := range m.Nodes {
			start := time.Now()
			s := subscribe(t, n, fmt.Sprint("type.", i))
			if took, want := time.Since(start), 2*wan+8*lan; took > want || len(s.Missing()) > 0 {
				t.Errorf("at node %d it took %v, want %v at most; missing %v", i, took, want, s.Missing())
			}
		}
	})
}

// TestRegionCutHeal: a region that is cut off works on, and heals by itself.
func TestRegionCutHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 2, 2}})
		far := subscribe(t, m.Nodes[0], "a")
		near := subscribe(t, m.Nodes[5], "a")

		m.IsolateRegion("r2")
		time.Sleep(10 * time.Minute)
		for _, l := range m.Nodes[4].LinkViews() {
			if (l.State == "up") != (l.ToRegion == "r2") {
				t.Errorf("during the cut the link to %s in %s is %s", l.ToName, l.ToRegion, l.State)
			}
		}
		publish(t, m.Nodes[4], "a", "in the cut")
		if got := collect(t, near, time.Second); !slices.Equal(got, []string{"in the cut"}) {
			t.Errorf("inside the cut region: got %v", got)
		}
		s := subscribe(t, m.Nodes[4], "b")
		if !slices.Equal(s.Missing(), []string{"r0", "r1"}) {
			t.Errorf("the barrier misses %v, want r0 and r1", s.Missing())
		}
		publish(t, m.Nodes[1], "a", "outside")

		m.HealRegion("r2")
		took := m.Until(time.Minute, "all links are up again", func() bool {
			for _, n := range m.Nodes {
				for _, v := range n.NodeViews() {
					if v.State != "self" && v.State != "up" {
						return false
					}
				}
				if len(n.NodeViews()) != len(m.Nodes) {
					return false
				}
			}
			return true
		})
		t.Logf("healed after %v", took)
		if got := collect(t, far, 2*time.Second); !slices.Equal(got, []string{"outside", "in the cut"}) {
			t.Errorf("what was published in the cut region: got %v", got)
		}
		if got := collect(t, near, 2*time.Second); !slices.Equal(got, []string{"outside"}) {
			t.Errorf("what was published outside: got %v", got)
		}
		publish(t, m.Nodes[4], "a", "healed")
		publish(t, m.Nodes[0], "b", "for the late one")
		if got := collect(t, far, time.Second); !slices.Equal(got, []string{"healed"}) {
			t.Errorf("after the heal: got %v", got)
		}
		if got := collect(t, s, time.Second); !slices.Equal(got, []string{"for the late one"}) {
			t.Errorf("who subscribed in the cut got %v after it", got)
		}
	})
}

func TestACrashedNodeComesBackAsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 2}})
		before := m.Nodes[3].Self()
		s := subscribe(t, m.Nodes[0], "a")
		m.Crash(3)
		time.Sleep(time.Minute)
		m.Start(3)
		m.WaitReady(3)
		after := m.Nodes[3].Self()
		if after.ID != before.ID || after.Boot != before.Boot+1 {
			t.Errorf("was %s boot %d, is %s boot %d", before.ID, before.Boot, after.ID, after.Boot)
		}
		publish(t, m.Nodes[3], "a", "back")
		if got := collect(t, s, time.Second); !slices.Equal(got, []string{"gap", "back"}) {
			t.Errorf("got %v: want word of what the crash may have cost, and the event", got)
		}
	})
}

func TestALeavingNodeIsForgottenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 2}})
		m.Leave(3)
		m.Until(3*time.Second, "nobody knows the node any more", func() bool {
			for _, n := range m.Nodes[:3] {
				if len(n.NodeViews()) != 3 {
					return false
				}
			}
			return true
		})
	})
}

func TestASlowSubscriberIsToldItsGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}})
		slow, err := m.Nodes[1].Subscribe(t.Context(), node.SubscribeRequest{Filter: filter.Everything(), QueueBytes: 2000})
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		quick := subscribe(t, m.Nodes[1], ">")
		for i := range 200 {
			publish(t, m.Nodes[0], "a", fmt.Sprint(i))
		}
		if got := collect(t, quick, time.Second); !slices.Equal(got, numbers("", 200)) {
			t.Errorf("the quick one got %d of 200", len(got))
		}
		got := collect(t, slow, time.Second)
		if len(got) < 2 || got[0] != "gap" || got[len(got)-1] != "199" {
			t.Fatalf("the slow one got %v", got)
		}
		if told, missed := m.Nodes[1].Stats().Missed["overflow"], uint64(200-len(got)+1); told != missed {
			t.Errorf("the node counts %d missed events, and %d were", told, missed)
		}
		for i, id := range got[1:] {
			if want := fmt.Sprint(200 - len(got) + 1 + i); id != want {
				t.Errorf("after the gap: %s, want %s", id, want)
			}
		}
	})
}
