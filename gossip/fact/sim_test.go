package fact

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

const (
	near Topic = 1
	wide Topic = 2
)

var simTopics = map[Topic]Scope{near: Region, wide: Mesh}

// world is a discrete-event simulation of machines and the links between them.
type world struct {
	t      testing.TB
	rng    *rand.Rand
	now    time.Time
	seq    int
	events events
	nodes  []*simNode
	byID   map[peer.ID]*simNode

	latency   func(a, b *simNode) time.Duration
	loss      float64 // of messages, as when a link's queue is full
	dup       float64
	stale     float64 // of messages of an ended session that still arrive
	rumors    float64 // of nodes that hear a rumor
	orderly   bool    // both ends of a link learn of it before anything comes over it
	compare   time.Duration
	sent      int
	passed    int  // barriers
	unwatched bool // barriers are not looked at

	onApply func(n *simNode, c Change)
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// simNode is one node: its machine and what its readers were told.
type simNode struct {
	w       *world
	id      peer.ID
	region  string
	inc     uint64
	up      bool
	gateway bool
	*Machine
	sessions map[peer.ID]*session
	view     map[key]map[string]bool // built from Changes alone
	seen     map[key]version         // the latest applied, to find steps back
	truth    map[Topic]map[string]bool
	barriers []barrier
	waiting  []Change // at a gateway, for its region's summary
}

// barrier waits for a version to be acknowledged.
type barrier struct {
	topic Topic
	ver   uint64
	inc   uint64
}

// session is one end of a link while it is up.
type session struct {
	ended bool
	last  time.Time // when the latest message arrives: links keep order
}

func newWorld(t testing.TB, seed uint64) *world {
	return &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		byID:    map[peer.ID]*simNode{},
		latency: func(a, b *simNode) time.Duration { return time.Millisecond },
	}
}

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.events, event{w.now.Add(d), w.seq, do})
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.events) > 0 && !w.events[0].at.After(end) {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

func (w *world) add(id, region string) *simNode {
	n := &simNode{w: w, id: peer.ID(id), region: region, truth: map[Topic]map[string]bool{near: {}, wide: {}}}
	w.nodes = append(w.nodes, n)
	w.byID[n.id] = n
	n.boot()
	return n
}

// boot starts a node anew: it knows nothing but how often it started.
func (n *simNode) boot() {
	n.inc++
	n.up = true
	n.Machine = New(Config{Self: n.id, Region: n.region, Incarnation: n.inc, Topics: simTopics, Key: []byte("0123456789abcdef"), Seed: n.w.rng.Uint64(), Compare: n.w.compare})
	n.sessions, n.view, n.seen = map[peer.ID]*session{}, map[key]map[string]bool{}, map[key]version{}
	n.truth = map[Topic]map[string]bool{near: {}, wide: {}}
	inc := n.inc
	var tick func()
	tick = func() {
		if n.up && n.inc == inc {
			n.Tick(n.w.now)
			n.settle()
			n.w.after(250*time.Millisecond, tick)
		}
	}
	n.w.after(time.Duration(n.w.rng.IntN(250))*time.Millisecond, tick)
}

func (n *simNode) crash() {
	n.up = false
	for _, o := range n.w.nodes {
		n.w.disconnect(n, o)
	}
}

func (n *simNode) set(t Topic, adds, removes []string) {
	for _, e := range removes {
		delete(n.truth[t], e)
	}
	for _, e := range adds {
		n.truth[t][e] = true
	}
	if err := n.Set(t, adds, removes); err != nil {
		n.w.t.Fatal(err)
	}
	if ver := n.Version(t); ver > 0 && !n.w.unwatched {
		n.barriers = append(n.barriers, barrier{t, ver, n.inc})
	}
	n.settle()
}

// connect makes a new session between two nodes; each end learns of it at its
// own time.
func (w *world) connect(a, b *simNode) {
	if a == b || !a.up || !b.up || a.sessions[b.id] != nil || b.sessions[a.id] != nil {
		return
	}
	later := [2]time.Duration{time.Duration(w.rng.IntN(5)) * time.Millisecond, time.Duration(w.rng.IntN(5)) * time.Millisecond}
	if w.orderly {
		later = [2]time.Duration{}
	}
	for i, p := range [][2]*simNode{{a, b}, {b, a}} {
		s := &session{}
		p[0].sessions[p[1].id] = s
		w.after(later[i], func() {
			if !s.ended {
				p[0].LinkUp(w.now, Link{ID: p[1].id, Region: p[1].region})
				p[0].settle()
			}
		})
	}
}

func (w *world) disconnect(a, b *simNode) {
	for _, p := range [][2]*simNode{{a, b}, {b, a}} {
		if s := p[0].sessions[p[1].id]; s != nil {
			s.ended = true
			delete(p[0].sessions, p[1].id)
			p[0].LinkDown(w.now, p[1].id)
			p[0].settle()
		}
	}
}

// settle does what a node does after each input.
func (n *simNode) settle() {
	for _, c := range n.Changes() {
		k := key{c.Owner, c.Topic}
		if c.Forgotten {
			delete(n.view, k)
			delete(n.seen, k)
		} else {
			if c.Full || n.view[k] == nil {
				n.view[k] = map[string]bool{}
			}
			for _, e := range c.Adds {
				n.view[k][e] = true
			}
			for _, e := range c.Removes {
				delete(n.view[k], e)
			}
			if v := n.facts[k].version; v.less(n.seen[k]) {
				n.w.t.Fatalf("%s applied %v of %s after %v", n.id, v, c.Owner, n.seen[k])
			} else {
				n.seen[k] = v
			}
		}
		if n.w.onApply != nil {
			n.w.onApply(n, c)
		}
	}
	for _, m := range n.Out() {
		n.send(m)
	}
	for _, r := range n.Rumors() {
		n.w.gossip(n, r.Body)
	}
	n.barriers = slices.DeleteFunc(n.barriers, func(b barrier) bool {
		if b.inc != n.inc || len(n.Acked(b.topic, b.ver)) > 0 {
			return b.inc != n.inc
		}
		n.w.passed++
		if who := n.w.holds(n, b.topic, b.ver); who != "" {
			n.w.t.Fatalf("the barrier of %s for version %d on %d is complete, yet %s", n.id, b.ver, b.topic, who)
		}
		return true
	})
}

// gossip brings a rumor to some of the nodes, a while later.
func (w *world) gossip(from *simNode, body []byte) {
	for _, n := range w.nodes {
		if n != from && w.rng.Float64() < w.rumors {
			w.after(time.Duration(100+w.rng.IntN(900))*time.Millisecond, func() {
				if n.up {
					if err := n.Rumor(w.now, body); err != nil {
						w.t.Fatal(err)
					}
					n.settle()
				}
			})
		}
	}
}

func (n *simNode) send(m Message) {
	w := n.w
	s, to := n.sessions[m.To], w.byID[m.To]
	if s == nil || to == nil {
		return
	}
	w.sent++
	if w.loss > 0 && w.rng.Float64() < w.loss {
		return
	}
	there, from := to.sessions[n.id], n.id
	at := w.now.Add(w.latency(n, to))
	if at.Before(s.last) {
		at = s.last
	}
	s.last = at
	times := 1
	if w.dup > 0 && w.rng.Float64() < w.dup {
		times = 2
	}
	for range times {
		late := w.stale > 0 && w.rng.Float64() < w.stale
		w.after(at.Sub(w.now), func() {
			if to.up && there != nil && !there.ended {
				to.take(from, m.Body)
			} else if late {
				w.after(time.Duration(w.rng.IntN(3000))*time.Millisecond, func() {
					if to.up {
						to.take(from, m.Body)
					}
				})
			}
		})
	}
}

func (n *simNode) take(from peer.ID, body []byte) {
	if err := n.Receive(n.w.now, from, body); err != nil {
		n.w.t.Fatal(err)
	}
	n.settle()
}

// differs says where a node's view of the others is not what they tell.
func (w *world) differs() string {
	for _, n := range w.nodes {
		if !n.up {
			continue
		}
		for _, o := range w.nodes {
			for t, scope := range simTopics {
				if o == n || !o.up || scope == Region && o.region != n.region {
					continue
				}
				got := n.view[key{o.id, t}]
				if len(got) != len(o.truth[t]) {
					return fmt.Sprintf("%s sees %d of %s's %d on %d (%v, owner at %d)", n.id, len(got), o.id, len(o.truth[t]), t, n.seen[key{o.id, t}], o.Version(t))
				}
				for e := range got {
					if !o.truth[t][e] {
						return fmt.Sprintf("%s sees %q of %s on %d, who does not tell it", n.id, e, o.id, t)
					}
				}
			}
		}
	}
	return ""
}

// mesh connects the nodes of each region, and the gateways of all.
func (w *world) mesh() {
	for i, a := range w.nodes {
		for _, b := range w.nodes[:i] {
			if a.region == b.region || a.gateway && b.gateway {
				w.connect(a, b)
			}
		}
	}
}

// holds reports whether a node has applied what a barrier for version ver of an
// owner's facts promises, and all its linked neighbours in scope.
func (w *world) holds(o *simNode, t Topic, ver uint64) string {
	want := version{o.inc, ver}
	behind := func(n *simNode) bool {
		f := n.facts[key{o.id, t}]
		return n.up && (f == nil || f.version.less(want))
	}
	for _, l := range o.line {
		n := w.byID[l.ID]
		if n.region != o.region && t == near {
			continue
		}
		if behind(n) {
			return fmt.Sprintf("%s has %v", n.id, n.seen[key{o.id, t}])
		}
		if n.region == o.region {
			continue
		}
		for _, ll := range n.line {
			if nn := w.byID[ll.ID]; nn.region == n.region && nn.sessions[n.id] != nil && slices.Contains(nn.line, nn.links[n.id]) && nn.Synced(n.id) && behind(nn) {
				return fmt.Sprintf("%s, linked to %s, has %v", nn.id, n.id, nn.seen[key{o.id, t}])
			}
		}
	}
	return ""
}
