package flow

import (
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

var testFlow = ID{"o", 1, "r", 0}

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
