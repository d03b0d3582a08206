package fact

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// planet is twenty regions of fifty nodes, five of each gateways; 0.5 ms
// inside a region, 80 to 150 ms there and back between two, and one message in
// a hundred comes late because its link had to send it again.
func planet(t testing.TB) *world {
	w := newWorld(t, 1)
	w.unwatched = true
	const regions, size, gateways = 20, 50, 5
	rtt := map[[2]string]time.Duration{}
	for a := range regions {
		for b := range a {
			d := time.Duration(80+w.rng.IntN(71)) * time.Millisecond
			ra, rb := fmt.Sprintf("r%02d", a), fmt.Sprintf("r%02d", b)
			rtt[[2]string{ra, rb}], rtt[[2]string{rb, ra}] = d, d
		}
	}
	w.latency = func(a, b *simNode) time.Duration {
		there, again := 500*time.Microsecond, 25*time.Millisecond // a probe timeout
		if a.region != b.region {
			d := rtt[[2]string{a.region, b.region}]
			there, again = d/2, d+25*time.Millisecond
		}
		for w.rng.IntN(100) == 0 {
			there += again
		}
		return there
	}
	for r := range regions {
		for i := range size {
			n := w.add(fmt.Sprintf("r%02d-%02d", r, i), fmt.Sprintf("r%02d", r))
			n.gateway = i < gateways
		}
	}
	return w
}

// members tells some nodes that others are members, or that they died.
func (w *world) members(some, others func(*simNode) bool, alive bool) {
	for _, n := range w.nodes {
		for _, o := range w.nodes {
			switch {
			case n == o || !some(n) || !others(o):
			case alive:
				n.Alive(w.now, o.id)
			default:
				n.Gone(w.now, o.id, false)
			}
		}
	}
}

// skip lets time pass in which nothing happens but digests that agree.
func (w *world) skip(d time.Duration) {
	for i := range w.events {
		w.events[i].at = w.events[i].at.Add(d)
	}
	for _, n := range w.nodes {
		for _, s := range n.sessions {
			s.last = s.last.Add(d)
		}
	}
	w.now = w.now.Add(d)
}

// summarize has the gateways tell the mesh what the nodes of their region tell
// it, what comes within 5 ms at once: the second step of a node's interest.
func (w *world) summarize(n *simNode, c Change) {
	if !n.gateway || c.Topic != near || c.Forgotten {
		return
	}
	if n.waiting = append(n.waiting, c); len(n.waiting) > 1 {
		return
	}
	w.after(5*time.Millisecond, func() {
		adds, removes := map[string]bool{}, map[string]bool{}
		for _, c := range n.waiting {
			for _, e := range c.Adds {
				adds[e] = true
			}
			for _, e := range c.Removes {
				removes[e] = true
			}
		}
		n.waiting = nil
		n.set(wide, slices.Collect(maps.Keys(adds)), slices.Collect(maps.Keys(removes)))
	})
}

// everywhere is how long it took from a change until all other nodes knew.
func (w *world) everywhere(entry string, change func()) time.Duration {
	began := w.now
	knows := map[*simNode]bool{}
	var last time.Time
	w.onApply = func(n *simNode, c Change) {
		w.summarize(n, c)
		if _, has := slices.BinarySearch(c.Adds, entry); has && !knows[n] {
			knows[n] = true
			last = w.now
		}
	}
	change()
	for len(knows) < len(w.nodes)-1 {
		w.run(5 * time.Millisecond)
		if w.now.Sub(began) > 30*time.Second {
			w.t.Fatalf("%s is known to %d of %d nodes after %v", entry, len(knows), len(w.nodes), w.now.Sub(began))
		}
	}
	w.run(300 * time.Millisecond) // acknowledgements
	return last.Sub(began)
}

// settled runs until the mesh agrees.
func (w *world) settled(limit time.Duration) time.Duration {
	began := w.now
	for {
		w.run(100 * time.Millisecond)
		d := w.differs()
		if d == "" {
			return w.now.Sub(began)
		}
		if w.now.Sub(began) > limit {
			w.t.Fatalf("not within %v: %s", limit, d)
		}
	}
}

// form has all nodes find each other and say what they want, and is how long
// it took until they agree.
func (w *world) form() time.Duration {
	w.onApply = w.summarize
	all := func(*simNode) bool { return true }
	w.members(all, all, true)
	for i, n := range w.nodes {
		n.set(near, []string{fmt.Sprintf("of/%s", n.id), fmt.Sprintf("common/%d", i%7)}, nil)
		if n.gateway { // its own interest is its region's, too
			n.set(wide, n.Entries(n.id, near), nil)
		}
	}
	w.mesh()
	return w.settled(10 * time.Second)
}

func (w *world) anyNode() *simNode    { return w.nodes[w.rng.IntN(len(w.nodes))] }
func (w *world) anyGateway() *simNode { return w.nodes[w.rng.IntN(20)*50+w.rng.IntN(5)] }

// measure is how long changes took to reach everybody, sorted.
func (w *world) measure(rounds int, topic Topic, pick func() *simNode) []time.Duration {
	var took []time.Duration
	for i := range rounds {
		n := pick()
		entry := fmt.Sprintf("new/%d/%d", topic, i)
		took = append(took, w.everywhere(entry, func() {
			n.set(topic, []string{entry}, nil)
			if topic == near && n.gateway {
				n.set(wide, []string{entry}, nil)
			}
		}))
	}
	slices.Sort(took)
	return took
}

// percentile is the p-th of sorted times.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[(len(sorted)-1)*p/100].Round(100 * time.Microsecond)
}

// BenchmarkConvergence prints how long a node's interest takes, in virtual time,
// to reach every node of twenty regions of fifty. The shortest round trip
// between regions is 80 ms; 180 ms are wanted.
func BenchmarkConvergence(b *testing.B) {
	w := planet(b)
	w.form()
	took := w.measure(15, near, w.anyNode)
	for b.Loop() {
	}
	b.ReportMetric(float64(percentile(took, 50))/1e6, "virtual-p50-ms")
	b.ReportMetric(float64(percentile(took, 99))/1e6, "virtual-p99-ms")
	b.ReportMetric(0, "ns/op")
}

func TestConvergeTwentyRegionsOfFiftyNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand machines")
	}
	w := planet(t)
	all := func(*simNode) bool { return true }
	formed := w.form()
	direct := w.measure(60, wide, w.anyGateway)
	twoStep := w.measure(15, near, w.anyNode)

	w.onApply = w.summarize
	half := func(n *simNode) bool { return n.region < "r10" }
	for i, a := range w.nodes {
		for _, b := range w.nodes[:i] {
			if a.gateway && b.gateway && half(a) != half(b) {
				w.disconnect(a, b)
			}
		}
	}
	other := func(n *simNode) bool { return !half(n) }
	w.members(half, other, false)
	w.members(other, half, false)
	for i := range 20 { // life goes on on both sides
		w.nodes[w.rng.IntN(len(w.nodes))].set(near, []string{fmt.Sprintf("apart/%d", i)}, []string{"common/3"})
		if i == 10 {
			w.skip(10*time.Minute - 10*time.Second)
		}
		w.run(250 * time.Millisecond)
	}
	if w.differs() == "" {
		t.Error("the cut separates nobody")
	}
	w.members(all, all, true)
	w.mesh()
	healed := w.settled(10 * time.Second)

	at := percentile
	t.Logf("%-44s %10s %10s %10s", "interest reaches all of 20 x 50 nodes", "p50", "p99", "max")
	t.Logf("%-44s %10v %10v %10v", "a gateway's summary (60 changes)", at(direct, 50), at(direct, 99), at(direct, 100))
	t.Logf("%-44s %10v %10v %10v", "a node's interest, by its gateways (15)", at(twoStep, 50), at(twoStep, 99), at(twoStep, 100))
	t.Logf("formed from nothing in %v; agreed %v after a cut of ten minutes; %d messages", formed, healed, w.sent)
	const bound = 80*time.Millisecond + 100*time.Millisecond // the shortest WAN RTT and 100 ms
	if at(direct, 99) > bound || at(twoStep, 99) > bound {
		t.Errorf("p99 is beyond %v", bound)
	}
	for _, n := range w.nodes {
		if s := n.Stats(); s.Conflicts > 0 {
			t.Fatalf("%s has %+v", n.id, s)
		}
	}
}
