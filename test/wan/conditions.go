package wan

import (
	"math/rand/v2"
	"time"
)

// Conditions of the way from one place to another. The zero value is perfect.
type Conditions struct {
	Delay     time.Duration // one way
	Jitter    time.Duration // up to this is added, evenly distributed; order is kept
	Loss      float64       // share of packets lost, independently
	Burst     Burst         // bad times, in which more is lost
	Reorder   float64       // share of packets that overtake: sent without the delay's second half
	Bandwidth int           // bytes per second; 0 is unlimited
	Queue     int           // bytes that may wait for the bandwidth; 0 is 256 KiB
	Cut       bool          // nothing passes
}

// Burst is how losses come in bursts (Gilbert and Elliott): the way has good
// times and bad ones, and each packet may begin or end a bad one. In the long
// run Enter/(Enter+Leave) of all packets meet a bad time, and one lasts for
// 1/Leave packets. The zero value has good times only.
type Burst struct {
	Enter float64 // chance that a packet begins a bad time
	Leave float64 // chance that a packet ends one
	Loss  float64 // share of packets lost in bad times; in good ones it is Conditions.Loss
}

const defaultQueue = 256 << 10

// Stats count the packets of a way since the start.
type Stats struct {
	Sent    uint64
	Lost    uint64 // by Loss, Burst, Cut and full queues
	Bytes   uint64 // of the packets sent
	Backlog int    // bytes on their way
}

// way is the way from one place to another. It decides what becomes of packets
// and moves none.
type way struct {
	Conditions
	bad   bool      // it is a bad time
	free  time.Time // when the bandwidth is free again
	last  time.Time // when the last packet in order arrives
	stats Stats
}

// admit decides the fate of a packet of a size that is sent now: when it
// arrives, or that it does not.
func (w *way) admit(size int, now time.Time, rng *rand.Rand) (at time.Time, arrives bool) {
	if w.Cut || w.loses(rng) {
		return at, false
	}
	leaves, room := w.transmit(size, now)
	if !room {
		return at, false
	}
	at = leaves.Add(w.Delay)
	if w.Jitter > 0 {
		at = at.Add(time.Duration(rng.Int64N(int64(w.Jitter))))
	}
	if w.Reorder > 0 && rng.Float64() < w.Reorder {
		return leaves.Add(w.Delay / 2), true
	}
	if at.Before(w.last) {
		at = w.last
	}
	w.last = at
	return at, true
}

func (w *way) loses(rng *rand.Rand) bool {
	share := w.Loss
	if w.Burst.Enter > 0 {
		turn := w.Burst.Enter
		if w.bad {
			turn = w.Burst.Leave
		}
		if rng.Float64() < turn {
			w.bad = !w.bad
		}
		if w.bad {
			share = w.Burst.Loss
		}
	}
	return share > 0 && rng.Float64() < share
}

// transmit passes a packet through the bottleneck: it waits for those before
// it, or finds the queue full.
func (w *way) transmit(size int, now time.Time) (leaves time.Time, room bool) {
	if w.Bandwidth == 0 {
		return now, true
	}
	queue := w.Queue
	if queue == 0 {
		queue = defaultQueue
	}
	if w.free.Before(now) {
		w.free = now
	}
	if int(w.free.Sub(now).Seconds()*float64(w.Bandwidth))+size > queue {
		return now, false
	}
	w.free = w.free.Add(time.Duration(float64(size) / float64(w.Bandwidth) * float64(time.Second)))
	return w.free, true
}
