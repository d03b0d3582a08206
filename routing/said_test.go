package routing

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/match"
	"github.com/skeinmesh/skein/transport/peer"
)

// start is when these tests begin.
var start = time.Unix(1000, 0)

// exactly is a filter on one type and one value of an attribute.
func exactly(typ, attr, value string) filter.Filter {
	return filter.Filter{Conjuncts: []filter.Conjunct{{Type: typ, Preds: []filter.Pred{in(attr, value)}}}}
}

// says brings a table's interest and summary up to date, and another table to
// what the summary says.
func says(t testing.TB, table, far *Table, now time.Time) (adds, removes []string) {
	t.Helper()
	table.InterestChanges(now)
	adds, removes = table.SummaryChanges(now)
	if err := far.SetRegion("eu", "g", adds, removes, false); err != nil {
		t.Fatal(err)
	}
	return adds, removes
}

func TestManyValuesAreSaidAsFingerprintsAndFewAsTheyAre(t *testing.T) {
	table, far, now := New("g", "eu"), New("far", "us"), start
	var subs []*Subscription
	for i := range printsFrom {
		subs = append(subs, table.Subscribe("default", exactly("a", "subject", fmt.Sprint("s", i)), &sink{}, ""))
		if i == printsFrom-2 {
			if says(t, table, far, now); table.Stats().Fingerprints != 0 {
				t.Fatal("few values are said as fingerprints")
			}
		}
	}
	adds, _ := says(t, table, far, now)
	if table.Stats().Fingerprints != printsFrom || len(adds) != 1 {
		t.Fatalf("%d fingerprints in %d entries", table.Stats().Fingerprints, len(adds))
	}
	now = now.Add(SummaryLinger)
	if _, removes := says(t, table, far, now); len(removes) != printsFrom-1 || far.Sizes()[OfRegion] != printsFrom {
		t.Fatalf("%d values are taken back, %d interests are left", len(removes), far.Sizes()[OfRegion])
	}
	for _, s := range subs[printsUntil-1:] {
		table.Unsubscribe(s)
	}
	now = now.Add(InterestLinger)
	says(t, table, far, now)
	now = now.Add(InterestLinger)
	if says(t, table, far, now); table.Stats().Fingerprints != 0 {
		t.Error("few values are still said as fingerprints")
	}
}

// One value more costs an entry with one fingerprint, not all of them again;
// one less costs nothing until the set is folded.
func TestOneMoreFingerprintCostsFewBytes(t *testing.T) {
	table, far := New("g", "eu"), New("far", "us")
	for i := range 1000 {
		table.Subscribe("default", exactly("a", "subject", fmt.Sprint("s", i)), &sink{}, "")
	}
	says(t, table, far, start)
	s := table.Subscribe("default", exactly("a", "subject", "another"), &sink{}, "")
	if adds, removes := says(t, table, far, start); len(adds) != 1 || len(adds[0]) > 40 || len(removes) > 0 {
		t.Errorf("says %d entries and takes %d back", len(adds), len(removes))
	}
	table.Unsubscribe(s)
	says(t, table, far, start)
	now := start.Add(InterestLinger)
	if adds, removes := says(t, table, far, now); len(adds)+len(removes) != 0 {
		t.Errorf("for one less: says %d entries and takes %d back", len(adds), len(removes))
	}
	for range 3 {
		now = now.Add(SummaryLinger)
		says(t, table, far, now)
	}
	if n := far.Sizes()[OfRegion]; n != 1000 {
		t.Errorf("%d fingerprints are said in the end", n)
	}
}

// Short fingerprints take about a byte each, also after many have come and gone;
// of other values, few seem to be among them.
func TestShortFingerprintsTakeAByteAndLetLittlePass(t *testing.T) {
	table, far, now := New("g", "eu"), New("far", "us"), start
	table.summary.budget = 22_000
	var subs []*Subscription
	for i := range 12_000 {
		subs = append(subs, table.Subscribe("default", exactly("a", "subject", fmt.Sprint(i)), &sink{}, ""))
		if i%1000 == 0 {
			says(t, table, far, now)
		}
	}
	for _, s := range subs[:2000] {
		table.Unsubscribe(s)
	}
	for i := range 4000 {
		table.Subscribe("default", exactly("a", "subject", fmt.Sprint("more", i)), &sink{}, "")
		if i%100 == 0 {
			now = now.Add(SummaryLinger)
			says(t, table, far, now)
		}
	}
	for range 4 {
		now = now.Add(SummaryLinger)
		says(t, table, far, now)
	}
	if short(table) != 1 || table.Stats().Widened > 0 {
		t.Fatalf("%+v", table.Stats())
	}
	if n := wireBytes(table.summary.said.said); n > 18_000 {
		t.Errorf("14000 values take %d bytes", n)
	}
	const others = 4000
	passed := 0
	for i := range others {
		ev, wanted := makeEvent(t, "a", fmt.Sprint("other", i)), makeEvent(t, "a", fmt.Sprint(2000+i))
		if sends(far, &ev) {
			passed++
		}
		if !sends(far, &wanted) {
			t.Fatalf("%d is lacking", 2000+i)
		}
	}
	if passed > others/16 {
		t.Errorf("%d of %d other values pass", passed, others)
	}
}

// Fingerprints made with a key that is not known here are taken for all that
// they narrow.
func TestFingerprintsOfAnUnknownKeyAreTakenForAll(t *testing.T) {
	table, far := New("g", "eu"), New("far", "us")
	table.UseKeys([]byte("new"), []byte("old"))
	far.UseKeys([]byte("old"))
	for i := range printsFrom {
		table.Subscribe("default", exactly("a", "subject", fmt.Sprint("s", i)), &sink{}, "")
	}
	adds, _ := says(t, table, far, start)
	ev, other := makeEvent(t, "a", "elsewhere"), makeEvent(t, "b", "s1")
	if !sends(far, &ev) || sends(far, &other) {
		t.Error("not taken for all of their type, or for more")
	}
	rotated := New("far", "us")
	rotated.UseKeys([]byte("old"), []byte("new"))
	if err := rotated.SetRegion("eu", "g", adds, nil, true); err != nil {
		t.Fatal(err)
	}
	wanted := makeEvent(t, "a", "s1")
	if sends(rotated, &ev) || !sends(rotated, &wanted) {
		t.Error("the second key does not read them")
	}
}

// Two gateways may say the same interest, one in place of narrower ones.
func TestAnInterestStaysWhileAnyGatewaySaysItHowever(t *testing.T) {
	far := New("far", "us")
	c := filter.Conjunct{Type: "a", Preds: []filter.Pred{in("source", "/s"), in("subject", "x")}}
	others := []string{}
	for i := range 100 {
		o := filter.Conjunct{Type: "a", Preds: []filter.Pred{in("source", fmt.Sprint("/", i))}}
		others = append(others, EncodeEntry("default", o))
	}
	plain, widened := EncodeEntry("default", c), encodeConjunct(kindWidened, "default", c)
	ev := makeEvent(t, "a", "x") // of source /s
	for i, step := range []struct {
		gateway       peer.ID
		adds, removes []string
		want          bool
	}{
		{"g1", []string{plain}, nil, true},
		{"g1", others, nil, true}, // so that the next is found by another attribute
		{"g2", []string{widened}, nil, true},
		{"g1", nil, []string{plain}, true},
		{"g2", nil, []string{widened}, false},
	} {
		if err := far.SetRegion("eu", step.gateway, step.adds, step.removes, false); err != nil {
			t.Fatal(err)
		}
		if got := sends(far, &ev); got != step.want {
			t.Errorf("after step %d: %v", i, got)
		}
	}
}

// A gateway that says more than there is room for is taken to want more, not
// less; and what it said is forgotten all the same.
func TestASummaryBeyondAllBoundsIsTakenForWider(t *testing.T) {
	far := New("far", "us")
	prints := func(i uint32) string {
		p := match.Prints{Base: filter.Conjunct{Type: "a"}, Attrs: []string{"subject"}, Key: far.summary.key}
		for fp := range uint32(maxPrints) {
			p.Set = append(p.Set, i*maxPrints+fp)
		}
		return encodePrints("default", p)
	}
	var list []string
	for i := range uint32(maxHeard/maxPrints + 2) {
		list = append(list, prints(i))
	}
	slices.Sort(list)
	if err := far.SetRegion("eu", "g1", list, nil, true); err != nil {
		t.Fatal(err)
	}
	if n := far.Sizes()[OfRegion]; n > maxHeard+maxPrints {
		t.Errorf("%d are kept", n)
	}
	ev := makeEvent(t, "a", "whatever")
	if !sends(far, &ev) {
		t.Error("what found no room is not wanted")
	}
	if err := far.SetRegion("eu", "g2", list[len(list)/2:], nil, true); err != nil {
		t.Fatal(err)
	}
	far.DropGateway("eu", "g1")
	far.DropGateway("eu", "g2")
	if n := far.Sizes()[OfRegion]; n != 0 || len(far.spaces) != 0 || sends(far, &ev) {
		t.Errorf("%d are left", n)
	}
}

// Matching by fingerprints, and finding what is to blame for an event that
// nobody wants, allocate nothing.
func TestMatchingSummariesAllocatesNothing(t *testing.T) {
	table, far := New("g", "eu"), New("far", "us")
	for i := range 1000 {
		table.Subscribe("default", exactly("a", "subject", fmt.Sprint(i)), &sink{}, "")
		table.Subscribe("default", exactly("b", "subject", fmt.Sprint(i)), &sink{}, "")
	}
	table.summary.budget = 1800
	says(t, table, far, start)
	if s := table.Stats(); s.Widened == 0 || s.Fingerprints == 0 {
		t.Fatalf("%+v", s)
	}
	var m Match
	for _, typ := range []string{"a", "b"} {
		for _, subject := range []string{"7", "nobody's"} {
			ev := makeEvent(t, typ, subject)
			if n := testing.AllocsPerRun(100, func() {
				far.Match("default", &ev, &m)
				table.MatchRegion("default", &ev, &m)
			}); n > 0 {
				t.Errorf("%s of type %s: %v allocations", subject, typ, n)
			}
		}
	}
}

// Events are matched, and blamed, while what is said changes.
func TestSummariesChangeWhileEventsAreMatched(t *testing.T) {
	table, far := New("g", "eu"), New("far", "us")
	table.summary.budget = 700
	ev := makeEvent(t, "a", "nobody's")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			var m Match
			for {
				select {
				case <-stop:
					return
				default:
					table.MatchRegion("default", &ev, &m)
					far.Match("default", &ev, &m)
				}
			}
		})
	}
	now := start
	for round := range 6 {
		for i := range 200 {
			table.Subscribe("default", exactly("a", "subject", fmt.Sprint(round, "/", i)), &sink{}, "")
		}
		says(t, table, far, now)
		table.Interests()
		table.Stats()
		now = now.Add(reviewEvery)
	}
	close(stop)
	wg.Wait()
	if s := table.Stats(); s.Widened == 0 {
		t.Errorf("%+v", s)
	}
}
