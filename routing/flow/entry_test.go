package flow

import (
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

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
	said := len(l.frames)
	e.Tick(begin.Add(time.Hour))
	if len(l.frames) > said {
		t.Errorf("says %+v again to nodes that know it and never reply", l.frames[said:])
	}
	if len(l.sent) > 0 || e.Stats().Flows != 1 {
		t.Error("replies to itself, or its numbers forgotten")
	}
}

func TestFlowEntryTellsWhoHadNoLinkHowFarAnOriginCameThatIsGone(t *testing.T) {
	for _, left := range []bool{true, false} {
		e, l := newEntry("a", "b")
		e.LinkDown("b")
		e.Receive(begin, "o", eventsFrame(t, 1, 0, 3))
		e.Drain()
		e.OriginGone(begin, "o", testFlow.Boot, left)
		if left {
			e.Tick(begin.Add(time.Hour))
		}
		said := len(l.frames)
		e.LinkUp("b")
		expect(t, "told when it is linked", l.frames[said:], claimed{Mark, 1, 3, 3, 0, 0})
		e.Tick(begin.Add(2 * time.Hour))
		if e.Stats().Flows != 0 || e.Owes() {
			t.Error("the flow is kept for ever")
		}
	}
}

func TestFlowEntryDoesNotGoOnTellingOfAnOriginThatBrokeOff(t *testing.T) {
	e, l := newEntry("a", "b")
	l.nodes = []peer.ID{"a"}
	e.Receive(begin, "o", eventsFrame(t, 1, 0, 3))
	e.Drain()
	said := len(l.frames)
	e.OriginGone(begin, "o", testFlow.Boot, false)
	e.Tick(begin.Add(time.Second))
	expect(t, "told to those who hear that it is lost", l.frames[said:])
}

func TestFlowEntrySettlesWithAllThatMustHearOfIt(t *testing.T) {
	e, l := newEntry("a", "b", "c", "d")
	l.nodes = []peer.ID{"a"}
	e.Receive(begin, "o", eventsFrame(t, 1, 0, 3))
	e.LinkDown("c")
	e.LinkDown("d")
	e.Dead(begin, "d")
	if waits := e.Settle(); len(waits) != 1 || waits[0] != "c" {
		t.Errorf("%v do not know, want c", waits)
	}
	expect(t, "frames", l.frames, claimed{Events, 1, 0, 3, 3, 0}, claimed{Mark, 1, 0, 3, 0, 0})
	if e.Gone("c"); len(e.Settle()) > 0 || len(l.frames) != 2 {
		t.Error("something is said twice, or to a node that is gone")
	}
}

func TestFlowEntrySettlesItsOwnFlowsWhenTheyAreReceived(t *testing.T) {
	e, l := newEntry("a", "b")
	ev := sample(t, 1)
	own := ID{"e", 1, "r", 0}
	e.Publish(begin, &own, "default", ev.Bytes(), []peer.ID{"a"})
	for range 2 { // asked once
		if waits := e.Settle(); len(waits) != 2 {
			t.Errorf("waits for %v, want a and b", waits)
		}
	}
	expect(t, "frames", l.frames, claimed{Events, 1, 0, 1, 1, 0}, claimed{Mark, 1, 1, 1, 0, 0}, claimed{Mark, 1, 0, 1, 0, 0})
	for _, id := range []peer.ID{"a", "b"} {
		e.Received(id, &Reply{Flow: own, Upto: 1})
	}
	if waits := e.Settle(); len(waits) > 0 {
		t.Errorf("waits for %v still", waits)
	}
	e.LinkDown("b") // which has all
	if waits := e.Settle(); len(waits) > 0 {
		t.Errorf("waits for %v, who knows it all", waits)
	}
}

func TestFlowEntryRemembersForAWhileWhatADeadNodeMisses(t *testing.T) {
	e, l := newEntry("a")
	e.Dead(begin, "a")
	e.Receive(begin, "o", eventsFrame(t, 1, 0, 3))
	e.Tick(begin.Add(DeadFor - time.Second))
	if e.Stats().Flows != 1 {
		t.Fatal("forgotten at once")
	}
	e.LinkUp("a")
	expect(t, "told when it is back", l.frames, claimed{Mark, 1, 3, 3, 0, 0})
	e.Dead(begin, "a")
	e.Receive(begin, "o", eventsFrame(t, 1, 3, 1))
	e.Drain()
	e.Acknowledge()
	e.Tick(begin.Add(DeadFor))
	if e.Stats().Flows != 0 {
		t.Error("the flow is kept for ever")
	}
}
