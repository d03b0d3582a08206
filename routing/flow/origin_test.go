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
