package routing

import (
	"slices"
	"time"
)

// announcer turns what an announcement should be into what is to be said: what
// is new at once, what is over only after a while, so that a subscription that
// comes and goes costs nothing.
type announcer struct {
	linger time.Duration
	wanted map[string]bool      // what the announcement should be
	said   map[string]bool      // what it is
	adds   map[string]bool      // wanted and not said
	over   map[string]time.Time // said and not wanted, since; zero until drained once
}

func newAnnouncer(linger time.Duration) *announcer {
	return &announcer{
		linger: linger, wanted: map[string]bool{}, said: map[string]bool{},
		adds: map[string]bool{}, over: map[string]time.Time{},
	}
}

// set says whether an entry should be announced.
func (a *announcer) set(entry string, on bool) {
	switch {
	case on:
		a.wanted[entry] = true
		delete(a.over, entry)
		if !a.said[entry] {
			a.adds[entry] = true
		}
	default:
		delete(a.wanted, entry)
		delete(a.adds, entry)
		if _, has := a.over[entry]; a.said[entry] && !has {
			a.over[entry] = time.Time{}
		}
	}
}

// drain returns what is to be said now, sorted.
func (a *announcer) drain(now time.Time) (adds, removes []string) {
	for e := range a.adds {
		adds = append(adds, e)
		a.said[e] = true
	}
	clear(a.adds)
	for e, since := range a.over {
		switch {
		case since.IsZero():
			a.over[e] = now
		case now.Sub(since) >= a.linger:
			removes = append(removes, e)
			delete(a.over, e)
			delete(a.said, e)
		}
	}
	slices.Sort(adds)
	slices.Sort(removes)
	return adds, removes
}
