package flow

import (
	"testing"

	"github.com/skeinmesh/skein/transport/peer"
)

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

func TestFlowReceiverReportsNoLossOfAnOriginThatLeftAndStartsAgain(t *testing.T) {
	l := &log{}
	r := NewReceiver(l, 0)
	r.Receive("e", &Frame{Kind: Mark, Flow: testFlow, Upto: 3})
	r.OriginGone(begin, "o", testFlow.Boot, true)
	r.Receive("e", &Frame{Kind: Mark, Flow: testFlow, Prev: 3, Upto: 5}) // what others wanted
	r.Receive("e", &Frame{Kind: Mark, Flow: ID{"o", testFlow.Boot + 1, "r", 0}, Upto: 1})
	if len(l.gapList) > 0 {
		t.Errorf("gaps: %+v", l.gapList)
	}
}
