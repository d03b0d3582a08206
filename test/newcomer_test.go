package test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
)

// A node that comes back is linked to another region before it has heard what
// the nodes of its own want: their links are the slow ones here. Nobody else is
// harmed by that: what comes for them from elsewhere is kept where it was said.
func TestANodeThatComesBackCostsOthersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &trial{t: t, rng: rand.New(rand.NewPCG(1, 1)), acct: newAccount()}
		r.m = simmesh.New(t, simmesh.Config{Regions: []int{2, 1}, LAN: 150 * time.Millisecond, WAN: time.Millisecond})
		r.m.Until(time.Minute, "the region is linked", func() bool { return linked(r.m, "r0", "r0") })
		time.Sleep(time.Second) // simulated
		r.listen(1)
		for range 3 {
			r.crash(0)
			r.steady(2, 5*time.Second)
			r.m.Start(0)
			r.steady(2, 5*time.Second)
			r.m.WaitReady(0)
		}
		all := r.acct.mark()
		time.Sleep(10 * time.Second) // simulated
		for _, w := range r.acct.wrong(all) {
			t.Error(w)
		}
		if c := r.acct.counts(); c.taken < 1000 || c.delivered != c.taken {
			t.Errorf("it cost something: %v", c)
		}
		r.deafen(1)
	})
}

// A node that is taken for dead, comes back and dies: what it said in between is
// reported, too, though gossip may not have found it again by then.
func TestANodeThatIsLostTwiceIsReportedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &trial{t: t, rng: rand.New(rand.NewPCG(1, 1)), acct: newAccount()}
		r.m = simmesh.New(t, simmesh.Config{Regions: []int{2, 2}})
		for _, at := range []int{0, 1, 2} {
			r.listen(at)
		}
		for range 5 {
			r.steady(3, time.Second)
			r.m.Isolate(3)
			time.Sleep(20 * time.Second) // simulated: gossip takes it for dead
			r.m.Heal(3)
			r.m.Until(time.Minute, "it is linked again", func() bool {
				return !slices.ContainsFunc(r.m.Nodes[:3], func(n *node.Node) bool {
					return !slices.ContainsFunc(n.LinkViews(), func(v node.LinkView) bool { return v.ToName == "n3" && v.State == "up" })
				})
			})
			r.steady(3, 100*time.Millisecond)
			r.m.Isolate(3)
			r.steady(3, 50*time.Millisecond) // this is lost with it
			r.crash(3)
			r.m.Heal(3)
			r.m.Start(3)
			r.m.WaitReady(3)
		}
		all := r.acct.mark()
		time.Sleep(2 * time.Minute) // simulated
		for _, w := range r.acct.wrong(all) {
			t.Error(w)
		}
		t.Log(r.acct.counts())
		for i := range r.m.Nodes {
			r.deafen(i)
		}
	})
}

// A node that is cut off when it starts takes publishes all the same, without
// knowing who wants them. It says so to whom it may concern, of all of them:
// those that it takes while it learns what the others want, too.
func TestWhatIsPublishedInDoubtIsReported(t *testing.T) {
	for name, regions := range map[string][]int{"to another region": {1, 1}, "to its own": {2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &trial{t: t, rng: rand.New(rand.NewPCG(1, 1)), acct: newAccount()}
				r.m = simmesh.New(t, simmesh.Config{Regions: regions, LAN: 20 * time.Millisecond})
				r.listen(1)
				r.crash(0)
				r.m.Isolate(0)
				r.m.Start(0)
				r.m.WaitReady(0)
				for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
					r.publish(r.m.Nodes[0], "a")
				}
				r.m.Heal(0)
				for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
					r.publish(r.m.Nodes[0], "a")
				}
				all := r.acct.mark()
				time.Sleep(10 * time.Second) // simulated
				for _, w := range r.acct.wrong(all) {
					t.Error(w)
				}
				if c := r.acct.counts(); c.delivered < 5000 {
					t.Errorf("nothing passed: %v", c)
				}
				r.deafen(1)
			})
		})
	}
}

// Whoever starts when flows have rested for long hears of no loss when they go on:
// what had passed before had been acknowledged before it was there.
func TestANodeThatStartsWhileFlowsRestIsToldOfNoLoss(t *testing.T) {
	for starts := 1; starts <= 3; starts++ { // one of them is the entry node
		synctest.Test(t, func(t *testing.T) {
			m := simmesh.New(t, simmesh.Config{Regions: []int{1, 3}})
			for _, n := range m.Nodes[1:] {
				subscribe(t, n, "a")
			}
			for i := range 100 {
				publish(t, m.Nodes[0], "a", fmt.Sprint(i))
			}
			time.Sleep(3 * time.Minute) // simulated: entry nodes forget the flow
			m.Crash(starts)
			m.Start(starts)
			m.WaitReady(starts)
			time.Sleep(30 * time.Second) // simulated
			s := subscribe(t, m.Nodes[starts], "a")
			publish(t, m.Nodes[0], "a", "last")
			if got := collect(t, s, 10*time.Second); !slices.Equal(got, []string{"last"}) {
				t.Errorf("the subscriber at n%d got %v", starts, got)
			}
		})
	}
}

// steady has a node publish all the time, on several lanes.
func (r *trial) steady(from int, long time.Duration) {
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, key := range []string{"a", "b", "c", "d"} {
			r.publish(r.m.Nodes[from], key)
		}
	}
}
