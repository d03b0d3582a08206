package test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// account is the checker of the promise: every event that a node has taken is
// delivered to every subscriber that was there before it, once and in the order
// of its key, or lies inside a gap that was reported in its place. Whoever runs a
// mesh tells it what is said and what is heard, from any goroutine.
type account struct {
	mu        sync.Mutex // guards the fields below, and the listeners
	said      map[stream][]saying
	listeners []*listener
}

// stream is the events of one start of a node with one key, numbered from 0.
type stream struct {
	node, boot, key string
}

// saying is what became of an event.
type saying struct {
	outcome outcome
	heard   bool // by any listener
}

// outcome is what the publisher of an event knows of it.
type outcome uint8

const (
	unknown outcome = iota // not yet, or never: it need not come, but may
	taken                  // it must come
	refused                // it must not
)

// listener is a subscriber, and how far it has heard everything.
type listener struct {
	a    *account
	name string

	heeds   bool           // it must hear what is said
	ended   bool           // with its node: what is missing at the end is nobody's fault
	since   map[stream]int // before it began to heed, so many had been said
	next    map[stream]int // the number that is to come
	excused map[stream]int // those before this are in a gap that came since the last event
	skipped []span         // never heard, and in no gap
	wrong   []string       // what can never be right again
	events  int            // heard
	gaps    map[string]int // heard, by cause
}

// span is some numbers of a stream.
type span struct {
	stream
	from, to int // to is not in it
}

func (s span) String() string {
	return fmt.Sprintf("%s boot %s key %s numbers %d to %d", s.node, s.boot, s.key, s.from, s.to-1)
}

func newAccount() *account { return &account{said: map[stream][]saying{}} }

// say returns the number of an event that is about to be published.
func (a *account) say(s stream) (number int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.said[s] = append(a.said[s], saying{})
	return len(a.said[s]) - 1
}

// settle tells what became of an event.
func (a *account) settle(s stream, number int, o outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.said[s][number].outcome = o
}

// listen adds a listener, which may hear things from now on and must hear what
// is said once it heeds.
func (a *account) listen(name string) *listener {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := &listener{a: a, name: name, next: map[stream]int{}, excused: map[stream]int{}, gaps: map[string]int{}}
	a.listeners = append(a.listeners, l)
	return l
}

// heed says that the listener's barrier is passed.
func (l *listener) heed() {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.heeds, l.since = true, l.a.lengths()
}

// end says that the listener need not hear any more.
func (l *listener) end() {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.ended = true
}

// hear takes what the listener got next: an event.
func (l *listener) hear(s stream, number int) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.events++
	said, next := l.a.said[s], l.next[s]
	switch {
	case number >= len(said):
		l.err("%v was never said", span{s, number, number + 1})
		return
	case number < next:
		l.err("%v came after %d", span{s, number, number + 1}, next-1)
		return
	}
	said[number].heard = true
	if from := max(next, l.excused[s], l.since[s]); l.heeds && !l.ended && from < number {
		l.skipped = append(l.skipped, span{s, from, number})
	}
	l.next[s] = number + 1
	delete(l.excused, s)
}

// gap takes what the listener got next: word of a loss of events of a node, or
// of any if it has no name. What had not been said is not in it.
func (l *listener) gap(origin, cause string) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.gaps[cause]++
	for s, said := range l.a.said {
		if origin == "" || s.node == origin {
			l.excused[s] = len(said)
		}
	}
}

func (l *listener) err(format string, args ...any) {
	l.wrong = append(l.wrong, l.name+": "+fmt.Sprintf(format, args...))
}

// mark is how much has been said.
func (a *account) mark() map[stream]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lengths()
}

// lengths is mark with the lock held.
func (a *account) lengths() map[stream]int {
	n := make(map[stream]int, len(a.said))
	for s, said := range a.said {
		n[s] = len(said)
	}
	return n
}

// wrong says what breaks the promise, when all that was said up to a mark should
// have come.
func (a *account) wrong(upto map[stream]int) (wrong []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.listeners {
		wrong = append(wrong, l.wrong...)
		for _, missing := range l.skipped {
			if n := a.taken(missing); n > 0 {
				wrong = append(wrong, fmt.Sprintf("%s: %d of %v are missing without a gap", l.name, n, missing))
			}
		}
		if !l.heeds || l.ended {
			continue
		}
		for s, n := range upto {
			missing := span{s, max(l.next[s], l.excused[s], l.since[s]), n}
			if n := a.taken(missing); n > 0 {
				wrong = append(wrong, fmt.Sprintf("%s: %d of %v are missing at the end without a gap", l.name, n, missing))
			}
		}
	}
	for s, said := range a.said {
		for i, one := range said {
			if one.heard && one.outcome == refused {
				wrong = append(wrong, fmt.Sprintf("%v came and was refused", span{s, i, i + 1}))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

// taken is how many events of a span were taken. The lock is held.
func (a *account) taken(s span) (n int) {
	for i := s.from; i < s.to; i++ {
		if a.said[s.stream][i].outcome == taken {
			n++
		}
	}
	return n
}

// counts are how many events were taken, delivered, and reported as gaps by
// cause.
type counts struct {
	taken, unknown, delivered int
	gaps                      map[string]int
}

// add adds other counts.
func (c *counts) add(other counts) {
	c.taken += other.taken
	c.unknown += other.unknown
	c.delivered += other.delivered
	if c.gaps == nil {
		c.gaps = map[string]int{}
	}
	for cause, n := range other.gaps {
		c.gaps[cause] += n
	}
}

func (c counts) String() string {
	s := fmt.Sprintf("%d events taken, %d of unknown outcome, %d delivered; gaps:", c.taken, c.unknown, c.delivered)
	for _, cause := range slices.Sorted(maps.Keys(c.gaps)) {
		s += fmt.Sprintf(" %s %d", cause, c.gaps[cause])
	}
	return s
}

func (a *account) counts() (c counts) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, said := range a.said {
		for _, one := range said {
			switch one.outcome {
			case taken:
				c.taken++
			case unknown:
				c.unknown++
			}
		}
	}
	for _, l := range a.listeners {
		c.add(counts{delivered: l.events, gaps: l.gaps})
	}
	return c
}
