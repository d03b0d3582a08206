package flow

import "time"

// crash stops a node and starts it again: it remembers nothing.
func (w *world) crash(i int) {
	for j := range w.nodes {
		if j != i {
			w.cutLink(i, j)
		}
	}
	if i < entryNodes {
		w.wan[i], w.back[i] = nil, nil
	}
	for k := range w.events {
		w.events[k].wanted[i], w.events[k].done[i] = false, false
	}
	wants := w.nodes[i].wants
	w.start(i, w.nodes[i].life+1)
	w.nodes[i].wants = wants
	w.linkAll(i)
	if w.path == i {
		w.reroute()
	}
}

// misjudge has the region lose sight of the origin, which publishes on or is
// stopped, and take it for gone: what it had sent arrived, but no acknowledgement.
// After a while it is back.
func (w *world) misjudge(s *stock) {
	w.deaf = true
	w.publish(s)
	w.drain()
	w.arrive()
	w.path = -1
	w.origin.SetPath("r", 0, Path{})
	for _, n := range w.nodes {
		n.receiver.OriginGone(w.now, "o", w.boot, false)
		if w.chance(0.5) {
			n.entry.OriginGone(w.now, "o", w.boot, false)
		}
	}
	stopped, back := w.chance(0.3), w.now.Add(time.Duration(w.rng.Int64N(int64(2*w.forget))))
	for w.now.Before(back) {
		w.now = w.now.Add(time.Duration(w.rng.IntN(5000)) * time.Millisecond)
		w.tickRegion()
		w.arrive()
		if !stopped {
			w.origin.Tick(w.now)
			if w.chance(0.2) {
				w.publish(s)
			}
		}
	}
	w.deaf = false
	w.reroute()
}

// depart has the origin leave when all it sent is acknowledged, and start again. Of
// that start's end entry nodes hear first, then some links come up, and then the
// receivers hear: those that are linked to all, and know what these have told,
// believe that it was clean.
func (w *world) depart() {
	for _, n := range w.nodes {
		n.frozen = false
	}
	if w.path < 0 {
		w.reroute()
	}
	for range 10 {
		w.now = w.now.Add(time.Second)
		w.tick()
		w.arrive()
	}
	if len(w.origin.Pending()) > 0 {
		return
	}
	gone := w.boot
	w.startOrigin()
	for _, n := range w.nodes {
		n.entry.OriginGone(w.now, "o", gone, true)
	}
	for i := range w.nodes {
		if w.chance(0.5) {
			w.linkAll(i)
		}
	}
	for i, n := range w.nodes {
		clean := true
		for j, other := range w.nodes {
			linked := i == j || other.entry.slots[other.entry.index[name(i)]].linked
			clean = clean && linked && len(w.frames[j][i]) == 0
		}
		n.receiver.OriginGone(w.now, "o", gone, clean)
	}
	w.reroute()
}

// step does one random thing.
func (w *world) step(s *stock) {
	w.now = w.now.Add(time.Duration(w.rng.IntN(100)) * time.Millisecond)
	switch {
	case w.chance(w.rules.reroute):
		w.reroute()
	case w.chance(w.rules.crash):
		w.crash(w.rng.IntN(entryNodes))
	case w.chance(w.flap):
		i, j := w.rng.IntN(regionNodes), w.rng.IntN(regionNodes)
		if i != j {
			w.cutLink(i, j)
			if w.chance(0.5) {
				w.nodes[i].entry.LinkUp(name(j))
				w.nodes[j].entry.LinkUp(name(i))
			}
		}
	case w.chance(w.freeze):
		n := w.nodes[w.rng.IntN(entryNodes)]
		n.frozen = !n.frozen
	case w.chance(w.pause):
		for range w.rng.IntN(60) {
			w.now = w.now.Add(time.Second)
			w.tick()
		}
	case w.chance(w.mistake):
		w.misjudge(s)
	case w.chance(w.cut):
		w.path = -1
		w.origin.SetPath("r", 0, Path{})
	case w.chance(w.restart):
		gone := w.boot
		w.startOrigin()
		for _, n := range w.nodes {
			n.receiver.OriginGone(w.now, "o", gone, false)
			if w.chance(0.5) { // what an entry node held may come later
				n.entry.OriginGone(w.now, "o", gone, false)
			}
		}
		w.reroute()
	case w.chance(w.leave):
		w.depart()
	case w.chance(w.interest):
		i, k := w.rng.IntN(regionNodes), w.rng.IntN(kinds)
		n := w.nodes[i]
		if n.wants[k] = !n.wants[k]; !n.wants[k] {
			for e := range w.events {
				if w.events[e].kind == k {
					w.events[e].wanted[i] = false
				}
			}
		}
	default:
		w.ordinary(s)
	}
}

// ordinary is what happens without faults.
func (w *world) ordinary(s *stock) {
	switch w.rng.IntN(8) {
	case 0, 1:
		for range 1 + w.rng.IntN(4) {
			w.publish(s)
		}
		w.drain()
	case 2:
		for range 6 {
			w.deliverWAN(w.rng.IntN(entryNodes))
		}
	case 3:
		for range 3 {
			w.deliverBack(w.rng.IntN(entryNodes))
		}
	case 4:
		w.tick()
	default:
		for range 8 {
			w.deliverLAN(w.rng.IntN(regionNodes), w.rng.IntN(regionNodes))
		}
	}
}

func (w *world) tick() {
	w.origin.Tick(w.now)
	w.drain()
	w.tickRegion()
}

func (w *world) tickRegion() {
	for _, n := range w.nodes {
		if !n.frozen {
			n.entry.Tick(w.now)
			n.entry.Drain()
			n.entry.Acknowledge()
			n.receiver.Tick(w.now)
			if n.receiver.flows[ID{"o", n.boot, "r", 0}] == nil {
				n.last = 0 // it is forgotten: a gap may reach back to what was delivered
			}
		}
	}
}

// settle heals everything and lets it run until nothing moves.
func (w *world) settle() {
	w.rules.refuse, w.rules.disorder = 0, 0
	for i, n := range w.nodes {
		n.frozen = false
		for j := range w.nodes {
			if i != j && !n.entry.slots[n.entry.index[name(j)]].linked {
				n.entry.LinkUp(name(j))
			}
		}
	}
	if w.path < 0 {
		w.reroute()
	}
	for range 12 {
		w.now = w.now.Add(time.Second)
		w.tick()
		w.arrive()
	}
}

// arrive lets everything that is on its way arrive.
func (w *world) arrive() {
	for busy := true; busy; {
		busy = false
		for i := range entryNodes {
			for len(w.wan[i]) > 0 {
				w.deliverWAN(i)
				busy = true
			}
			w.nodes[i].entry.Drain()
			w.nodes[i].entry.Acknowledge()
			for len(w.back[i]) > 0 {
				w.deliverBack(i)
				busy = true
			}
		}
		for i := range regionNodes {
			for j := range regionNodes {
				for len(w.frames[i][j])+len(w.acks[i][j]) > 0 {
					w.deliverLAN(i, j)
					busy = true
				}
			}
		}
		w.drain()
	}
}
