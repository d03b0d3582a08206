package test

import (
	"fmt"
	"time"
)

// ordeal is something that happens to a mesh of processes. When it is over, all
// nodes run and the network is well, though nothing may have noticed yet.
type ordeal struct {
	name   string
	when   when
	happen func(*soak)
}

// when says which soaks have time for an ordeal.
type when uint8

const (
	always  when = iota // it does not take long in a hurry
	usually             // not in a hurry
	rarely              // once an hour, and once in half of one
)

// ordeals are what must be survived.
var ordeals = []ordeal{
	{"an origin is killed", usually, func(r *soak) {
		i := r.rng.IntN(len(r.m.Nodes))
		r.killed(r.seconds(0, 10), i)
	}},
	{"an origin is killed while its region is cut off", always, func(r *soak) {
		i := r.rng.IntN(len(r.m.Nodes))
		region := r.m.Nodes[i].Region
		r.say("%s is cut off", region)
		r.m.Run(fmt.Sprintf("at 0s cut %s *", region))
		time.Sleep(r.seconds(2, 10)) // of what it says now much is lost with it
		r.killed(r.seconds(0, 10), i)
		r.m.Run(fmt.Sprintf("at 0s heal %s *", region))
	}},
	{"an entry node is killed", always, func(r *soak) { r.killed(r.seconds(0, 10), r.entry()) }},
	{"a relaying gateway is killed", usually, func(r *soak) {
		between := r.m.Nodes[len(r.m.Nodes)-2].Region // not the last region, which has one node
		from, to := r.m.Nodes[0].Region, r.m.Nodes[len(r.m.Nodes)-1].Region
		r.say("%s and %s are cut", from, to)
		r.m.Run(fmt.Sprintf("at 0s cut %s %s", from, to))
		relay := -1
		r.m.UntilWithin(soakPatience, "another region relays", func() bool {
			relay = r.hop(0, to)
			return relay >= 0 && r.m.Nodes[relay].Region == between
		})
		r.killed(r.seconds(1, 10), relay)
		r.m.Run(fmt.Sprintf("at 0s heal %s %s", from, to))
	}},
	{"half a region is killed", usually, func(r *soak) {
		var half []int
		for i, n := range r.m.Nodes {
			if n.Region == r.m.Nodes[0].Region && (i%2 == 0) {
				half = append(half, i)
			}
		}
		r.killed(r.seconds(0, 10), half...)
	}},
	{"a whole region is killed", usually, func(r *soak) { r.killed(r.seconds(0, 10), r.of(r.region())...) }},
	{"a node is killed while journals run over", usually, func(r *soak) {
		r.say("orders are large") // and idle groups have to let go of what they logged
		r.archive.swell(true)
		time.Sleep(r.seconds(5, 10))
		r.killed(r.seconds(0, 10), r.of(r.m.Nodes[0].Region)[r.rng.IntN(4)])
		time.Sleep(r.seconds(5, 10))
		r.archive.swell(false)
	}},
	{"a node is a zombie", always, func(r *soak) { r.zombie(r.rng.IntN(len(r.m.Nodes))) }},
	{"an entry node is a zombie", usually, func(r *soak) { r.zombie(r.entry()) }},
	{"a cut", always, func(r *soak) {
		a, b := r.regions()
		r.bad("", "cut %[1]s %[2]s", "heal %[1]s %[2]s", a, b, r.seconds(10, 10))
	}},
	{"a cut of more than ten minutes", rarely, func(r *soak) {
		region, long := r.region(), 11*time.Minute // events are kept for ten
		r.say("%s is cut off for %v", region, long)
		r.m.Run(fmt.Sprintf("at 0s cut %[1]s *\nat %[2]v heal %[1]s *", region, long))
	}},
	{"a one-way cut", usually, func(r *soak) {
		a, b := r.regions()
		r.bad("one-way ", "cut %[1]s -> %[2]s", "heal %[1]s -> %[2]s", a, b, r.seconds(10, 10))
	}},
	{"a flapping link", usually, func(r *soak) {
		a, b := r.regions()
		for range 5 {
			r.bad("flapping ", "cut %[1]s %[2]s", "heal %[1]s %[2]s", a, b, r.seconds(1, 3))
			time.Sleep(r.seconds(1, 3)) // the load goes on
		}
	}},
	{"5 % loss and reordering", usually, func(r *soak) {
		long := r.seconds(10, 20)
		r.say("5 %% of the packets between regions are lost and 3 %% overtake for %v", long)
		r.m.Run(foul)
		time.Sleep(long) // the load goes on
		r.m.Run(r.weather)
	}},
	{"all gateways of a region are restarted one after the other", usually, func(r *soak) {
		region := r.region()
		for _, i := range r.gateways(region) {
			n := r.m.Nodes[i]
			r.say("%s is told to leave, and started again", n.Name)
			if w := r.witnesses[i]; w != nil {
				w.l.end() // its node is free to turn away whom it served
			}
			if err := n.Terminate(); err != nil {
				r.t.Errorf("%s ended with %v", n.Name, err)
			}
			r.silence(i)
			r.m.Start(i)
		}
	}},
}

// The weather between regions; that of a soak is fair and foul by turns.
const (
	fair = "at 0s loss * * 0%\nat 0s reorder * * 0%"
	foul = "at 0s loss * * 5%\nat 0s reorder * * 3%"
)

// seconds is a time between two numbers of seconds, or a short one in a hurry.
func (r *soak) seconds(from, to int) time.Duration {
	if r.limit == 0 {
		from, to = min(from, 1), min(to, 2)
	}
	return time.Duration(from*1000+r.rng.IntN((to-from)*1000+1)) * time.Millisecond
}

// region is any.
func (r *soak) region() string { return r.m.Nodes[r.rng.IntN(len(r.m.Nodes))].Region }

// regions are any two.
func (r *soak) regions() (a, b string) {
	for a = r.region(); b == "" || a == b; {
		b = r.region()
	}
	return a, b
}

// of lists the nodes of a region.
func (r *soak) of(region string) (list []int) {
	for i, n := range r.m.Nodes {
		if n.Region == region {
			list = append(list, i)
		}
	}
	return list
}

// killed kills some nodes at once, and starts them again after a while.
func (r *soak) killed(down time.Duration, victims ...int) {
	for _, i := range victims {
		r.say("%s is killed for %v", r.m.Nodes[i].Name, down)
		if w := r.witnesses[i]; w != nil {
			w.l.end()
		}
		r.m.Nodes[i].Kill()
	}
	for _, i := range victims {
		r.silence(i)
	}
	time.Sleep(down) // the load of the others goes on
	for _, i := range victims {
		r.m.Start(i)
	}
}

// zombie freezes a node for a while.
func (r *soak) zombie(i int) {
	long := r.seconds(1, 20)
	r.say("%s is frozen for %v", r.m.Nodes[i].Name, long)
	r.acct.unlinked.Add(1)
	r.m.Nodes[i].Pause()
	time.Sleep(long) // the load goes on
	r.m.Nodes[i].Resume()
	r.m.UntilWithin(soakPatience, "the zombie is linked again", r.m.Whole)
	r.acct.unlinked.Add(-1)
}

// bad makes the way between two regions bad for a while, by a command of a script
// and the one that undoes it.
func (r *soak) bad(kind, do, undo, a, b string, long time.Duration) {
	r.say("%scut from %s to %s for %v", kind, a, b, long)
	r.m.Run(fmt.Sprintf("at 0s "+do+"\nat %[3]v "+undo, a, b, long))
}

// routeView is what a node says of the way of an event.
type routeView struct {
	Targets []struct {
		Region   string `json:"region"`
		NextName string `json:"nextName"`
		Relay    bool   `json:"relay"`
	} `json:"targets"`
}

// hop is the first node outside the region to which one of a node's keys goes on
// its way to a region; -1 if there is no way.
func (r *soak) hop(from int, region string) int {
	n := r.m.Nodes[from]
	source := fmt.Sprintf("/%s/%d", n.Name, r.rng.IntN(soakKeys))
	for range len(r.m.Nodes) { // relays inside the region
		var view routeView
		r.m.Nodes[from].Get("/mesh/route?type=said&source="+source, &view)
		next, relay := -1, false
		for _, target := range view.Targets {
			if target.Region == region {
				next, relay = r.named(target.NextName), target.Relay
			}
		}
		if !relay || next < 0 {
			return next
		}
		from = next
	}
	return -1
}

// entry is a node through which events enter a region.
func (r *soak) entry() (i int) {
	r.m.UntilWithin(soakPatience, "there is an entry node", func() bool {
		from, to := r.regions()
		i = r.hop(r.of(from)[0], to)
		return i >= 0
	})
	return i
}

// named is the node of a name; -1 if there is none.
func (r *soak) named(name string) int {
	for i, n := range r.m.Nodes {
		if n.Name == name {
			return i
		}
	}
	return -1
}

// gateways lists the nodes that speak for a region.
func (r *soak) gateways(region string) (list []int) {
	var view struct {
		Regions []struct {
			Name     string   `json:"name"`
			Gateways []string `json:"gateways"`
		} `json:"regions"`
	}
	r.m.Nodes[r.of(region)[0]].Get("/mesh/topology", &view)
	for _, v := range view.Regions {
		for _, id := range v.Gateways {
			for _, i := range r.of(region) {
				if v.Name == region && r.m.Nodes[i].ID == id {
					list = append(list, i)
				}
			}
		}
	}
	if len(list) == 0 {
		r.t.Errorf("%s has no gateway: %+v", region, view)
	}
	return list
}
