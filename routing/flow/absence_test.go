package flow

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

// audience is an entry node's sink and exchange that counts how often each event
// came, by the number in its ID.
type audience struct {
	counter
	came map[int]int
	gaps []Gap
}

func (a *audience) Deliver(_ *ID, _ string, envelope []byte) {
	var ev event.Event
	if err := ev.Scan(envelope); err != nil {
		panic(err)
	}
	at, _ := strconv.Atoi(ev.ID())
	a.came[at]++
}

func (a *audience) Route(id *ID, namespace string, envelope []byte, deliver bool, dst []peer.ID) []peer.ID {
	if deliver {
		a.Deliver(id, namespace, envelope)
	}
	return dst
}

func (a *audience) Gap(g *Gap) { a.gaps = append(a.gaps, *g) }

func (a *audience) told(number uint64) bool {
	for _, g := range a.gaps {
		if g.From <= number && number <= g.To {
			return true
		}
	}
	return false
}

// absence has an origin publish an event that is delivered, and whose
// acknowledgement is lost with the path. The region takes the origin for gone; the
// origin publishes on, unless its process is stopped, and is back after a while.
// It returns what is wrong with what the region heard.
func absence(ttl, away time.Duration, stopped bool) error {
	o := NewOrigin(OriginConfig{Self: "o", Boot: 1, Budget: NewBudget(1<<20, 0, 1), TTL: ttl})
	o.SetPath("r", 0, Path{Next: "e", Link: 1})
	there := &audience{came: map[int]int{}}
	r := NewReceiver(there, 0)
	e := NewEntry(there, r, 0)
	said := 0
	publish := func(now time.Time) error {
		b := &event.Builder{}
		b.SetString("id", strconv.Itoa(said)).SetString("source", "/s").SetString("type", "t")
		ev, err := b.Event()
		if err != nil {
			return err
		}
		said++
		return o.Publish(now, "r", 0, "default", &ev, DropOldest)
	}
	drain := func(now time.Time) {
		o.Drain(now, func(_ peer.ID, f *Frame) bool {
			e.Receive(now, "o", f)
			return true
		})
		e.Acknowledge() // to nobody
	}
	if err := publish(begin); err != nil {
		return err
	}
	drain(begin)
	o.SetPath("r", 0, Path{})
	e.OriginGone(begin, "o", 1, false)
	r.OriginGone(begin, "o", 1, false)
	const step = 10 * time.Second
	now := begin
	for ; now.Sub(begin) < away; now = now.Add(step) {
		r.Tick(now)
		if stopped {
			continue
		}
		o.Tick(now)
		if now.Sub(begin)%time.Minute == 0 {
			if err := publish(now); err != nil {
				return err
			}
		}
	}
	o.SetPath("r", 0, Path{Next: "e", Link: 2})
	drain(now)
	for i := range said {
		switch n := there.came[i]; {
		case n > 1:
			return fmt.Errorf("event %d came %d times", i, n)
		case n == 0 && !there.told(uint64(i+1)):
			return fmt.Errorf("event %d was lost in silence", i)
		}
	}
	return nil
}

func TestFlowOfAnOriginThatWasTakenForGoneIsDeliveredOnce(t *testing.T) {
	for _, ttl := range []time.Duration{DefaultTTL, MaxTTL} {
		for _, stopped := range []bool{false, true} {
			for away := time.Minute; away < 2*DefaultForget; away += time.Minute {
				if err := absence(ttl, away, stopped); err != nil {
					t.Errorf("events are kept for %v, stopped %v: back after %v: %v", ttl, stopped, away, err)
					break
				}
			}
		}
	}
}

func TestFlowReceiverRemembersForAsLongAfterWhatCameLast(t *testing.T) {
	r := NewReceiver(&log{}, 0)
	r.Receive("e", &Frame{Kind: Mark, Flow: testFlow, Upto: 3})
	r.Acknowledge(func(peer.ID, *Reply) {})
	r.OriginGone(begin, "o", 1, false)
	r.Tick(begin)
	last := begin.Add(time.Second)
	r.Receive("e", &Frame{Kind: Mark, Flow: testFlow, Prev: 3, Upto: 4})
	r.Acknowledge(func(peer.ID, *Reply) {})
	r.OriginGone(last, "o", 1, false)
	r.Tick(last.Add(DefaultForget - 1))
	if r.Stats().Flows != 1 {
		t.Error("the flow was forgotten before its time")
	}
	r.Tick(last.Add(DefaultForget + DefaultForget/sweepFraction))
	if r.Stats().Flows != 0 {
		t.Error("the flow is kept for ever")
	}
}

func TestFlowReceiverForgetsTheStartsOfAnOriginThatIsRestartedAgainAndAgain(t *testing.T) {
	const every = 10 * time.Minute
	r, now := NewReceiver(&log{}, 0), begin
	for boot := uint64(1); boot < 100; boot++ {
		r.Receive("o", &Frame{Kind: Mark, Flow: ID{"o", boot, "r", 0}, Upto: 3})
		r.Acknowledge(func(peer.ID, *Reply) {})
		r.OriginGone(now, "o", boot, false)
		for range 10 {
			now = now.Add(every / 10)
			r.Tick(now)
		}
		if n, most := r.Stats().Flows, int(DefaultForget/every)+2; n > most {
			t.Fatalf("%d flows are remembered after %d starts, want at most %d", n, boot, most)
		}
	}
}
