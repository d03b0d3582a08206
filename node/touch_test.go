package node

import (
	"slices"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestANodeThatWasAloneHearsOfTheDeadOnceMore(t *testing.T) {
	now := time.Unix(1, 0)
	for name, c := range map[string]struct {
		linked []bool // in each second
		back   bool
		want   []peer.ID
	}{
		"never alone":           {linked: []bool{true, true}},
		"alone":                 {linked: []bool{true, false, true}, want: []peer.ID{"a"}},
		"alone, and it is back": {linked: []bool{true, false, true}, back: true},
		"alone still":           {linked: []bool{true, false, true, false}},
	} {
		var l touch
		l.died("a", now)
		var got []peer.ID
		tick := func(i int, linked bool) {
			got = append(got, l.tick(now.Add(time.Duration(i)*time.Second), func() bool { return linked })...)
		}
		for i, linked := range c.linked {
			tick(i, linked)
		}
		if c.back {
			l.back("a")
		}
		for i := range 2 * int(sightFor/time.Second) {
			tick(len(c.linked)+i, c.linked[len(c.linked)-1])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v have ended, want %v", name, got, c.want)
		}
	}
}
