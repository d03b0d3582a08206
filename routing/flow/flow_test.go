package flow

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

var begin = time.Unix(1, 0)

// claimed is a frame without views: of Events, how many.
type claimed struct {
	kind                Kind
	base, prev, upto, n uint64
	cause               Cause
}

func claimOf(f *Frame) claimed {
	c := claimed{f.Kind, f.Base, f.Prev, f.Upto, 0, f.Cause}
	for _, r := range f.Runs {
		c.n += r.Count
	}
	return c
}

// drained is what an origin sends.
func drained(o *Origin, now time.Time) []claimed {
	var list []claimed
	o.Drain(now, func(_ peer.ID, f *Frame) bool {
		list = append(list, claimOf(f))
		return true
	})
	return list
}

func mustPublish(t *testing.T, o *Origin, n int, ev *event.Event, p Policy) {
	t.Helper()
	for range n {
		if err := o.Publish(begin, "r", 0, "default", ev, p); err != nil {
			t.Fatal(err)
		}
	}
}

func expect[T comparable](t *testing.T, what string, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

// small is an origin with room for four sample events.
func small(t *testing.T) (*Origin, *event.Event) {
	ev := sample(t, 10)
	size := recordSize("default", ev.Bytes())
	o := NewOrigin(OriginConfig{Self: "o", Boot: 1, Budget: NewBudget(4*size, 0, 1)})
	o.SetPath("r", 0, Path{Next: "e", Link: 1})
	return o, &ev
}

func TestFlowOverflowTurnsTheOldestIntoAGapInItsPlace(t *testing.T) {
	o, ev := small(t)
	mustPublish(t, o, 10, ev, DropOldest)
	got := drained(o, begin)
	if len(got) != 2 || got[0].kind != Lost || got[0].cause != Overflow || got[0].prev != 0 ||
		got[1].kind != Events || got[1].prev != got[0].upto || got[1].upto != 10 || got[1].n < 1 {
		t.Errorf("got %+v", got)
	}
	if lost := o.Stats().Lost; lost != got[0].upto {
		t.Errorf("%d lost, the gap says %d", lost, got[0].upto)
	}
}

func TestFlowDoubtIsAGapBeforeWhatComesAfterIt(t *testing.T) {
	o, ev := small(t)
	o.Doubt("r", 0)
	mustPublish(t, o, 2, ev, DropOldest)
	expect(t, "sent", drained(o, begin), claimed{Lost, 1, 0, 1, 0, Reset}, claimed{Events, 1, 1, 3, 2, 0})
	e, l := newEntry("a")
	own := ID{"e", 1, "r", 0}
	e.Skip(&own)
	e.LinkUp("b")
	expect(t, "told to who comes later", l.frames[len(l.frames)-1:], claimed{Mark, 1, 1, 1, 0, 0})
}

func TestFlowOverflowTurnsTheNewestIntoAGapWhenAskedTo(t *testing.T) {
	o, ev := small(t)
	mustPublish(t, o, 10, ev, DropNewest)
	got := drained(o, begin)
	if len(got) != 2 || got[0].kind != Events || got[0].n < 4 || got[1] != (claimed{Lost, 1, got[0].n, 10, 0, Overflow}) {
		t.Errorf("got %+v", got)
	}
}

func TestFlowOverflowBlocksWhenAskedToUntilAReplyMakesRoom(t *testing.T) {
	o, ev := small(t)
	taken := uint64(0)
	for ; taken < 100; taken++ {
		if err := o.Publish(begin, "r", 0, "default", ev, Block); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if taken < 4 || taken == 100 {
		t.Fatalf("%d events were taken", taken)
	}
	o.Reply(begin, &Reply{Flow: ID{"o", 1, "r", 0}, Upto: taken})
	mustPublish(t, o, 1, ev, Block)
	if got := o.flow("r", 0).next; got != taken+2 {
		t.Errorf("the next number is %d: a refused event has taken one", got)
	}
}

func TestFlowEventsThatAreNotAcknowledgedInTimeBecomeAGap(t *testing.T) {
	o, ev := small(t)
	mustPublish(t, o, 3, ev, DropOldest)
	o.SetPath("r", 0, Path{})
	o.Tick(begin.Add(DefaultTTL))
	if o.Stats().Lost != 0 {
		t.Error("lost before their time")
	}
	o.Tick(begin.Add(DefaultTTL + time.Second))
	o.SetPath("r", 0, Path{Next: "e", Link: 2})
	expect(t, "sent", drained(o, begin), claimed{Lost, 1, 0, 3, 0, Expired})
}

func TestFlowIsSentAgainFromTheFirstUnacknowledgedOnAnotherPath(t *testing.T) {
	o, ev := small(t)
	mustPublish(t, o, 4, ev, DropOldest)
	expect(t, "sent", drained(o, begin), claimed{Events, 1, 0, 4, 4, 0})
	o.Reply(begin, &Reply{Flow: ID{"o", 1, "r", 0}, Upto: 2})
	o.SetPath("r", 0, Path{Next: "e", Link: 1})
	expect(t, "sent on the same path", drained(o, begin))
	o.SetPath("r", 0, Path{Next: "e", Link: 2})
	expect(t, "sent on another link", drained(o, begin), claimed{Events, 3, 2, 4, 2, 0})
}

func TestFlowWithNothingLeftIsStillMadeKnownToAnotherEntryNode(t *testing.T) {
	o, ev := small(t)
	mustPublish(t, o, 4, ev, DropOldest)
	drained(o, begin)
	o.Reply(begin, &Reply{Flow: testFlow, Upto: 4})
	o.SetPath("r", 0, Path{Next: "f", Link: 1})
	expect(t, "sent on another path", drained(o, begin), claimed{Mark, 5, 4, 4, 0, 0})
	o.Reply(begin, &Reply{Flow: testFlow, Again: 2})
	expect(t, "sent to an entry node that lacks what is acknowledged", drained(o, begin), claimed{Mark, 5, 4, 4, 0, 0})
}

func TestFlowNeverCountsWhatIsAcknowledgedAsLost(t *testing.T) {
	o, ev := small(t)
	mustPublish(t, o, 4, ev, DropOldest)
	drained(o, begin)
	o.Reply(begin, &Reply{Flow: testFlow, Upto: 2})
	mustPublish(t, o, 2, ev, DropOldest)
	if s := o.Stats(); s.Lost != 0 {
		t.Errorf("%d events lost while there was room for four that are not acknowledged", s.Lost)
	}
}

func TestFlowFrameWithoutRoomIsSentLater(t *testing.T) {
	o, ev := small(t)
	mustPublish(t, o, 2, ev, DropOldest)
	o.Drain(begin, func(peer.ID, *Frame) bool { return false })
	mustPublish(t, o, 1, ev, DropOldest)
	expect(t, "sent", drained(o, begin), claimed{Events, 1, 0, 3, 3, 0})
}

func TestFlowMarksEverySecondWhileOpenAndThenNoMore(t *testing.T) {
	o, ev := small(t)
	mustPublish(t, o, 1, ev, DropOldest)
	drained(o, begin)
	now := begin
	count := func(seconds int) (marks int) {
		for range 4 * seconds {
			now = now.Add(time.Second / 4)
			o.Tick(now)
			marks += len(drained(o, now))
		}
		return marks
	}
	if n := count(60); n != 60 {
		t.Errorf("%d marks in a minute without acknowledgement", n)
	}
	o.Reply(begin, &Reply{Flow: ID{"o", 1, "r", 0}, Upto: 1})
	if n := count(60); n != 0 {
		t.Errorf("%d marks after all was acknowledged", n)
	}
}

func TestFlowKeepsNothingOfWhatIsPublished(t *testing.T) {
	o, _ := small(t)
	ev := sample(t, 10)
	raw := slices.Clone(ev.Bytes())
	mustPublish(t, o, 1, &ev, DropOldest)
	clear(ev.Bytes())
	o.Drain(begin, func(_ peer.ID, f *Frame) bool {
		if _, got, _, _ := cutRecord(f.Runs[0].Records); !slices.Equal(got, raw) {
			t.Error("the event changed with the caller's bytes")
		}
		return true
	})
}

// log is a sink, and an exchange whose nodes want everything.
type log struct {
	counter
	gapList []Gap
	frames  []claimed
	full    bool
}

func (l *log) Gap(g *Gap) {
	g.Labels = g.Labels.clone()
	l.gapList = append(l.gapList, *g)
}

func (l *log) Send(_ peer.ID, f *Frame) bool {
	if !l.full {
		l.frames = append(l.frames, claimOf(f))
	}
	return !l.full
}

func TestFlowsToRegionsBehindOneNodeShareWhatIsTheSame(t *testing.T) {
	o := NewOrigin(OriginConfig{Self: "o", Boot: 1, Budget: NewBudget(0, 0, 1)})
	for _, region := range []string{"b", "c", "d"} {
		o.SetPath(region, 0, Path{Next: "x", Link: 1, Shared: true})
	}
	o.SetPath("e", 0, Path{Next: "y", Link: 1})
	ev, other := sample(t, 10), sample(t, 20)
	publish := func(ev *event.Event, regions ...string) {
		for _, region := range regions {
			if err := o.Publish(begin, region, 0, "default", ev, DropOldest); err != nil {
				t.Fatal(err)
			}
		}
	}
	upto := map[string]uint64{}
	frames, carried := 0, uint64(0)
	drain := func() {
		o.Drain(begin, func(_ peer.ID, f *Frame) bool {
			frames++
			carried += f.Count()
			for _, c := range append([]Claim{{f.Flow.Region, f.Base, f.Age, f.Prev}}, f.Others...) {
				if c.Prev != upto[c.Region] {
					t.Errorf("region %s: a frame after %d, what came before ends at %d", c.Region, c.Prev, upto[c.Region])
				}
				upto[c.Region] += f.Upto - f.Prev
			}
			return true
		})
	}
	publish(&other, "c") // so that the numbers differ
	drain()
	frames, carried = 0, 0
	publish(&ev, "b", "c", "d", "e")
	publish(&other, "b", "c", "d", "e")
	drain()
	if frames != 2 || carried != 4 {
		t.Errorf("%d frames with %d events, want one for b, c and d, and one for e", frames, carried)
	}
	publish(&ev, "b", "c")
	publish(&other, "b", "d")
	drain()
	if want := map[string]uint64{"b": 4, "c": 4, "d": 3, "e": 2}; !maps.Equal(upto, want) {
		t.Errorf("sent up to %v, want %v", upto, want)
	}
	for region, n := range upto {
		o.Reply(begin, &Reply{Flow: ID{"o", 1, region, 0}, Upto: n})
		if slices.Contains(o.Pending(), region) {
			t.Errorf("region %s has acknowledged all, and something is pending", region)
		}
	}
}

var testFlow = ID{"o", 1, "r", 0}

func TestFlowReceiverReportsWhatPassedItByAndDropsWhatItHas(t *testing.T) {
	l := &log{}
	r := NewReceiver(l, 0)
	ev := sample(t, 1)
	one := Run{Count: 1, Records: appendRecord(nil, "default", ev.Bytes())}
	r.Receive("e", &Frame{Kind: Events, Flow: testFlow, Prev: 4, Upto: 5, Runs: []Run{one}})
	r.Receive("f", &Frame{Kind: Events, Flow: testFlow, Prev: 4, Upto: 5, Runs: []Run{one}})
	r.Receive("e", &Frame{Kind: Mark, Flow: testFlow, Prev: 7, Upto: 9})
	r.Receive("e", &Frame{Kind: Lost, Flow: testFlow, Prev: 8, Upto: 12, Cause: Overflow, Labels: Labels{Any: true}})
	if l.events != 1 || r.Stats().Duplicates != 1 {
		t.Errorf("%d events, %+v", l.events, r.Stats())
	}
	want := [][4]uint64{{1, 4, uint64(Missed), 1}, {6, 7, uint64(Missed), 0}, {10, 12, uint64(Overflow), 0}}
	for i, g := range l.gapList {
		first := uint64(0)
		if g.First {
			first = 1
		}
		if i >= len(want) || want[i] != [4]uint64{g.From, g.To, uint64(g.Cause), first} {
			t.Errorf("gap %d: %+v", i, g)
		}
	}
	if len(l.gapList) != 3 {
		t.Errorf("%d gaps", len(l.gapList))
	}
	heard := map[peer.ID]uint64{}
	r.Acknowledge(func(to peer.ID, p *Reply) { heard[to] = p.Upto })
	if len(heard) != 2 || heard["e"] != 12 || heard["f"] != 12 {
		t.Errorf("replies: %v", heard)
	}
	r.Acknowledge(func(peer.ID, *Reply) { t.Error("a reply that nobody waits for") })
}

func TestFlowReceiverReportsALostOriginOnce(t *testing.T) {
	l := &log{}
	r := NewReceiver(l, 0)
	r.OriginGone(begin, "never heard of", 1, false)
	r.Receive("e", &Frame{Kind: Mark, Flow: testFlow, Upto: 3})
	r.Receive("e", &Frame{Kind: Mark, Flow: ID{"o", 2, "r", 0}, Upto: 3}) // a later start
	r.OriginGone(begin, "o", 1, false)
	r.OriginGone(begin, "o", 2, true)
	r.OriginGone(begin, "o", 2, false)
	if len(l.gapList) != 2 || l.gapList[1].Cause != OriginLost || l.gapList[1].Flow != (ID{Origin: "o", Boot: 1, Lane: AllLanes}) {
		t.Errorf("gaps: %+v", l.gapList)
	}
	r.OriginBack("o", 2)
	r.OriginGone(begin, "o", 2, false)
	if len(l.gapList) != 3 {
		t.Error("a second loss of the same start was not reported")
	}
	r.Acknowledge(func(peer.ID, *Reply) {})
	r.Tick(begin.Add(DefaultForget - 1))
	if n := r.Stats().Flows; n != 2 {
		t.Errorf("%d flows are left before their time", n)
	}
	r.Tick(begin.Add(DefaultForget + DefaultForget/sweepFraction))
	if n := r.Stats().Flows; n != 0 || len(r.ended) != 0 {
		t.Errorf("%d flows and %d ends are kept for ever", n, len(r.ended))
	}
}

// relayed is an exchange that hands what it sends to a receiver.
type relayed struct {
	*log
	to *Receiver
}

func (x *relayed) Send(_ peer.ID, f *Frame) bool {
	x.to.Receive("e", f)
	return true
}

func newEntry(nodes ...peer.ID) (*Entry, *log) {
	l := &log{counter: counter{nodes: nodes}}
	e := NewEntry(l, NewReceiver(l, 0), 0)
	for _, id := range nodes {
		e.LinkUp(id)
	}
	return e, l
}

func eventsFrame(t *testing.T, base, prev, n uint64) *Frame {
	ev := sample(t, 1)
	var b []byte
	for range n {
		b = appendRecord(b, "default", ev.Bytes())
	}
	return &Frame{Kind: Events, Flow: testFlow, Base: base, Prev: prev, Upto: prev + n, Runs: []Run{{Count: n, Records: b}}}
}

func TestFlowEntryAcknowledgesOnceEveryNodeHasReceivedOrHasNoLink(t *testing.T) {
	e, l := newEntry("a", "b", "c")
	e.Receive(begin, "o", eventsFrame(t, 1, 0, 3))
	e.Drain()
	e.Acknowledge()
	acked := func() uint64 { e.Acknowledge(); return l.sent[len(l.sent)-1].Upto }
	e.Received("a", &Reply{Flow: testFlow, Upto: 3})
	e.Received("b", &Reply{Flow: testFlow, Upto: 2})
	if got := acked(); got != 0 {
		t.Errorf("%d acknowledged before c has anything", got)
	}
	e.LinkDown("c")
	if got := acked(); got != 2 {
		t.Errorf("%d acknowledged when b has 2 and c no link", got)
	}
	e.Received("b", &Reply{Flow: testFlow, Upto: 3})
	if got := acked(); got != 3 {
		t.Errorf("%d acknowledged when all have 3", got)
	}
}

func TestFlowEntryAsksOnceForWhatIsMissing(t *testing.T) {
	e, l := newEntry("a")
	e.Receive(begin, "o", eventsFrame(t, 1, 0, 2))
	for prev := uint64(4); prev < 9; prev++ {
		e.Receive(begin, "o", eventsFrame(t, 1, prev, 1))
		e.Drain()
		e.Acknowledge()
	}
	asked := 0
	for _, p := range l.sent {
		if p.Again != 0 {
			asked++
			if p.Again != 3 {
				t.Errorf("asked for %d", p.Again)
			}
		}
	}
	if asked != 1 || e.Stats().Events != 2 {
		t.Errorf("asked %d times, %d events", asked, e.Stats().Events)
	}
	e.Receive(begin.Add(askEvery), "o", eventsFrame(t, 1, 8, 1))
	if e.Acknowledge(); l.sent[len(l.sent)-1].Again != 3 {
		t.Error("not asked again after a while")
	}
}

func TestFlowEntryKeepsAGapToItsNumbersAtANodeThatWantedNothingBefore(t *testing.T) {
	e, l := newEntry("a")
	l.nodes = nil // nobody wants the events
	e.Receive(begin, "o", eventsFrame(t, 1, 0, 3))
	e.Receive(begin, "o", &Frame{Kind: Lost, Flow: testFlow, Base: 1, Prev: 3, Upto: 5, Cause: Overflow})
	e.Drain()
	e.Acknowledge()
	expect(t, "claims", l.frames, claimed{Mark, 1, 0, 3, 0, 0}, claimed{Lost, 1, 3, 5, 0, Overflow})
}

func TestFlowEntryThatIsRefusedBreaksTheChainAndDoesNotWait(t *testing.T) {
	e, l := newEntry("a")
	l.full = true
	e.Receive(begin, "o", eventsFrame(t, 1, 0, 2))
	e.Drain()
	if e.Acknowledge(); l.sent[0].Upto != 2 {
		t.Errorf("%d acknowledged: a node without room is waited for", l.sent[0].Upto)
	}
	l.full = false
	e.Tick(begin)
	expect(t, "claims", l.frames, claimed{Mark, 1, 2, 2, 0, 0})
}

func TestFlowEntryKeepsAnUnusedFlowUntilEveryNodeKnowsItsEnd(t *testing.T) {
	e, l := newEntry("a", "b")
	e.LinkDown("b")
	e.Receive(begin, "o", eventsFrame(t, 1, 0, 1))
	e.Received("a", &Reply{Flow: testFlow, Upto: 1})
	e.Drain()
	e.Acknowledge()
	e.Tick(begin.Add(time.Hour))
	if e.Stats().Flows != 1 {
		t.Fatal("the flow is gone before b could hear that it missed something")
	}
	l.frames = nil
	e.LinkUp("b")
	expect(t, "told to b", l.frames, claimed{Mark, 1, 1, 1, 0, 0})
	e.Tick(begin.Add(time.Hour))
	if e.Stats().Flows != 0 {
		t.Error("the flow is kept for ever")
	}
}

func TestFlowGapOfAnEntryNodeThatBeginsSaysHowOldTheLossIs(t *testing.T) {
	o, ev := small(t)
	mustPublish(t, o, 2, ev, Block)
	drained(o, begin)
	o.Reply(begin, &Reply{Flow: ID{"o", 1, "r", 0}, Upto: 2})
	mustPublish(t, o, 1, ev, Block)
	var there, beside log // the entry node, and another one
	r := NewReceiver(&beside, 0)
	e := NewEntry(&relayed{log: &there, to: r}, NewReceiver(&there, 0), 0)
	there.nodes = []peer.ID{"a"}
	e.LinkUp("a")
	o.Drain(begin.Add(90*time.Second+time.Millisecond), func(_ peer.ID, f *Frame) bool {
		e.Receive(begin, "o", f)
		return true
	})
	e.Drain()
	for _, l := range []*log{&there, &beside} {
		if g := l.gapList; len(g) != 1 || !g[0].First || g[0].To != 2 || g[0].Old != 2 || g[0].Age != 90*time.Second {
			t.Errorf("got %+v, want one gap of two events that were acknowledged 90 s ago", g)
		}
	}
}

func TestFlowOfTheOwnRegionIsAChainWithoutReplies(t *testing.T) {
	e, l := newEntry("a", "b")
	ev := sample(t, 1)
	own := ID{"e", 1, "r", 0}
	e.Publish(begin, &own, "default", ev.Bytes(), []peer.ID{"a"})
	e.Drain()
	e.Acknowledge()
	e.Publish(begin, &own, "default", ev.Bytes(), []peer.ID{"a", "b"})
	e.Drain()
	e.Acknowledge()
	expect(t, "frames", l.frames, claimed{Events, 1, 0, 1, 1, 0}, claimed{Events, 1, 1, 2, 1, 0}, claimed{Events, 1, 0, 2, 1, 0})
	e.Tick(begin.Add(time.Hour))
	if len(l.sent) > 0 || e.Stats().Flows != 1 {
		t.Error("replies to itself, or its numbers forgotten")
	}
}

func TestFlowGapTellsUpToSixteenKindsApart(t *testing.T) {
	var l Labels
	for i := range MaxLabels {
		l.add("ns", string(rune('a'+i)))
		l.add("ns", "a")
	}
	if l.Any || len(l.List) != MaxLabels {
		t.Errorf("%+v", l)
	}
	if l.add("other", "a"); !l.Any || l.List != nil {
		t.Errorf("one more: %+v", l)
	}
}
