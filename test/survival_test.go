package test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// TestFlowOriginCrash: what a node has not sent goes with it, and all who may have
// wanted it are told, in its place, whether it comes back or not.
func TestFlowOriginCrash(t *testing.T) {
	for seed := range uint64(seeds(4)) {
		synctest.Test(t, func(t *testing.T) {
			r := &trial{t: t, rng: rand.New(rand.NewPCG(seed, 11)), acct: newAccount()}
			r.m = simmesh.New(t, simmesh.Config{Regions: []int{2, 2}, Seed: seed})
			r.listen(1)
			r.listen(2)
			r.steady(0, r.seconds(1, 2))
			r.m.CutRegions("r0", "r1")
			r.steady(0, r.seconds(0, 20))
			r.crash(0)
			if seed%2 == 0 {
				r.m.HealRegions("r0", "r1")
			}
			time.Sleep(r.seconds(0, 60)) // simulated
			r.m.HealRegions("r0", "r1")
			r.m.Start(0)
			r.m.WaitReady(0)
			r.steady(0, time.Second)
			all := r.acct.mark()
			time.Sleep(time.Minute) // simulated
			for _, w := range r.acct.wrong(all) {
				t.Errorf("seed %d: %s", seed, w)
			}
			if c := r.acct.counts(); c.gaps["origin_lost"] == 0 {
				t.Errorf("seed %d: nobody was told that the origin was lost: %v", seed, c)
			}
			r.deafen(1)
			r.deafen(2)
		})
	}
}

// punctual is a subscriber that notes how long events take.
type punctual struct {
	origin string // whose events they are
	mu     sync.Mutex
	next   map[string]int // by key
	wrong  []string
	events int
	worst  time.Duration
	late   int // took longer than limit
	limit  time.Duration
}

// watch has a punctual subscriber for all events at a node.
func watch(t *testing.T, n *node.Node, limit time.Duration) *punctual {
	t.Helper()
	s, err := n.Subscribe(t.Context(), node.SubscribeRequest{Filter: filter.Everything()})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Missing()) > 0 {
		t.Fatalf("the barrier misses %v", s.Missing())
	}
	p := &punctual{origin: "n0", next: map[string]int{}, limit: limit}
	go func() { // ends with the subscription
		buf := make([]queue.Item, 64)
		for {
			n, err := s.Next(t.Context(), buf)
			if err != nil {
				return
			}
			for i := range buf[:n] {
				p.take(&buf[i])
			}
		}
	}()
	t.Cleanup(s.Close)
	return p
}

func (p *punctual) take(it *queue.Item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if it.Gap != nil && it.Gap.Cause == "origin_lost" && it.Gap.Origin != p.origin {
		return // of a node that crashed and had said nothing
	}
	if it.Gap != nil {
		p.wrong = append(p.wrong, fmt.Sprintf("a gap: %+v", *it.Gap))
		return
	}
	number, _ := strconv.Atoi(it.Event.ID())
	if key := it.Event.Source(); p.next[key] != number {
		p.wrong = append(p.wrong, fmt.Sprintf("%s: event %d, want %d", key, number, p.next[key]))
	} else {
		p.next[string([]byte(key))] = number + 1
	}
	data, _ := it.Event.Data()
	sent, _ := strconv.ParseInt(string(data), 10, 64)
	took := time.Duration(time.Now().UnixNano() - sent)
	if p.events++; took > p.limit {
		p.late++
	}
	p.worst = max(p.worst, took)
}

// pace publishes at a node, the keys in turn, as often as every says; it returns how
// many events of each there are.
func pace(t *testing.T, n *node.Node, keys []string, said map[string]int, every, lasting time.Duration) {
	t.Helper()
	for i, end := 0, time.Now().Add(lasting); time.Now().Before(end); i++ {
		key := keys[i%len(keys)]
		var b event.Builder
		b.SetString("id", strconv.Itoa(said[key])).SetString("source", key).SetString("type", "a")
		b.SetData(event.TextData, strconv.AppendInt(nil, time.Now().UnixNano(), 10))
		ev, err := b.Event()
		if err == nil {
			err = n.Publish(t.Context(), "", []event.Event{ev}, "")
		}
		if err != nil {
			t.Fatal(err)
		}
		said[key]++
		time.Sleep(every)
	}
}

// keysOf are keys that are on several lanes.
func keysOf(count int) (keys []string) {
	for i := range count {
		keys = append(keys, fmt.Sprint("/key/", i))
	}
	return keys
}

// TestGatewayFailoverOrder: when the gateways of a region crash under load, one after
// the other, the others go on within two and a half seconds, and everything comes in
// order and once.
func TestGatewayFailoverOrder(t *testing.T) {
	trials(t, 4, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 13))
			m := simmesh.New(t, simmesh.Config{Regions: []int{1, 3}, Seed: seed})
			keys, said := keysOf(24), map[string]int{}
			stays := 1 + rng.IntN(3)
			p := watch(t, m.Nodes[stays], 2500*time.Millisecond)
			some := func(from, to int) time.Duration {
				return time.Duration(from+rng.IntN(to-from)) * time.Millisecond
			}
			pace(t, m.Nodes[0], keys, said, 5*time.Millisecond, some(500, 1500))
			for range 3 {
				i := 1 + rng.IntN(3)
				if i == stays {
					continue
				}
				m.Crash(i)
				pace(t, m.Nodes[0], keys, said, 5*time.Millisecond, some(0, 6000))
				m.Start(i)
				pace(t, m.Nodes[0], keys, said, 5*time.Millisecond, some(0, 2000))
				m.WaitReady(i)
				pace(t, m.Nodes[0], keys, said, 5*time.Millisecond, some(1000, 2000))
			}
			time.Sleep(5 * time.Second) // simulated
			p.mu.Lock()
			defer p.mu.Unlock()
			total := 0
			for _, n := range said {
				total += n
			}
			if len(p.wrong) > 0 || p.events != total {
				t.Errorf("%d of %d events came; %v", p.events, total, p.wrong[:min(len(p.wrong), 5)])
			}
			if p.late > 0 {
				t.Errorf("%d events took longer than %v, the last of them %v", p.late, p.limit, p.worst)
			}
		})
	})
}

// TestLaneHOL: where packets get lost, what waits for one that is sent again is what
// shares its lane, and not the rest.
func TestLaneHOL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wan = 40 * time.Millisecond
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}, WAN: wan})
		p := watch(t, m.Nodes[1], wan+10*time.Millisecond)
		keys, said := keysOf(64), map[string]int{}
		m.SetLoss(0.03)
		pace(t, m.Nodes[0], keys, said, 2*time.Millisecond, time.Minute) // lanes are opened
		lanes := 0
		for _, l := range m.Nodes[0].LinkViews() {
			lanes = max(lanes, l.Lanes)
		}
		p.mu.Lock()
		before, late := p.events, p.late
		p.mu.Unlock()
		pace(t, m.Nodes[0], keys, said, 2*time.Millisecond, time.Minute)
		time.Sleep(5 * time.Second) // simulated
		p.mu.Lock()
		defer p.mu.Unlock()
		share := float64(p.late-late) / float64(p.events-before)
		t.Logf("%d lanes; %.1f %% of the events came late, the last of them after %v", lanes, 100*share, p.worst)
		if len(p.wrong) > 0 || lanes < 4 || share > 0.05 {
			t.Errorf("%d lanes, %.1f %% late, %v", lanes, 100*share, p.wrong)
		}
	})
}
