package repair

import (
	"math"
	"time"
)

const (
	tooMany     = 2e-4 // the part of groups that may have more losses than parities
	mostLoss    = 0.03 // that parity is for
	forgetAfter = 4 * time.Second
	enough      = 30_000 // packets to judge by
)

// meter estimates how many packets get lost from those that did of late.
type meter struct {
	numbers, lost float64
	halved        time.Duration
}

// newMeter expects 1 % loss for its first two seconds, or until it knows better:
// a connection begins by doubling its window, and a loss then costs more than
// ever after.
func newMeter(now time.Duration) meter {
	return meter{numbers: 45, lost: 0.45, halved: now - forgetAfter/2}
}

func (m *meter) add(numbers, lost float64, now time.Duration) {
	m.numbers, m.lost = m.numbers+numbers, m.lost+lost
	if m.numbers > enough || now-m.halved > forgetAfter {
		m.numbers, m.lost, m.halved = m.numbers/2, m.lost/2, now
	}
}

// loss is the part of packets that get lost; 0 when none was for long.
func (m *meter) loss() float64 {
	if m.lost < 0.25 {
		return 0
	}
	return min(1, m.lost/m.numbers)
}

// parities is how many parity packets a group needs at this loss.
func parities(packets int, loss float64) int {
	if loss <= 0 {
		return 0
	}
	loss = min(loss, mostLoss)
	most := min(maxParity, 1+packets/6)
	for n := 1; n < most; n++ {
		// As many as that or fewer get lost, by Poisson's law.
		mean := float64(packets+n) * loss
		term := math.Exp(-mean)
		fine := term
		for i := 1; i <= n; i++ {
			term *= mean / float64(i)
			fine += term
		}
		if 1-fine <= tooMany {
			return n
		}
	}
	return most
}

// trips keeps the quickest round trip of the last 10 to 20 s, and how long they
// take now.
type trips struct {
	now       time.Duration
	least     [2]time.Duration // of this span and the one before
	spanBegan time.Duration
}

const tripSpan = 10 * time.Second

func (t *trips) add(trip, now time.Duration) {
	if t.now == 0 {
		t.now, t.spanBegan = trip, now
		t.least = [2]time.Duration{trip, trip}
	}
	if now-t.spanBegan > tripSpan {
		t.least, t.spanBegan = [2]time.Duration{trip, t.least[0]}, now
	}
	t.least[0] = min(t.least[0], trip)
	t.now += (trip - t.now) / 4
}

// queued reports whether packets wait in a queue on their way: that a loss is
// one of congestion. The constant is for a receiver that is short of time.
func (t *trips) queued() bool {
	return t.now > min(t.least[0], t.least[1])*3/2+25*time.Millisecond
}
