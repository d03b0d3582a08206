package test

import (
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A node that nobody could reach for a while hears that it has missed events of
// another, even if that one leaves, all of it acknowledged, before they have a link
// again: in the same region and in another.
func TestWhoWasOutOfReachHearsWhatItMissedOfANodeThatLeft(t *testing.T) {
	trials(t, 6, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			r := newTrial(t, seed, 4)
			away := 1 + 2*int(seed%2) // n1 or n3
			long := r.seconds(1, 20)
			r.say("n%d hears and says nothing for %v, then n0 leaves", away, long)
			r.m.Isolate(away)
			r.load(long)
			r.m.Heal(away)
			entry := seed%4 == 1 // n2 takes along what it knows
			if !entry {
				r.load(time.Duration(r.rng.IntN(1500)) * time.Millisecond)
			}
			r.deafen(0)
			r.m.Leave(0)
			if entry {
				r.say("n2 crashes")
				r.crash(2)
				r.load(30 * time.Second)
				r.m.Start(2)
			}
			r.load(time.Second)
			r.reckon()
		})
	})
}

// When nodes leave and come back, one after the other, while all others are linked,
// nobody is told of a loss.
func TestNodesThatLeaveOneByOneCostNobodyAnEvent(t *testing.T) {
	trials(t, 3, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			r := newTrial(t, seed, 5)
			for i := range r.m.Nodes {
				r.deafen(i)
				r.m.Leave(i)
				r.load(r.seconds(0, 3))
				r.m.Start(i)
				r.m.WaitReady(i)
				r.load(r.seconds(0, 2))
			}
			if c := r.reckon(); len(c.gaps) > 0 {
				t.Errorf("seed %d: %v", seed, c)
			}
		})
	})
}

// Two nodes of a region that leave at once cost nobody an event, and one that leaves
// while its neighbour has crashed goes soon, and without a loss of its own.
func TestNodesLeaveInSpiteOfEachOther(t *testing.T) {
	trials(t, 3, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			r := newTrial(t, seed, 7)
			r.deafen(0)
			r.deafen(1)
			var both sync.WaitGroup
			both.Go(func() { r.m.Leave(0) })
			r.m.Leave(1)
			both.Wait()
			r.load(r.seconds(0, 3))
			r.m.Start(0)
			r.m.Start(1)
			r.m.WaitReady(0)
			r.m.WaitReady(1)
			r.load(5 * time.Second)
			if c := r.acct.counts(); len(c.gaps) > 0 {
				t.Errorf("seed %d: two leave: %v", seed, c)
			}
			r.deafen(2)
			r.m.Crash(2)
			r.load(r.seconds(0, 3))
			r.deafen(3)
			began := time.Now()
			if r.m.Leave(3); time.Since(began) > 5*time.Second {
				t.Errorf("seed %d: the neighbour of a node that crashed took %v to leave", seed, time.Since(began))
			}
			r.m.Start(2)
			r.m.Start(3)
			if c := r.reckon(); c.gaps["origin_lost"] > 1 {
				t.Errorf("seed %d: one crashed: %v", seed, c)
			}
		})
	})
}

// An entry node that leaves does not take with it that another could not be reached
// when it handed out events of an origin that has said nothing since.
func TestAnEntryNodeThatLeavesTellsFirstWhoCouldNotBeReached(t *testing.T) {
	trials(t, 3, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) {
			r := newTrial(t, seed, 6)
			r.m.Isolate(1)
			time.Sleep(2 * time.Second) // simulated: its links are down
			for key := range 20 {
				r.publish(r.m.Nodes[4], strconv.Itoa(key))
			}
			time.Sleep(2 * time.Second)
			r.m.Heal(1)
			r.deafen(0)
			r.m.Leave(0)
			time.Sleep(time.Minute)
			for _, w := range r.acct.wrong(r.acct.mark()) {
				t.Errorf("seed %d: %s", seed, w)
			}
			r.reckon()
		})
	})
}
