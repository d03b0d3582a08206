package routing

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/transport/peer"
)

// A filter that accepts an event in two ways gets it once, however many do.
func TestASubscriptionFoundTwiceGetsTheEventOnce(t *testing.T) {
	ev := makeEvent(t, "a.b", "x")
	twice := filter.Filter{Conjuncts: []filter.Conjunct{{Type: "a.>"}, {Type: "*.b"}}}
	for _, n := range []int{1, few/2 - 1, few/2 + 1, few, 1000} {
		table := New("self", "eu")
		want := make([]Receiver, n)
		for i := range want {
			want[i] = &counted{}
			table.Subscribe("default", twice, want[i], "")
		}
		var m Match
		table.Match("default", &ev, &m)
		for _, r := range want {
			if !slices.Contains(m.Local, r) {
				t.Fatalf("of %d, one does not get it", n)
			}
		}
		if len(m.Local) != n {
			t.Errorf("%d receive, want %d", len(m.Local), n)
		}
	}
}

// Many subscribers to one event: the cost grows with their number, not faster.
func BenchmarkFanOut(b *testing.B) {
	ev := makeEvent(b, "a.b", "x")
	for name, f := range map[string]filter.Filter{
		"one conjunct":  {Conjuncts: []filter.Conjunct{{Type: "a.>"}}},
		"two conjuncts": {Conjuncts: []filter.Conjunct{{Type: "a.>"}, {Type: "*.b"}}},
	} {
		b.Run(name, func(b *testing.B) {
			table := New("self", "eu")
			for range 10_000 {
				table.Subscribe("default", f, &counted{}, "")
			}
			var m Match
			b.ReportAllocs()
			for b.Loop() {
				table.Match("default", &ev, &m)
			}
		})
	}
}

// What an update has changed, every Match after it sees; those that run at the
// same time see it or not.
func TestUpdatesAreSeenByEveryMatchAfterThem(t *testing.T) {
	table, ev := New("self", "eu"), makeEvent(t, "a.b", "x")
	f := filter.Filter{Conjuncts: []filter.Conjunct{{Type: "a.*"}}}
	entry := []string{EncodeEntry("default", f.Conjuncts[0])}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			var m Match
			mine, node := Receiver(&counted{}), peer.ID(fmt.Sprint("n", w))
			for range 200 {
				s := table.Subscribe("default", f, mine, "")
				if err := table.SetNode(node, entry, nil, true); err != nil {
					t.Error(err)
				}
				table.Match("default", &ev, &m)
				if !slices.Contains(m.Local, mine) || !slices.Contains(m.Nodes, node) {
					t.Error("what was added before is not found")
				}
				table.Unsubscribe(s)
				table.DropNode(node)
				table.Match("default", &ev, &m)
				if slices.Contains(m.Local, mine) || slices.Contains(m.Nodes, node) {
					t.Error("what was removed before is found")
				}
			}
		})
	}
	wg.Wait()
}

// Events are matched while a peer says very much: whoever matches sees some of
// it before all of it is there.
func TestEventsDoNotWaitForAllThatAPeerSays(t *testing.T) {
	var entries []string
	for i := range 20_000 {
		entries = append(entries, EncodeEntry("default", filter.Conjunct{Type: fmt.Sprintf("t%05d", i)}))
	}
	first, last := makeEvent(t, "t00000", ""), makeEvent(t, "t19999", "")
	for range 100 { // a busy machine may not run the two at once
		table := New("self", "eu")
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := table.SetNode("n", entries, nil, true); err != nil {
				t.Error(err)
			}
		})
		var begun, done Match
		for len(done.Nodes) == 0 {
			table.Match("default", &first, &begun)
			table.Match("default", &last, &done)
			if len(begun.Nodes) > 0 && len(done.Nodes) == 0 {
				wg.Wait()
				return
			}
		}
		wg.Wait()
	}
	t.Error("nobody saw a part")
}
