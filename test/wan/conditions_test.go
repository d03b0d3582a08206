package wan

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// fate sends packets over a way, one a millisecond, and returns which were
// lost, with how many losses in a row there were at a time on average.
func fate(c Conditions, packets int) (share, run float64) {
	w, rng := &way{Conditions: c}, rand.New(rand.NewPCG(1, 2))
	var lost, runs int
	before := true
	for i := range packets {
		_, arrives := w.admit(1000, time.Unix(0, int64(i)*1e6), rng)
		if !arrives {
			lost++
			if before {
				runs++
			}
		}
		before = arrives
	}
	return float64(lost) / float64(packets), float64(lost) / float64(max(runs, 1))
}

func TestBurstsLoseTheShareAndTheLengthThatTheirChancesSay(t *testing.T) {
	const n = 400_000
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > want/20 {
			t.Errorf("%s: %.4f, want %.4f", what, got, want)
		}
	}
	share, run := fate(Conditions{Loss: 0.02}, n)
	near("independent, share", share, 0.02)
	near("independent, losses in a row", run, 1/(1-0.02))

	share, run = fate(Conditions{Burst: Burst{Enter: 0.005, Leave: 0.2, Loss: 1}}, n)
	near("bursts, share", share, 0.005/(0.005+0.2))
	near("bursts, losses in a row", run, 1/0.2)

	// In bad times half is lost, in good ones 1 %.
	share, _ = fate(Conditions{Loss: 0.01, Burst: Burst{Enter: 0.01, Leave: 0.1, Loss: 0.5}}, n)
	near("bursts and single losses, share", share, (0.1*0.01+0.01*0.5)/(0.11))
}

func TestABottleneckDelaysUntilItsQueueIsFull(t *testing.T) {
	const delay = 20 * time.Millisecond
	w, rng := &way{Conditions: Conditions{Delay: delay, Bandwidth: 1000_000, Queue: 5000}}, rand.New(rand.NewPCG(1, 2))
	now := time.Unix(0, 0)
	for i := range 8 {
		at, arrives := w.admit(1000, now, rng)
		if want := i < 5; arrives != want {
			t.Errorf("packet %d arrives: %t, want %t", i, arrives, want)
		}
		if want := now.Add(time.Duration(i+1)*time.Millisecond + delay); arrives && !at.Equal(want) {
			t.Errorf("packet %d arrives after %v, want %v", i, at.Sub(now), want.Sub(now))
		}
	}
	if at, arrives := w.admit(1000, now.Add(time.Second), rng); !arrives || at.Sub(now) != time.Second+time.Millisecond+delay {
		t.Errorf("an idle bottleneck: %t after %v", arrives, at.Sub(now))
	}
}
