package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/queue"
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
	seed  uint64
	m     *simmesh.Mesh
	rng   *rand.Rand
	acct  *account
	ears  []*simEar
	story []string
}

// simEar is a subscriber for all events at a node, until that crashes or leaves.
type simEar struct {
	at  int
	sub *node.Subscription
	l   *listener
}

// listen subscribes at a node.
func (r *trial) listen(at int) {
	s, err := r.m.Nodes[at].Subscribe(r.t.Context(), node.SubscribeRequest{Filter: filter.Everything()})
	if err != nil {
		r.t.Fatal(err)
	}
	if missing := s.Missing(); len(missing) > 0 {
		r.t.Fatalf("the barrier of a mesh without faults misses %v", missing)
	}
	e := &simEar{at: at, sub: s, l: r.acct.listen(fmt.Sprint("n", at), everything)}
	e.l.heed()
	r.ears = append(r.ears, e)
	go func() { // ends with the subscription
		buf := make([]queue.Item, 64)
		for {
			n, err := s.Next(context.Background(), buf)
			if err != nil {
				return
			}
			for i := range buf[:n] {
				e.hear(&buf[i])
			}
		}
	}()
}

func (e *simEar) hear(it *queue.Item) {
	if g := it.Gap; g != nil {
		e.l.gap(g.Origin, string(g.Cause), int(g.Count))
		return
	}
	part := strings.Split(strings.Clone(it.Event.ID()), "/")
	number, _ := strconv.Atoi(part[3])
	e.l.hear(stream{part[0], part[1], part[2]}, number)
}

// deafen ends the ears at a node that is about to crash or leave.
func (r *trial) deafen(at int) {
	r.ears = slices.DeleteFunc(r.ears, func(e *simEar) bool {
		if e.at != at {
			return false
		}
		e.l.end()
		e.sub.Close()
		return true
	})
}

// publish gives a node the next event of a key. It may refuse it: when it leaves,
// or has not entered yet.
func (r *trial) publish(n *node.Node, key string) {
	self := n.Self()
	s := stream{self.Name, fmt.Sprint(self.Boot), key}
	number := r.acct.say(s)
	ev := newEvent(r.t, "said."+key, fmt.Sprintf("%s/%s/%s/%d", s.node, s.boot, s.key, number), []byte("data"))
	o := taken
	if n.Publish(r.t.Context(), "", eventsOf(ev, key), "") != nil {
		o = refused
	}
	r.acct.settle(s, number, o)
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
			r.deafen(i)
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
	r.deafen(i)
	r.m.Crash(i)
}

// load has all nodes that run publish for a while.
func (r *trial) load(long time.Duration) {
	for end := time.Now().Add(long); ; {
		for _, n := range r.m.Nodes {
			if n != nil {
				r.publish(n, strconv.Itoa(r.rng.IntN(3)))
			}
		}
		if !time.Now().Before(end) {
			return
		}
		time.Sleep(100*time.Millisecond + time.Duration(r.rng.IntN(200))*time.Millisecond)
	}
}

// newTrial makes a mesh of three regions with a subscriber at each node.
func newTrial(t *testing.T, seed, kind uint64) *trial {
	r := &trial{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, kind)), acct: newAccount()}
	r.m = simmesh.New(t, simmesh.Config{Regions: []int{2, 2, 1}, Seed: seed})
	for i := range r.m.Nodes {
		r.listen(i)
	}
	r.load(time.Second)
	return r
}

// reckon lets the mesh settle and checks the account.
func (r *trial) reckon() counts {
	time.Sleep(2 * time.Minute) // simulated: gossip finds everybody again, flows go on
	r.load(time.Second)         // who is missing something must hear of it now
	all := r.acct.mark()
	for range 60 {
		if len(r.acct.wrong(all)) == 0 {
			break
		}
		time.Sleep(time.Second)
	}
	for _, w := range r.acct.wrong(all) {
		r.t.Errorf("seed %d: %s", r.seed, w)
	}
	if r.t.Failed() {
		r.t.Logf("seed %d: %s", r.seed, strings.Join(r.story, "; "))
	}
	c := r.acct.counts()
	for i := range r.m.Nodes {
		r.deafen(i)
	}
	return c
}

// runTrial lets some faults happen to a mesh and checks the account.
func runTrial(t *testing.T, seed uint64) (c counts) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrial(t, seed, 3)
		for range 1 + r.rng.IntN(3) {
			faults[r.rng.IntN(len(faults))].happen(r)
			r.load(r.seconds(0, 5))
		}
		for i := range r.m.Nodes {
			r.m.WaitReady(i)
		}
		c = r.reckon()
	})
	return c
}

// TestEveryEventIsDeliveredOnceOrInsideAGap is the promise under all faults;
// SKEIN_TRIALS is how many seeds, SKEIN_SEED the first.
func TestEveryEventIsDeliveredOnceOrInsideAGap(t *testing.T) {
	var all counts
	trials(t, 6, func(t *testing.T, seed uint64) { all.add(runTrial(t, seed)) })
	t.Log(all)
}
