package routing

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

type sink struct{}

func (*sink) Deliver(string, *event.Event) {}
func (*sink) Gap(*queue.Gap)               {}

func makeEvent(t testing.TB, typ, subject string) event.Event {
	t.Helper()
	var b event.Builder
	b.SetString("id", "1").SetString("source", "/s").SetString("type", typ)
	if subject != "" {
		b.SetString("subject", subject)
	}
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

var (
	typesUsed    = []string{"a", "a.b", "b", "a.b.c"}
	subjectsUsed = []string{"", "x", "y"}
)

func drawFilter(t *rapid.T) filter.Filter {
	source := rapid.SampledFrom([]string{
		`{"pattern":{"type":"a"}}`, `{"pattern":{"type":"a.*"}}`, `{"pattern":{"type":"a.>"}}`, `{"pattern":{"type":">"}}`,
		`{"exact":{"subject":"x"}}`, `{"exact":{"type":"a.b","subject":"x"}}`, `{"exact":{"type":"a.b"}}`,
		`{"any":[{"exact":{"type":"a","subject":"y"}},{"exact":{"type":"b"}}]}`, `{"not":{"exact":{"subject":"x"}}}`,
		`{"prefix":{"subject":"x"}}`, `{"sql":"type LIKE 'a%' AND NOT (subject = 'y')"}`,
	}).Draw(t, "filter")
	f, err := filter.Parse([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// said follows what a table says and checks that it makes sense.
type said map[string]interestEntry

type interestEntry struct {
	ns string
	c  filter.Conjunct
}

func (s said) hear(t *rapid.T, adds, removes []string) {
	for _, e := range adds {
		if _, has := s[e]; has {
			t.Fatalf("%q is added again", e)
		}
		ns, c, err := DecodeEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		s[e] = interestEntry{ns, c}
	}
	for _, e := range removes {
		if _, has := s[e]; !has {
			t.Fatalf("%q is removed, but was never said", e)
		}
		delete(s, e)
	}
}

// accepts reports whether what was said asks for an event of a namespace.
func (s said) accepts(ns string, ev *event.Event) bool {
	for _, in := range s {
		if in.ns == ns && in.c.Match(ev) {
			return true
		}
	}
	return false
}

// Whatever happens, what a node says of itself and of its region is never
// narrower than the truth, and a match finds everybody once.
func TestInterestIsNeverNarrowerThanTheTruth(t *testing.T) {
	var events []event.Event
	for _, subject := range subjectsUsed {
		for _, typ := range typesUsed {
			events = append(events, makeEvent(t, typ, subject))
		}
	}
	var m Match
	rapid.Check(t, func(rt *rapid.T) {
		table := New("self", "eu")
		now := time.Unix(1000, 0)
		type local struct {
			sub  *Subscription
			recv *counted
		}
		var locals []local
		own, region := said{}, said{}
		peers := map[peer.ID]said{"p": {}, "q": {}} // tables of other nodes, as said
		tables := map[peer.ID]*Table{"p": New("p", "eu"), "q": New("q", "eu")}
		peerSubs := map[peer.ID][]*Subscription{}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			ns := rapid.SampledFrom([]string{"default", "blue"}).Draw(rt, "ns")
			id := rapid.SampledFrom([]peer.ID{"p", "q"}).Draw(rt, "peer")
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0, 1:
				r := &counted{}
				locals = append(locals, local{table.Subscribe(ns, drawFilter(rt), r, ""), r})
			case 2:
				if len(locals) > 0 {
					i := rapid.IntRange(0, len(locals)-1).Draw(rt, "which")
					table.Unsubscribe(locals[i].sub)
					table.Unsubscribe(locals[i].sub)
					locals = slices.Delete(locals, i, i+1)
				}
			case 3:
				peerSubs[id] = append(peerSubs[id], tables[id].Subscribe(ns, drawFilter(rt), &sink{}, ""))
			case 4:
				if n := len(peerSubs[id]); n > 0 {
					tables[id].Unsubscribe(peerSubs[id][n-1])
					peerSubs[id] = peerSubs[id][:n-1]
				}
			case 5:
				now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(rt, "seconds")) * time.Second)
			}
			adds, removes := tables[id].InterestChanges(now)
			peers[id].hear(rt, adds, removes)
			if err := table.SetNode(id, adds, removes, false); err != nil {
				rt.Fatal(err)
			}
			adds, removes = table.InterestChanges(now)
			own.hear(rt, adds, removes)
			adds, removes = table.SummaryChanges(now)
			region.hear(rt, adds, removes)

			for _, ns := range []string{"default", "blue", "red"} {
				for i := range events {
					ev, typ, subject := &events[i], typesUsed[i%len(typesUsed)], subjectsUsed[i/len(typesUsed)]
					table.Match(ns, ev, &m)
					wanted := 0
					for _, l := range locals {
						if l.sub.ns == ns && l.sub.filter.Match(ev) {
							wanted++
							if !slices.Contains(m.Local, Receiver(l.recv)) {
								rt.Fatalf("a subscriber to %s does not get %s/%s", l.sub.filter, typ, subject)
							}
						}
					}
					if wanted != len(m.Local) {
						rt.Fatalf("%d subscribers want it, %d get it", wanted, len(m.Local))
					}
					if wanted > 0 && !own.accepts(ns, ev) {
						rt.Fatalf("the node's interest lacks %s/%s", typ, subject)
					}
					for id, s := range peers {
						if s.accepts(ns, ev) != slices.Contains(m.Nodes, id) {
							rt.Fatalf("node %s and %s/%s: match says %v", id, typ, subject, m.Nodes)
						}
					}
					if (wanted > 0 || len(m.Nodes) > 0) && !region.accepts(ns, ev) {
						rt.Fatalf("the region's summary lacks %s/%s", typ, subject)
					}
				}
			}
		}
	})
}

// counted has a size, so that each is a receiver of its own.
type counted struct{ _ int }

func (*counted) Deliver(string, *event.Event) {}
func (*counted) Gap(*queue.Gap)               {}

func TestARegionIsWhatAnyOfItsGatewaysSays(t *testing.T) {
	table := New("self", "eu")
	wide := EncodeEntry("default", filter.Conjunct{Type: "a.>"})
	other := EncodeEntry("default", filter.Conjunct{Type: "b"})
	ev := makeEvent(t, "a.b", "")
	regions := func() []string {
		var m Match
		table.Match("default", &ev, &m)
		return m.Regions
	}
	for _, step := range []struct {
		do   func() error
		want bool
	}{
		{func() error { return table.SetRegion("us", "g1", []string{wide}, nil, false) }, true},
		{func() error { return table.SetRegion("us", "g2", []string{wide, other}, nil, true) }, true},
		{func() error { return table.SetRegion("us", "g1", nil, []string{wide}, false) }, true},
		{func() error { return table.SetRegion("us", "g2", []string{other}, nil, true) }, false},
		{func() error { return table.SetRegion("us", "g1", []string{wide}, nil, true) }, true},
		{func() error { table.DropGateway("us", "g1"); return nil }, false},
		{func() error { return table.SetRegion("us", "g2", []string{"junk"}, nil, false) }, false},
	} {
		err := step.do()
		if got := slices.Contains(regions(), "us"); got != step.want {
			t.Errorf("want %v, got %v (%v)", step.want, got, err)
		}
	}
	table.DropGateway("us", "g2")
	if len(table.spaces)+len(table.regions)+len(table.unions) != 0 {
		t.Error("something is left of a region that is gone")
	}
}

func TestWhatIsOverLingersAndWhatComesBackIsNotSaidAgain(t *testing.T) {
	table, now := New("self", "eu"), time.Unix(0, 0)
	f, err := filter.Pattern("a")
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, adds, removes int) {
		t.Helper()
		a, r := table.InterestChanges(now)
		if len(a) != adds || len(r) != removes {
			t.Errorf("%s: adds %d, removes %d; want %d and %d", what, len(a), len(r), adds, removes)
		}
	}
	s := table.Subscribe("default", f, &sink{}, "")
	expect("subscribed", 1, 0)
	table.Unsubscribe(s)
	expect("at once", 0, 0)
	now = now.Add(InterestLinger - 1)
	expect("just before", 0, 0)
	s = table.Subscribe("default", f, &sink{}, "")
	expect("back again", 0, 0)
	table.Unsubscribe(s)
	expect("over again", 0, 0)
	now = now.Add(InterestLinger)
	expect("after the linger", 0, 1)
}

func TestAWideInterestCoversNarrowOnes(t *testing.T) {
	table, now := New("self", "eu"), time.Unix(0, 0)
	for i := range 1000 {
		f, err := filter.Parse(fmt.Appendf(nil, `{"exact":{"type":"a.b","subject":"s%d"}}`, i))
		if err != nil {
			t.Fatal(err)
		}
		table.Subscribe("default", f, &sink{}, "")
	}
	adds, _ := table.InterestChanges(now)
	wide, err := filter.Pattern("a.>")
	if err != nil {
		t.Fatal(err)
	}
	s := table.Subscribe("default", wide, &sink{}, "")
	more, _ := table.InterestChanges(now)
	now = now.Add(time.Hour)
	_, removes := table.InterestChanges(now)
	if len(adds) != 1000 || len(more) != 1 || len(removes) != 1000 {
		t.Fatalf("said %d, then %d more, then took back %d", len(adds), len(more), len(removes))
	}
	table.Unsubscribe(s)
	if adds, removes = table.InterestChanges(now); len(adds) != 1000 || len(removes) != 0 {
		t.Errorf("when the wide one ends: adds %d, removes %d", len(adds), len(removes))
	}
}

func BenchmarkMatch(b *testing.B) {
	table := New("self", "eu")
	for i := range 1000 {
		f, err := filter.Parse(fmt.Appendf(nil, `{"exact":{"type":"a.b","subject":"s%d"}}`, i))
		if err != nil {
			b.Fatal(err)
		}
		table.Subscribe("default", f, &sink{}, "")
	}
	if err := table.SetRegion("us", "g", []string{EncodeEntry("default", filter.Conjunct{Type: "a.>"})}, nil, true); err != nil {
		b.Fatal(err)
	}
	ev := makeEvent(b, "a.b", "s7")
	var m Match
	b.ReportAllocs()
	for b.Loop() {
		table.Match("default", &ev, &m)
	}
	if len(m.Local) != 1 || len(m.Regions) != 1 {
		b.Fatal("wrong match")
	}
}
