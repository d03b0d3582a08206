package test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// account is the checker of the promise: every event that a node has taken is
// delivered to every subscriber that was there before it, once and in the order
// of its key, or lies inside a gap that was reported in its place. Whoever runs a
// mesh tells it what is said and what is heard, from any goroutine.
type account struct {
	unlinked atomic.Int32 // nodes that run and cannot hear of new subscribers

	mu        sync.Mutex // guards the fields below, and the listeners
	said      map[stream][]saying
	listeners []*listener
	broken    []string // what was refused and came
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
	a     *account
	name  string
	wants func(stream) bool

	heeds   bool           // it must hear what is said
	ended   bool           // with its node: what is missing at the end is nobody's fault
	since   map[stream]int // before it began to heed, so many had been said
	next    map[stream]int // the number that is to come
	excused map[stream]excuse
	skipped []shortfall    // never heard, and in no gap, or in one that is too small
	wrong   []string       // what can never be right again
	events  int            // heard
	gaps    map[string]int // heard, by cause
}

// excuse is the gaps that came since a stream's last event.
type excuse struct {
	upto int  // the numbers before this may be in them
	most int  // so many events, when that is known
	vast bool // it is not known
}

// shortfall is numbers that were never heard, and how many of them gaps explain.
type shortfall struct {
	span
	most int
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
	one := &a.said[s][number]
	one.outcome = o
	if one.heard {
		a.mayCome(s, number)
	}
}

// mayCome notes when an event came that was refused. The lock is held.
func (a *account) mayCome(s stream, number int) {
	if a.said[s][number].outcome == refused {
		a.broken = append(a.broken, fmt.Sprintf("%v came and was refused", span{s, number, number + 1}))
	}
}

// everything is what most listeners want.
func everything(stream) bool { return true }

// listen adds a listener, which may hear what it wants from now on and must hear
// what is said of that once it heeds.
func (a *account) listen(name string, wants func(stream) bool) *listener {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := &listener{a: a, name: name, wants: wants, next: map[stream]int{}, excused: map[stream]excuse{}, gaps: map[string]int{}}
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

// over reports whether it need not hear any more.
func (l *listener) over() bool {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	return l.ended
}

// hear takes what the listener got next: an event.
func (l *listener) hear(s stream, number int) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.events++
	said, next := l.a.said[s], l.next[s]
	switch {
	case !l.wants(s):
		l.err("%v was for others", span{s, number, number + 1})
		return
	case number >= len(said):
		l.err("%v was never said", span{s, number, number + 1})
		return
	case number < next:
		l.err("%v came after %d", span{s, number, number + 1}, next-1)
		return
	}
	said[number].heard = true
	l.a.mayCome(s, number)
	if l.heeds && !l.ended {
		l.skipped = append(l.skipped, l.missing(s, number)...)
	}
	l.next[s] = number + 1
	delete(l.excused, s)
}

// missing is what of a stream before a number was not heard and should have been.
func (l *listener) missing(s stream, upto int) (missing []shortfall) {
	from, e := max(l.next[s], l.since[s]), l.excused[s]
	if told := min(e.upto, upto); from < told {
		if !e.vast {
			missing = append(missing, shortfall{span{s, from, told}, e.most})
		}
		from = told
	}
	if from < upto {
		missing = append(missing, shortfall{span{s, from, upto}, 0})
	}
	return missing
}

// gap takes what the listener got next: word of a loss of events of a node, or
// of any if it has no name; of so many at most, or 0 when that is not known. What
// had not been said is not in it.
func (l *listener) gap(origin, cause string, most int) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	l.gaps[cause]++
	for s, said := range l.a.said {
		if origin == "" || s.node == origin {
			e := l.excused[s]
			l.excused[s] = excuse{len(said), e.most + most, e.vast || most == 0}
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
		wrong = append(wrong, l.short(l.skipped, "")...)
		if l.heeds && !l.ended {
			wrong = append(wrong, l.owed(upto)...)
		}
	}
	wrong = append(wrong, a.broken...)
	slices.Sort(wrong)
	return slices.Compact(wrong) // several may have heard the same
}

// owes says what is missing that was said up to a mark.
func (l *listener) owes(upto map[stream]int) []string {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	return l.owed(upto)
}

// owed is owes with the lock held.
func (l *listener) owed(upto map[stream]int) (wrong []string) {
	for s, n := range upto {
		if l.wants(s) {
			wrong = append(wrong, l.short(l.missing(s, n), " at the end")...)
		}
	}
	return wrong
}

// short says which shortfalls are not explained. The lock is held.
func (l *listener) short(list []shortfall, when string) (wrong []string) {
	for _, missing := range list {
		switch n := l.a.taken(missing.span); {
		case n > missing.most && missing.most > 0:
			wrong = append(wrong, fmt.Sprintf("%s: %d of %v are missing%s and gaps tell of %d", l.name, n, missing, when, missing.most))
		case n > missing.most:
			wrong = append(wrong, fmt.Sprintf("%s: %d of %v are missing%s without a gap", l.name, n, missing, when))
		}
	}
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

// counts are how many events were taken and delivered, and gaps by cause.
type counts struct {
	taken, unknown, delivered int
	listeners                 int // that heeded
	gaps                      map[string]int
}

// add adds other counts.
func (c *counts) add(other counts) {
	c.taken += other.taken
	c.unknown += other.unknown
	c.delivered += other.delivered
	c.listeners += other.listeners
	if c.gaps == nil {
		c.gaps = map[string]int{}
	}
	for cause, n := range other.gaps {
		c.gaps[cause] += n
	}
}

func (c counts) String() string {
	s := fmt.Sprintf("%d events taken, %d of unknown outcome, %d delivered to %d listeners; gaps:", c.taken, c.unknown, c.delivered, c.listeners)
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
		if l.heeds {
			c.listeners++
		}
	}
	return c
}
