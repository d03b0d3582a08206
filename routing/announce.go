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
	limit  int // bytes said above which nothing lingers; 0 for none

	said  map[string]struct{} // what the announcement is
	size  int                 // bytes of it
	adds  map[string]struct{} // what it should have and has not
	over  map[string]uint64   // what it has and should not have, by which ending
	ends  uint64              // endings so far
	queue []ending            // oldest first; some of what came back is among it
	dated int                 // of the queue
}

// ending is when an entry was over.
type ending struct {
	entry  string
	number uint64
	at     time.Time // of the first drain after it
}

func newAnnouncer(linger time.Duration) *announcer {
	return &announcer{linger: linger, said: map[string]struct{}{}, adds: map[string]struct{}{}, over: map[string]uint64{}}
}

// set says whether an entry should be announced.
func (a *announcer) set(entry string, on bool) {
	_, said := a.said[entry]
	switch {
	case on && said:
		delete(a.over, entry)
	case on:
		a.adds[entry] = struct{}{}
	case said && a.over[entry] == 0:
		a.ends++
		a.over[entry] = a.ends
		a.queue = append(a.queue, ending{entry: entry, number: a.ends})
	default:
		delete(a.adds, entry)
	}
}

// drain returns what is to be said now, sorted.
func (a *announcer) drain(now time.Time) (adds, removes []string) {
	for e := range a.adds {
		adds = append(adds, e)
		a.said[e] = struct{}{}
		a.size += len(e)
	}
	clear(a.adds)
	for ; a.dated < len(a.queue); a.dated++ {
		a.queue[a.dated].at = now
	}
	done := 0
	for _, end := range a.queue {
		crowded := a.limit > 0 && a.size > a.limit
		if !crowded && now.Sub(end.at) < a.linger {
			break
		}
		done++
		if a.over[end.entry] == end.number {
			removes = append(removes, end.entry)
			delete(a.over, end.entry)
			delete(a.said, end.entry)
			a.size -= len(end.entry)
		}
	}
	clear(a.queue[:done])
	a.queue = a.queue[done:]
	a.dated -= done
	slices.Sort(adds)
	slices.Sort(removes)
	return adds, removes
}
