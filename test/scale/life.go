package scale

import (
	"time"

	"github.com/skeinmesh/skein/gossip/fact"
)

// restartWithin is until when a crashed host is back.
const restartWithin = 8 * time.Second

// settleFor is how long things are left alone until all should be known.
const settleFor = 5 * time.Second

// lives has subscriptions come and go from now on: as many as there are, each
// for the time that is configured.
func (w *world) lives() {
	between := w.cfg.lifetime / time.Duration(len(w.subs))
	w.every(between, between, func() bool {
		w.churn()
		return true
	})
	for _, r := range w.regions {
		if !r.heard { // what lingers is over sometime
			w.every(tickEvery, time.Duration(w.rng.Int64N(int64(tickEvery))), func() bool {
				for _, h := range r.hosts {
					if h.machine == nil && h.lingers > 0 && h.up {
						h.lingers--
						h.dirty = true
						h.speak()
					}
				}
				r.speak(w, nil)
				return true
			})
		}
	}
}

// churn ends one subscription and begins another at the same node.
func (w *world) churn() {
	s := w.subs[w.rng.IntN(len(w.subs))]
	h := s.host
	if !h.up {
		return
	}
	w.unsubscribe(s)
	n := w.subscribe(h)
	n.track = w.follow(h)
	h.fresh = append(h.fresh, n.track)
	h.dirty, h.lingers = true, lingerTicks
	if h.machine != nil {
		h.settle(nil)
	} else {
		h.speak()
	}
}

// lingerTicks is how long a node that is not ticked otherwise is, after one of
// its subscriptions has ended.
const lingerTicks = int(15 * time.Second / tickEvery)

// mayCrash reports whether a host may crash in the model: a publisher watches,
// and a heard gateway whose summary is told as a difference could not say after a
// start what it has not learned yet.
func (h *host) mayCrash() bool {
	return h.up && h.speaks() && !h.publisher && (!h.gateway || !h.region.heard || h.w.cfg.heard == h.w.cfg.regions)
}

// crash ends a host without a word; it starts again after some seconds, and its
// subscribers come back.
func (w *world) crash() {
	h := w.regions[w.rng.IntN(len(w.regions))].hosts[w.rng.IntN(w.cfg.nodes)]
	for !h.mayCrash() {
		h = w.regions[w.rng.IntN(len(w.regions))].hosts[w.rng.IntN(w.cfg.nodes)]
	}
	for id := range h.sessions {
		w.disconnect(h, w.hosts[id])
	}
	h.up = false
	w.lost(h)
	w.unfollow(h)
	w.phase.crashes++
	w.after(restartWithin/2+time.Duration(w.rng.Int64N(int64(restartWithin/2-2*dialAfter))), func() {
		h.up = true
		h.boot++
		h.start()
		if h.said != nil {
			h.said = &said{base: map[string]bool{}, told: map[string]bool{}}
		} else if h.gateway {
			w.must(h.machine.Set(topicSummary, sortedKeys(h.region.said.told), nil))
		}
		for _, s := range h.subs {
			s.live = h.table.Subscribe(namespace, s.request, nobody{}, "")
			if s.track != nil && s.track.given {
				s.track = w.follow(h)
				h.fresh = append(h.fresh, s.track)
			}
		}
		h.dirty = true
		h.settle(nil)
		w.after(dialAfter, func() {
			w.connectHost(h)
			w.back(h)
		})
	})
}

// cut ends all links between the first region and some others, or makes them
// anew.
func (w *world) cut(others []*region, apart bool) {
	a := w.regions[0]
	for _, b := range others {
		w.apart[pair(a, b)] = apart
		for _, g := range a.gateways {
			for _, o := range b.gateways {
				if apart {
					w.disconnect(g, o)
				}
			}
		}
	}
	if !apart {
		w.after(dialAfter, w.connectAll)
	}
}

// live lets the mesh live through everything that is configured, and then lets
// what is on its way arrive.
func (w *world) live() {
	c := &w.cfg
	w.during("calm", c.calm)
	until := w.now.Add(c.crashes)
	w.every(c.crashEvery, 0, func() bool {
		w.crash()
		return w.now.Add(c.crashEvery).Before(until)
	})
	w.during("crashes", c.crashes+restartWithin)
	others := w.regions[1:]
	half := others[len(others)/2:]
	w.cut(half, true)
	w.during("half cut off", c.cut)
	w.cut(others, true)
	w.during("all cut off", c.cut)
	w.cut(others, false)
	w.during("joined again", c.joined)
	w.silent = true
	now := w.saidNow()
	w.run(settleFor)
	w.checkHeard(now)
	w.check()
}

// statement is a version of what a host says on a topic.
type statement struct {
	host    *host
	topic   fact.Topic
	version uint64
}

// saidNow lists what all say now.
func (w *world) saidNow() (list []statement) {
	for _, r := range w.regions {
		for _, h := range r.hosts {
			if r.heard {
				list = append(list, statement{h, topicInterest, h.machine.Version(topicInterest)})
			}
			if h.gateway {
				list = append(list, statement{h, topicSummary, h.machine.Version(topicSummary)}, statement{h, topicReach, h.machine.Version(topicReach)})
			}
		}
	}
	return list
}

// checkHeard notes who of those in heard regions has not heard what was said.
func (w *world) checkHeard(list []statement) {
	for _, s := range list {
		for _, h := range w.heard {
			if h != s.host && (topics[s.topic] == fact.Mesh || h.region == s.host.region) && !h.machine.Holds(s.host.id, s.topic, s.host.boot, s.version) {
				w.fail("node %s has not heard version %d of node %s on topic %d", h.id, s.version, s.host.id, s.topic)
			}
		}
	}
}

// check notes what is not as it must be once all have heard of everything.
func (w *world) check() {
	for t := range w.open {
		if w.now.Sub(t.began) > settleFor {
			w.fail("an interest of %v ago has not come to %d nodes", w.now.Sub(t.began), len(t.need))
		}
	}
	for _, p := range w.phases {
		if n := w.missing(p); n > 0 {
			w.fail("%d deliveries of %q neither came nor were reported as lost", n, p.name)
		}
	}
	for _, h := range w.hosts {
		if h.machine == nil {
			continue
		}
		if s := h.machine.Stats(); s.Conflicts+s.Impostors+s.Malformed > 0 {
			w.fail("node %s has %+v", h.id, s)
		}
	}
}
