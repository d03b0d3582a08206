package transport

import (
	"testing"
	"time"
)

func TestLanesAreNeededByLoadAndLossAndForSomeTime(t *testing.T) {
	start := time.Unix(1, 0)
	d := &demand{most: 8, need: 1}
	now := start
	var sent, lost uint64
	beat := func(more, gone uint64, lanes int) bool {
		now = now.Add(beatEvery)
		sent, lost = sent+more, lost+gone
		return d.look(now, traffic{sent, lost}, lanes)
	}
	want := func(what string, n int, why string) {
		t.Helper()
		if got, because := d.wants(); got != n || because != why {
			t.Errorf("after %s: %d lanes (%s), want %d (%s)", what, got, because, n, why)
		}
	}
	const rtt = 10 * time.Millisecond
	if p := d.patience(rtt); p != patience {
		t.Errorf("without loss: patience for %v", p)
	}
	if p := d.patience(time.Second); p != 2*time.Second {
		t.Errorf("far away: patience for %v", p)
	}
	beat(5, 5, 1)
	want("a loss on an idle link", 1, "")
	for range 100 {
		beat(10_000, 0, 1)
	}
	beat(10_000, 1, 1)
	want("hardly a loss", 1, "")
	if !d.strained(now, now.Add(-time.Second), 1) {
		t.Error("load changes nothing")
	}
	want("load", 2, "load")
	d.strained(now, now.Add(-time.Second), 1)
	want("load, when the lanes have not come yet", 2, "load")
	d.became(now)
	d.strained(now.Add(time.Second), now.Add(-time.Second), 2)
	want("load from before there were as many", 2, "load")
	for range 3 {
		beat(1000, 100, 2)
	}
	want("loss", 4, "loss")
	if p := d.patience(rtt); p != haste {
		t.Errorf("with loss: patience for %v", p)
	}
	d.became(now)
	beat(1000, 10, 4)
	want("loss, just after there are more lanes", 4, "loss")
	beat(1000, 10, 4)
	want("loss again", 8, "loss")
	beat(1000, 10, 8)
	want("loss with all lanes that may be", 8, "loss")
	last := now
	for now.Sub(last) < unneeded-beatEvery {
		beat(1000, 0, 8)
	}
	want("less than the time that lanes are kept", 8, "loss")
	beat(0, 0, 8)
	beat(0, 0, 8)
	want("that time", 4, "no need of more")
	for range int(2*fading/beatEvery) + 2 {
		beat(0, 0, 8)
	}
	want("some more", 1, "no need of more")
	d.ask(4)
	want("a wish of the peer's", 4, "the peer needs them")
	d.ask(16)
	want("a wish for more than there may be", 8, "the peer needs them")
	sent, lost = 0, 0
	beat(0, 0, 1)
	want("losses that were none after all", 8, "the peer needs them")
}
