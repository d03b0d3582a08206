package routing

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/skeinmesh/skein/routing/filter"
)

// zipfish subscribes to many values of some types, to fewer of each next type.
func zipfish(table *Table, types, most int) {
	for k := range types {
		for i := range most / (k + 1) {
			table.Subscribe("default", exactly(fmt.Sprintf("shop.area%d.type%d", k%7, k), "subject", fmt.Sprintf("v%d/%d", i%9, i)), &sink{}, "")
		}
	}
}

func TestASummaryKeepsToItsBudgetAndGrowsBackWhenThereIsRoom(t *testing.T) {
	for _, budget := range []int{200, 3000, 20_000} {
		table, far, now := New("g", "eu"), New("far", "us"), start
		table.summary.budget = budget
		zipfish(table, 40, 2000)
		says(t, table, far, now)
		for range 3 {
			now = now.Add(SummaryLinger + time.Second)
			says(t, table, far, now)
		}
		if got := wireBytes(table.summary.said.said); got > budget || table.Stats().SummaryBytes > budget {
			t.Errorf("with %d bytes allowed, %d are said, estimated as %d", budget, got, table.Stats().SummaryBytes)
		}
		if table.Stats().Widened+short(table) == 0 {
			t.Errorf("with %d bytes allowed, nothing is said wider", budget)
		}
		table.summary.budget = SummaryBudget
		now = now.Add(SummaryLinger + time.Second)
		says(t, table, far, now)
		now = now.Add(SummaryLinger + time.Second)
		says(t, table, far, now)
		if s := table.Stats(); s.Widened+short(table) != 0 || s.Fingerprints < 8000 {
			t.Errorf("with room again, %d interests are said wider and %d fingerprints", s.Widened, s.Fingerprints)
		}
	}
}

// short counts the sets of fingerprints that are cut.
func short(table *Table) (n int) {
	for _, sh := range table.summary.shapes {
		if sh.prints != nil && sh.prints.proto.Cut > 0 {
			n++
		}
	}
	return n
}

// What costs little goes first: fingerprints are cut, then prefixes and few
// values stand for many, then whole types.
func TestTheCheapestIsWidenedFirst(t *testing.T) {
	for budget, want := range map[int][]string{
		20_000: {
			`type all.different and subject is one of 1000 values: fingerprints in place of values; 0 events came for nobody`,
			`type begin.alike and subject is one of 1000 values: fingerprints in place of values; 0 events came for nobody`,
		},
		4000: {
			`type all.different and subject is one of 1000 values: short fingerprints in place of values; 0 events came for nobody`,
			`type begin.alike and subject is one of 1000 values: short fingerprints in place of values; 0 events came for nobody`,
		},
		1600: {
			`type all.different and subject is one of 1000 values: short fingerprints in place of values; 0 events came for nobody`,
			`type begin.alike and subject begins "orders/": widened: said in place of narrower ones; 0 events came for nobody`,
		},
		150: {
			`type all.different and subject exists: widened: said in place of narrower ones; 0 events came for nobody`,
			`type begin.alike and subject begins "orders/": widened: said in place of narrower ones; 0 events came for nobody`,
		},
		20: {
			`everything: widened: said in place of narrower ones; 0 events came for nobody`,
		},
	} {
		table, far := New("g", "eu"), New("far", "us")
		for i := range 1000 {
			table.Subscribe("default", exactly("begin.alike", "subject", fmt.Sprint("orders/", i)), &sink{}, "")
			table.Subscribe("default", exactly("all.different", "subject", fmt.Sprint(i*7919%1000)), &sink{}, "")
		}
		table.summary.budget = budget
		says(t, table, far, start)
		list := []string{}
		for _, in := range table.Interests() {
			if in.Scope == OfRegion {
				list = append(list, in.Filter+": "+in.Label)
			}
		}
		if !slices.Equal(list, want) {
			t.Errorf("with %d bytes, says\n%q, want\n%q", budget, list, want)
		}
	}
}

// Events that came because of a widened interest and that nobody wanted are
// counted, here and at other nodes of the region; what brought most of them is
// narrowed first, and something else said wider in its place.
func TestTheWorstOffenderIsNarrowedFirst(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		table, far, now := New("g", "eu"), New("far", "us"), start
		for k := range 3 {
			for i := range 400 {
				table.Subscribe("default", exactly(fmt.Sprint("type", k), "subject", fmt.Sprint(i)), &sink{}, "")
			}
		}
		table.summary.budget = 1000
		says(t, table, far, now)
		var wide []string
		for _, in := range table.Interests() {
			if in.Scope == OfRegion && in.Label[0] == 'w' {
				wide = append(wide, in.Filter)
			}
		}
		if len(wide) == 0 || len(wide) == 3 {
			t.Fatalf("said wider: %q", wide)
		}
		worst := wide[len(wide)-1]
		var typ string
		if _, err := fmt.Sscanf(worst, "type %s", &typ); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			now = now.Add(reviewEvery / 2)
			if elsewhere {
				for entry, w := range table.summary.widened {
					if w.conjunct.Type == typ {
						if err := table.SetFeedback("other", []string{"\x0c" + entry}, nil, true); err != nil {
							t.Fatal(err)
						}
					}
				}
			} else {
				var m Match
				for range 3000 {
					ev := makeEvent(t, typ, "nobody's")
					table.MatchRegion("default", &ev, &m)
				}
			}
		}
		for _, in := range table.Interests() {
			if !elsewhere && in.Scope == OfRegion && in.Filter == worst && in.Unwanted != 6000 {
				t.Errorf("%d events are counted", in.Unwanted)
			}
		}
		says(t, table, far, now)
		now = now.Add(SummaryLinger)
		says(t, table, far, now)
		ev := makeEvent(t, typ, "nobody's")
		if sends(far, &ev) {
			t.Errorf("elsewhere %v: %q still brings what nobody wants", elsewhere, worst)
		}
		if s := table.Stats(); s.SummaryBytes > table.summary.budget {
			t.Errorf("%d bytes", s.SummaryBytes)
		}
	}
}

// What a node finds that a widening costs, its region hears, and hears when it
// is over.
func TestTheCostOfAWideningIsTold(t *testing.T) {
	table, far, now := New("g", "eu"), New("far", "us"), start
	for i := range 400 {
		table.Subscribe("default", exactly("a", "subject", fmt.Sprint(i)), &sink{}, "")
	}
	table.summary.budget = 100
	says(t, table, far, now)
	ev := makeEvent(t, "a", "nobody's")
	var m Match
	for range 100 {
		table.MatchRegion("default", &ev, &m)
	}
	now = now.Add(reviewEvery)
	says(t, table, far, now)
	adds, _ := table.FeedbackChanges(now)
	if len(adds) != 1 {
		t.Fatalf("tells %q", adds)
	}
	entry, rate, err := readCost(adds[0])
	if err != nil || table.summary.widened[entry] == nil || rate < 200.0/60 || rate > 400.0/60 {
		t.Errorf("tells %q as %f a second (%v)", entry, rate, err)
	}
	now = now.Add(reviewEvery)
	says(t, table, far, now)
	if _, removes := table.FeedbackChanges(now); len(removes) != 1 {
		t.Errorf("takes %q back", removes)
	}
	if s := table.Stats(); s.Unwanted != 100 || s.Strays != 0 {
		t.Errorf("%+v", s)
	}
}

// A fingerprint that brings an event by chance, or a while after its interest
// is over, is counted where it is due.
func TestUnwantedEventsOfFingerprintsAreCounted(t *testing.T) {
	table, far := New("g", "eu"), New("far", "us")
	var first *Subscription
	for i := range 100 {
		s := table.Subscribe("default", exactly("a", "subject", fmt.Sprint(i)), &sink{}, "")
		if i == 0 {
			first = s
		}
	}
	says(t, table, far, start)
	table.Unsubscribe(first)
	ev, stray := makeEvent(t, "a", "0"), makeEvent(t, "b", "0")
	var m Match
	table.MatchRegion("default", &ev, &m)
	table.MatchRegion("default", &stray, &m)
	if s := table.Stats(); s.Unwanted != 2 || s.Strays != 1 {
		t.Errorf("%+v", s)
	}
	for _, in := range table.Interests() {
		if in.Scope == OfRegion && (in.Unwanted != 1 || in.Count != 100) {
			t.Errorf("%+v", in)
		}
	}
	for _, in := range far.Interests() {
		if want := "type a and subject is one of 100 values"; in.Filter != want || in.Label != labelPrints {
			t.Errorf("another region sees %+v", in)
		}
	}
}

// What another gateway of the region says already is widened first: it brings
// nothing more.
func TestAGatewayWidensWhatAnotherSaysWider(t *testing.T) {
	wide := func(table *Table) (types []string) {
		for _, w := range table.summary.widened {
			types = append(types, w.conjunct.Type)
		}
		slices.Sort(types)
		return types
	}
	busy := func(budget int) *Table {
		table := New("g", "eu")
		for k := range 6 {
			for i := range 400 - 50*k {
				table.Subscribe("default", exactly(fmt.Sprint("type", k), "subject", fmt.Sprint(i)), &sink{}, "")
			}
		}
		table.summary.budget = budget
		return table
	}
	alone, far := busy(1600), New("far", "us")
	says(t, alone, far, start)
	own := wide(alone)
	if len(own) == 0 || len(own) > 3 {
		t.Fatalf("says %q wider", own)
	}
	for k := range 6 {
		typ := fmt.Sprint("type", k)
		entry := encodeConjunct(kindWidened, "default", filter.Conjunct{Type: typ, Preds: []filter.Pred{{Attr: "subject", Op: filter.Exists}}})
		table := busy(1600)
		table.SetFellow("other", []string{"junk", entry}, nil, false)
		table.SetFellow("other", []string{entry}, nil, false)
		says(t, table, New("far", "us"), start)
		if got := wide(table); !slices.Contains(got, typ) {
			t.Errorf("says %q wider, another gateway %s", got, typ)
		}
		for _, full := range []bool{false, true} {
			table.SetFellow("other", nil, []string{entry}, full)
			table.SetFellow("other", nil, []string{entry}, full)
			if left := len(table.summary.shared) + len(table.fellows); left > 0 {
				t.Errorf("%d are kept of a gateway that says nothing", left)
			}
			table.SetFellow("other", []string{entry}, nil, true)
		}
	}
}

// What was tried and brought nothing that is not wanted is widened again before
// what nothing is known of; and what brought much after that.
func TestWhatIsWidenedIsChosenByExperience(t *testing.T) {
	for _, rate := range []float64{0, 1e6} {
		for k := range 6 {
			table := New("g", "eu")
			for k := range 6 {
				for i := range 200 {
					table.Subscribe("default", exactly(fmt.Sprint("type", k), "subject", fmt.Sprint(i)), &sink{}, "")
				}
			}
			table.summary.budget = 1300
			c := filter.Conjunct{Type: fmt.Sprint("type", k), Preds: []filter.Pred{{Attr: "subject", Op: filter.Exists}}}
			table.summary.tried[EncodeEntry("default", c)] = trial{rate, start}
			says(t, table, New("far", "us"), start)
			if n := len(table.summary.widened); n == 0 || n > 3 {
				t.Fatalf("says %d interests wider", n)
			}
			chosen := table.summary.widened[EncodeEntry("default", c)] != nil
			if chosen != (rate == 0) {
				t.Errorf("%s brought %g unwanted events a second, and is widened: %v", c, rate, chosen)
			}
		}
	}
}
