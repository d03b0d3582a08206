package repair

import "time"

const (
	leastPacket = 1200 + Overhead // bytes: QUIC needs a path that lets 1200 pass
	mostRungs   = 8               // packets of a round

	firstWait   = 100 * time.Millisecond // for a report of the first round, then twice as long each time
	longestTrip = 2 * time.Second
	firstRest   = time.Second // before another search, then twice as long each time
	longestRest = time.Minute
)

// ladder finds out how large packets may be: it sends padding, so that no packet
// of QUIC's is lost for it. A round is a packet of each of a few sizes, the
// largest first, of which the peer reports the largest that came; the next round
// is between that size and the one above it, which did not come. Three rounds
// tell the limit to the byte. As losses mislead, and paths change, the search is
// repeated, less and less often; it is over for good when MaxPacket has passed.
// What it is wrong about, it takes to be smaller than it is.
type ladder struct {
	proved    int // bytes of the largest packet that came; 0 if none did
	low, high int // bytes: the round's sizes are above low, up to high
	rung      int // of the round, to be sent next
	step      step
	began     time.Duration // the round, or the first ones of which nothing has come
	due       time.Duration // the next round
	trip      time.Duration // how long a round takes to be reported
	rest      time.Duration // before the next search
}

type step uint8

const (
	climbing step = iota // a round is being sent
	waiting              // for what is reported of it
	resting              // until the next search
)

func newLadder(now time.Duration) ladder {
	l := ladder{low: leastPacket, high: MaxPacket, rest: firstWait}
	l.climb(leastPacket, MaxPacket, now)
	return l
}

// fits reports whether a packet of QUIC's of that size may be Numbered.
func (l *ladder) fits(size int) bool { return size+Overhead <= l.proved }

// climb begins a round, or a rest if there is no size left to try.
func (l *ladder) climb(low, high int, now time.Duration) {
	if l.low, l.high = low, high; low >= high {
		l.step, l.due = resting, now+l.rest
		l.rest = min(2*l.rest, longestRest)
		return
	}
	l.step, l.rung = climbing, l.rungs()
	if l.proved > 0 {
		l.began = now
	}
}

func (l *ladder) rungs() int { return min(mostRungs, l.high-l.low) }

func (l *ladder) size(rung int) int { return l.low + (l.high-l.low)*rung/l.rungs() }

// next is the size of a packet to be sent now; 0 if there is none.
func (l *ladder) next(now time.Duration) int {
	if l.proved >= MaxPacket {
		return 0
	}
	if l.step != climbing && now >= l.due {
		l.conclude(now)
	}
	if l.step != climbing {
		return 0
	}
	size, last := l.size(l.rung), 1
	if l.proved == 0 {
		last = 0
	}
	if l.rung--; l.rung < last {
		l.step, l.due = waiting, now+firstWait+2*l.trip
		if l.proved == 0 {
			l.due = now + l.rest
			l.rest = min(2*l.rest, longestRest)
		}
	}
	return size
}

// conclude goes on when it is time.
func (l *ladder) conclude(now time.Duration) {
	switch {
	case l.proved == 0: // perhaps the peer has not agreed yet
		l.climb(leastPacket, MaxPacket, now)
	case l.step == resting:
		l.climb(l.proved, MaxPacket, now)
	default: // not even the smallest one came
		l.climb(l.low, l.size(1)-1, now)
	}
}

// came notes that a packet of that size came.
func (l *ladder) came(size int, now time.Duration) {
	if size <= l.proved {
		return
	}
	if l.proved == 0 {
		l.trip = min(now-l.began, longestTrip)
	}
	l.proved, l.rest = size, firstRest
	high := l.high
	for rung := l.rungs(); rung > 0 && l.size(rung) > size; rung-- {
		high = l.size(rung) - 1
	}
	if size > high { // QUIC has tried a larger one
		high = MaxPacket
	}
	l.climb(size, high, now)
}
