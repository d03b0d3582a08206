package transport

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestALinkTellsWhatTheNetworkLosesOfLateRepairedOrNot(t *testing.T) {
	for _, unrepaired := range []bool{false, true} {
		t.Run(fmt.Sprint("unrepaired ", unrepaired), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, conns := newNetwork(t, 40*time.Millisecond, 2)
				option := func(c *Config) { c.unrepaired = unrepaired }
				a, b := open(t, conns[0], "a", option), open(t, conns[1], "b", option)
				linkUp(a, b)
				tell := func(what string, least, most float64) {
					t.Helper()
					loss := a.Links()[0].Loss
					t.Logf("%s: %.4f, %d packets rebuilt", what, loss, b.Stats().PacketsRebuilt)
					if loss < least || loss > most {
						t.Errorf("%s: loss of %.4f, want %.4f to %.4f", what, loss, least, most)
					}
				}
				const span = 30 * time.Second
				pace(t, a, span)
				tell("without loss", 0, 0.001)
				w.lose(0.02)
				pace(t, a, span)
				tell("2 % lost", 0.012, 0.03)
				if rebuilt := b.Stats().PacketsRebuilt; (rebuilt == 0) != unrepaired {
					t.Errorf("%d packets rebuilt", rebuilt)
				}
				w.setDrop(nil)
				pace(t, a, 2*span)
				tell("without loss again", 0, 0.001)
			})
		})
	}
}

func TestALossOnAnIdleLinkIsNotMany(t *testing.T) {
	var l losses
	for range 3 {
		l.look(traffic{1, 1}, traffic{})
	}
	if p := l.part(); p <= 0 || p > 1.0/fewToJudge {
		t.Errorf("1 packet lost of 1 makes a loss of %.3f", p)
	}
	l.look(traffic{1_000_001, 1}, traffic{})
	l.look(traffic{1_000_001, 0}, traffic{}) // it was not lost
	if p := l.part(); p > 1e-5 {
		t.Errorf("1 packet lost of a million makes a loss of %.6f", p)
	}
}
