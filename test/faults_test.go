package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// eventsOf is an event with another key.
func eventsOf(ev event.Event, key string) []event.Event {
	var b event.Builder
	b.SetString("id", ev.ID()).SetString("source", "/"+key).SetString("type", ev.Type())
	out, err := b.Event()
	if err != nil {
		panic(err)
	}
	return []event.Event{out}
}

// trial is a mesh under load to which things happen.
type trial struct {
	t     *testing.T
	m     *simmesh.Mesh
	rng   *rand.Rand
	acct  *account
	story []string
}

// fault is something that happens, and is over when it returns.
type fault struct {
	name   string
	happen func(*trial)
}

// faults are what a mesh must survive.
var faults = []fault{
	{"crash", func(r *trial) {
		i := r.rng.IntN(len(r.m.Nodes))
		down := r.seconds(0, 60)
		r.say("n%d crashes for %v", i, down)
		r.crash(i)
		r.load(down)
		r.m.Start(i)
	}},
	{"half a region crashes", func(r *trial) {
		r.say("n0 and n1 crash")
		r.crash(0)
		r.crash(1)
		r.load(r.seconds(0, 30))
		r.m.Start(0)
		r.m.Start(1)
	}},
	{"cut", func(r *trial) {
		a, b := r.regions()
		long := r.seconds(1, 30)
		r.say("%s and %s are cut for %v", a, b, long)
		r.m.CutRegions(a, b)
		r.load(long)
		r.m.HealRegions(a, b)
	}},
	{"long cut", func(r *trial) {
		a, _ := r.regions()
		r.say("%s is alone for ten minutes", a)
		r.m.IsolateRegion(a)
		r.load(20 * time.Second)
		time.Sleep(570 * time.Second)
		r.load(10 * time.Second)
		r.m.HealRegion(a)
	}},
	{"one-way cut", func(r *trial) {
		a, b := r.regions()
		long := r.seconds(1, 30)
		r.say("nothing passes from %s to %s for %v", a, b, long)
		r.m.CutOneWay(a, b)
		r.load(long)
		r.m.HealRegions(a, b)
	}},
	{"flapping", func(r *trial) {
		a, b := r.regions()
		r.say("the way between %s and %s flaps", a, b)
		for range 5 {
			r.m.CutRegions(a, b)
			r.load(r.seconds(1, 3))
			r.m.HealRegions(a, b)
			r.load(r.seconds(1, 3))
		}
	}},
	{"loss", func(r *trial) {
		r.say("5 %% of the packets between regions are lost")
		r.m.SetLoss(0.05)
		r.load(20 * time.Second)
		r.m.SetLoss(0)
	}},
	{"zombie", func(r *trial) {
		i := r.rng.IntN(len(r.m.Nodes))
		long := r.seconds(1, 20)
		r.say("n%d hears and says nothing for %v", i, long)
		r.m.Isolate(i)
		r.load(long)
		r.m.Heal(i)
	}},
	{"rolling restart", func(r *trial) {
		r.say("the nodes of r0 are restarted one after the other")
		for i := range 2 {
			r.acct.close(i)
			r.m.Leave(i)
			r.load(r.seconds(0, 3))
			r.m.Start(i)
			r.m.WaitReady(i)
			r.load(time.Second)
		}
	}},
}

func (r *trial) say(format string, args ...any) {
	r.story = append(r.story, fmt.Sprintf(format, args...))
}

func (r *trial) seconds(from, to int) time.Duration {
	return time.Duration(from*1000+r.rng.IntN((to-from)*1000+1)) * time.Millisecond
}

func (r *trial) regions() (a, b string) {
	i := r.rng.IntN(3)
	return fmt.Sprint("r", i), fmt.Sprint("r", (i+1+r.rng.IntN(2))%3)
}

func (r *trial) crash(i int) {
	r.acct.close(i)
	r.m.Crash(i)
}

// load has all nodes that run publish for a while.
func (r *trial) load(long time.Duration) {
	for end := time.Now().Add(long); ; {
		for _, n := range r.m.Nodes {
			if n != nil {
				r.acct.publish(r.t, n, strconv.Itoa(r.rng.IntN(3)))
			}
		}
		if !time.Now().Before(end) {
			return
		}
		time.Sleep(100*time.Millisecond + time.Duration(r.rng.IntN(200))*time.Millisecond)
	}
}

// runTrial lets some faults happen to a mesh and checks the account.
func runTrial(t *testing.T, seed uint64) (taken, delivered, gaps int) {
	synctest.Test(t, func(t *testing.T) {
		r := &trial{t: t, rng: rand.New(rand.NewPCG(seed, 3)), acct: &account{taken: map[stream]int{}}}
		r.m = simmesh.New(t, simmesh.Config{Regions: []int{2, 2, 1}, Seed: seed})
		for _, at := range []int{0, 1, 2, 3, 4} {
			r.acct.listen(t, r.m, at)
		}
		r.load(time.Second)
		for range 1 + r.rng.IntN(3) {
			faults[r.rng.IntN(len(faults))].happen(r)
			r.load(r.seconds(0, 5))
		}
		for i := range r.m.Nodes {
			r.m.WaitReady(i)
		}
		time.Sleep(2 * time.Minute) // simulated: gossip finds everybody again, flows go on
		r.load(time.Second)         // who is missing something must hear of it now
		for range 60 {
			if r.acct.complete(r.m) {
				break
			}
			time.Sleep(time.Second)
		}
		for _, w := range r.acct.wrong() {
			t.Errorf("seed %d: %s", seed, w)
		}
		if t.Failed() {
			t.Logf("seed %d: %s", seed, strings.Join(r.story, "; "))
		}
		taken, delivered, gaps = r.acct.counts()
		for i := range r.m.Nodes {
			r.acct.close(i)
		}
	})
	return taken, delivered, gaps
}

// TestEveryEventIsDeliveredOnceOrInsideAGap is the promise under all faults;
// SKEIN_TRIALS is how many seeds, SKEIN_SEED the first.
func TestEveryEventIsDeliveredOnceOrInsideAGap(t *testing.T) {
	trials, first := 6, 1
	if s := os.Getenv("SKEIN_TRIALS"); s != "" {
		trials, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("SKEIN_SEED"); s != "" {
		first, _ = strconv.Atoi(s)
	}
	taken, delivered, gaps := 0, 0, 0
	for seed := first; seed < first+trials; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			a, b, c := runTrial(t, uint64(seed))
			taken, delivered, gaps = taken+a, delivered+b, gaps+c
		})
	}
	t.Logf("%d trials: %d events taken, %d delivered, %d gaps", trials, taken, delivered, gaps)
}
