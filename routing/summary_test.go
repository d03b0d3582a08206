package routing

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

// gateway is a node of the region "eu" in a world, and what another region
// hears of it.
type gateway struct {
	id    peer.ID
	table *Table
	subs  []gatewaySub
	told  map[string]bool // its interest, as said
	said  map[string]bool // its summary, as said since its start
	old   map[string]bool // what it said before that, until it is complete
	cut   bool            // the other region does not hear it
	far   *Table          // of a node of the other region that hears only this gateway
	deaf  *Table          // the same, but without the key of the fingerprints
}

type gatewaySub struct {
	sub    *Subscription
	filter filter.Filter
}

// world is a region of gateways, and what other regions know of them.
type world struct {
	t        *rapid.T
	now      time.Time
	budget   int
	gateways []*gateway
	events   []event.Event
}

var worldKey = []byte("mesh")

func newWorld(t *rapid.T, events []event.Event) *world {
	w := &world{t: t, now: time.Unix(1000, 0), budget: SummaryBudget, events: events}
	for _, id := range []peer.ID{"g1", "g2"} {
		g := &gateway{id: id, far: New("far", "us"), deaf: New("deaf", "us")}
		g.far.UseKeys([]byte("older"), worldKey)
		w.gateways = append(w.gateways, g)
	}
	for _, g := range w.gateways {
		w.start(g)
	}
	return w
}

// start starts a gateway, or starts it again with nothing but what its region's
// other nodes tell it.
func (w *world) start(g *gateway) {
	g.table = New(g.id, "eu")
	g.table.UseKeys(worldKey)
	g.table.summary.budget = w.budget
	if g.old == nil {
		g.old = map[string]bool{}
	}
	maps.Copy(g.old, g.said)
	g.subs, g.told, g.said = nil, map[string]bool{}, map[string]bool{}
	for _, o := range w.gateways {
		if o == g {
			continue
		}
		if o.told != nil {
			w.must(g.table.SetNode(o.id, slices.Collect(maps.Keys(o.told)), nil, true))
		}
		if o.table != nil {
			o.table.DropNode(g.id)
			o.table.SetFellow(g.id, nil, nil, true)
			g.table.SetFellow(o.id, slices.Collect(maps.Keys(o.said)), nil, true)
		}
	}
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Fatal(err)
	}
}

// spread has each gateway say what it has to say, and the others hear it.
func (w *world) spread() {
	for _, g := range w.gateways {
		adds, removes := g.table.InterestChanges(w.now)
		w.apply(g.told, adds, removes)
		for _, o := range w.gateways {
			if o != g {
				w.must(o.table.SetNode(g.id, adds, removes, false))
			}
		}
	}
	for _, g := range w.gateways {
		adds, removes := g.table.SummaryChanges(w.now)
		w.apply(g.said, adds, removes)
		for _, o := range w.gateways {
			if o != g {
				o.table.SetFellow(g.id, adds, removes, false)
			}
		}
		if !g.cut {
			all := maps.Clone(g.said)
			maps.Copy(all, g.old)
			w.must(g.far.SetRegion("eu", g.id, slices.Collect(maps.Keys(all)), nil, true))
			w.must(g.deaf.SetRegion("eu", g.id, slices.Collect(maps.Keys(all)), nil, true))
		}
		costs, over := g.table.FeedbackChanges(w.now)
		for _, o := range w.gateways {
			if o != g {
				w.must(o.table.SetFeedback(g.id, costs, over, false))
			}
		}
	}
}

func (w *world) apply(set map[string]bool, adds, removes []string) {
	for _, e := range adds {
		if set[e] {
			w.t.Fatalf("%q is said again", e)
		}
		set[e] = true
	}
	for _, e := range removes {
		if !set[e] {
			w.t.Fatalf("%q is taken back, but was never said", e)
		}
		delete(set, e)
	}
}

// wanted reports whether a subscriber of the region wants an event; indexed
// leaves the rests of filters out of account.
func (w *world) wanted(ev *event.Event, indexed bool) bool {
	for _, g := range w.gateways {
		for _, s := range g.subs {
			for _, c := range s.filter.Conjuncts {
				if indexed {
					c = c.Wider()
				}
				if c.Match(ev) {
					return true
				}
			}
		}
	}
	return false
}

func sends(table *Table, ev *event.Event) bool {
	var m Match
	table.Match("default", ev, &m)
	return slices.Contains(m.Regions, "eu")
}

// check fails if an event that somebody wants would not be sent.
func (w *world) check() {
	for i := range w.events {
		ev := &w.events[i]
		if !w.wanted(ev, false) {
			continue
		}
		for _, g := range w.gateways {
			if !g.cut && !sends(g.far, ev) {
				subject, _ := ev.Attr("subject")
				w.t.Fatalf("the summary of %s lacks %s of %s, type %s", g.id, subject.String(), ev.Source(), ev.Type())
			}
			if !g.cut && !sends(g.deaf, ev) {
				w.t.Fatalf("the summary of %s, without the key, lacks type %s", g.id, ev.Type())
			}
		}
	}
}

// crowd is many filters that differ in a value, or two.
func crowd(t *rapid.T) (list []filter.Filter) {
	form := rapid.SampledFrom([]string{
		`{"exact":{"type":"a.b","subject":"s%d"}}`,
		`{"exact":{"type":"a.b.c","subject":"s%d"}}`,
		`{"exact":{"type":"b","subject":"s%d","source":"/%[1]d"}}`,
		`{"all":[{"pattern":{"type":"a.*"}},{"exact":{"subject":"s%d"}},{"prefix":{"source":"/"}}]}`,
		`{"all":[{"exact":{"type":"a"}},{"prefix":{"subject":"s%d"}}]}`,
		`{"sql":"type = 'a.b' AND subject IN ('s%d', 's%[1]d0') AND NOT (source = '/1')"}`,
		`{"exact":{"type":"n%d.x"}}`,
		`{"exact":{"subject":"s%d"}}`,
	}).Draw(t, "form")
	from := rapid.IntRange(0, 30).Draw(t, "from")
	for i := range rapid.SampledFrom([]int{3, 30, printsFrom, 90}).Draw(t, "size") {
		f, err := filter.Parse(fmt.Appendf(nil, form, from+i))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

func worldEvents(t *testing.T) (list []event.Event) {
	for _, typ := range []string{"a", "a.b", "a.b.c", "b", "n7.x", "c"} {
		for _, subject := range []string{"", "x", "s7", "s31", "s70"} {
			for _, source := range []string{"/1", "/7", "/31"} {
				var b event.Builder
				b.SetString("id", "1").SetString("source", source).SetString("type", typ)
				if subject != "" {
					b.SetString("subject", subject)
				}
				ev, err := b.Event()
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, ev)
			}
		}
	}
	return list
}

// Whatever subscribers do, however little a summary may say, and whichever
// gateways start again or are cut off, each gateway's summary has all that its
// region wants; and with time and room it has nothing else.
func TestASummaryIsNeverNarrowerThanTheTruth(t *testing.T) {
	events := worldEvents(t)
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, events)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			g := rapid.SampledFrom(w.gateways).Draw(t, "gateway")
			switch rapid.IntRange(0, 11).Draw(t, "what") {
			case 0, 1:
				for _, f := range crowd(t) {
					g.subs = append(g.subs, gatewaySub{g.table.Subscribe("default", f, &sink{}, ""), f})
				}
			case 2:
				f := drawFilter(t)
				g.subs = append(g.subs, gatewaySub{g.table.Subscribe("default", f, &sink{}, ""), f})
			case 3:
				n := rapid.IntRange(0, len(g.subs)).Draw(t, "ended")
				for _, s := range g.subs[:n] {
					g.table.Unsubscribe(s.sub)
				}
				g.subs = g.subs[n:]
			case 4:
				w.budget = rapid.SampledFrom([]int{1, 100, 700, 2000, SummaryBudget}).Draw(t, "budget")
				for _, g := range w.gateways {
					g.table.summary.budget = w.budget
				}
			case 5, 6:
				w.now = w.now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * time.Second)
			case 7:
				var m Match
				for i := range w.events {
					g.table.MatchRegion("default", &w.events[i], &m)
				}
			case 8:
				for _, wide := range slices.Collect(maps.Values(g.table.summary.widened)) {
					if rapid.Bool().Draw(t, "narrow") {
						g.table.summary.narrow(wide)
					}
				}
			case 9:
				w.start(g)
				if rapid.Bool().Draw(t, "at once") {
					w.spread()
					g.old = nil
				}
			case 10:
				g.cut = !g.cut
			case 11: // all end and come back
				for i, s := range g.subs {
					g.table.Unsubscribe(s.sub)
					if i == len(g.subs)/2 {
						w.now = w.now.Add(11 * time.Second)
						w.spread()
						w.now = w.now.Add(11 * time.Second)
						w.spread()
					}
				}
				for i, s := range g.subs {
					g.subs[i].sub = g.table.Subscribe("default", s.filter, &sink{}, "")
				}
			}
			w.spread()
			w.check()
		}
		w.relax()
		w.spread()
		for i := range w.events {
			ev := &w.events[i]
			for _, g := range w.gateways {
				if got, want := sends(g.far, ev), w.wanted(ev, true); got != want {
					subject, _ := ev.Attr("subject")
					t.Fatalf("with all the room, %s gets %s of %s, type %s: %v, want %v", g.id, subject.String(), ev.Source(), ev.Type(), got, want)
				}
				if n := g.table.Stats().Widened + short(g.table); n > 0 {
					t.Fatalf("with all the room, %d interests are still said wider", n)
				}
			}
		}
		w.empty()
	})
}

// relax gives the summaries room and time, and ends restarts and cuts.
func (w *world) relax() {
	for _, g := range w.gateways {
		g.table.summary.budget = SummaryBudget
		g.cut = false
	}
	for range 8 {
		w.now = w.now.Add(40 * time.Second)
		w.spread()
	}
	for _, g := range w.gateways {
		g.old = nil
	}
}

// empty ends all subscriptions and looks for what is left of them.
func (w *world) empty() {
	for _, g := range w.gateways {
		for _, s := range g.subs {
			g.table.Unsubscribe(s.sub)
		}
		g.subs = nil
	}
	w.relax()
	w.spread()
	for _, g := range w.gateways {
		s := g.table.summary
		if left := len(s.shapes) + len(s.fresh) + len(s.widened) + len(s.blames) + len(s.cover.all) + len(s.said.said); left > 0 || s.size != 0 {
			w.t.Fatalf("of a summary of nothing, %d things and %d bytes are left", left, s.size)
		}
		if left := len(g.far.spaces) + g.far.Sizes()[OfRegion]; left > 0 {
			w.t.Fatalf("of a region that wants nothing, %d things are left", left)
		}
	}
}
