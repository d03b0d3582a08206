package scale

import (
	"time"

	"github.com/skeinmesh/skein/gossip/fact"
)

// track follows a new subscription's interest to all who need it: to the other
// nodes of its region as the node's interest, and to those of the other heard
// regions in the summary of any of its region's gateways.
type track struct {
	phase *phase
	from  *host
	began time.Time
	need  map[*host]struct{}
	done  bool
	given bool // up, because its node crashed
}

// wait is a version of a fact that a track waits for.
type wait struct {
	track         *track
	boot, version uint64
}

// follow begins a track for what a host wants from now on.
func (w *world) follow(h *host) *track {
	t := &track{phase: w.phase, from: h, began: w.now, need: map[*host]struct{}{}}
	for _, o := range w.heard {
		if o != h && o.up {
			t.need[o] = struct{}{}
		}
	}
	w.open[t] = struct{}{}
	w.phase.began++
	return t
}

// reached notes that a host has applied what a track waits for.
func (w *world) reached(t *track, h *host) {
	if t.done {
		return
	}
	delete(t.need, h)
	if len(t.need) == 0 {
		t.done = true
		delete(w.open, t)
		t.phase.took = append(t.phase.took, w.now.Sub(t.began))
		t.phase.last = w.now
	}
}

// unfollow gives up on a host: nobody waits for it, nor for what it wanted.
func (w *world) unfollow(h *host) {
	for t := range w.open {
		if t.from == h {
			t.done, t.given = true, true
			delete(w.open, t)
			t.phase.given++
			continue
		}
		w.reached(t, h)
	}
}

// arrived marks the tracks that wait for what a host has now of an owner's
// facts. At a gateway they go on in its summary.
func (h *host) arrived(owner *host, t fact.Topic) {
	list := &owner.interests
	if t == topicSummary {
		list = &owner.summaries
	}
	kept := (*list)[:0]
	for _, x := range *list {
		if x.track.done {
			continue
		}
		kept = append(kept, x)
		if _, waits := x.track.need[h]; !waits || !h.machine.Holds(owner.id, t, x.boot, x.version) {
			continue
		}
		h.w.reached(x.track, h)
		if t == topicInterest && h.gateway {
			h.pending = append(h.pending, x.track)
		}
	}
	clear((*list)[len(kept):])
	*list = kept
}

// tell has tracks wait for what the host says now on a topic. Some may have it
// already: then the interest was covered by others.
func (h *host) tell(t fact.Topic, tracks []*track) {
	version := h.machine.Version(t)
	for _, tr := range tracks {
		x := &wait{tr, h.boot, version}
		if t == topicInterest {
			h.interests = append(h.interests, x)
		} else {
			h.summaries = append(h.summaries, x)
		}
		for o := range tr.need {
			if (o.region == h.region) == (t == topicInterest) && o.machine.Holds(h.id, t, h.boot, version) {
				h.w.reached(tr, o)
				if t == topicInterest && o.gateway {
					o.pending = append(o.pending, tr)
					o.after()
				}
			}
		}
	}
}

// after has a gateway's tracks wait for its summary, once it has spoken.
func (h *host) after() {
	if h.dirty || len(h.pending) == 0 {
		return
	}
	tracks := h.pending
	h.pending = nil
	h.tell(topicSummary, tracks)
}
