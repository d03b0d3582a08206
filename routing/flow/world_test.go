package flow

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

// rules say what a run may suffer.
type rules struct {
	steps      int
	buffer     int           // bytes of the origin's buffer
	reroute    float64       // likelihoods per step
	crash      float64       // of an entry node, which starts again at once
	flap       float64       // of a link in the region
	freeze     float64       // an entry node becomes a zombie for a while
	cut        float64       // the origin has no path for a while
	restart    float64       // of the origin
	leave      float64       // of the origin, once all is acknowledged; it starts again
	interest   float64       // a node subscribes or unsubscribes
	refuse     float64       // of a send in the region: no room
	disorder   float64       // of a frame of the origin: lost, doubled or late
	pause      float64       // nothing happens for up to a minute
	mistake    float64       // the origin is out of sight for so long that it is taken for gone
	ttl        time.Duration // of the origin's events; 0 means MaxTTL
	forget     time.Duration // of the receivers
	lossless   bool          // the rules allow no gap at all
	onlyOrigin bool          // the rules allow only the gaps that the origin makes
}

// mutant spoils what passes between the machines, as a defect in one would.
type mutant struct {
	frameToEntry    func(w *world, f *Frame) // from the origin
	frameToReceiver func(w *world, f *Frame)
	onEntry         func(w *world, entry int, f *Frame)
	noResend        bool
	noMemory        bool // the receivers forget what they have delivered
	forgetful       bool // the receivers do not remember for long enough
}

const (
	regionNodes = 4
	entryNodes  = 3 // of them
	kinds       = 4 // of events
)

// published is an event of the world and what became of it.
type published struct {
	boot   uint64
	number uint64 // in its flow
	kind   int
	wanted [regionNodes]bool // throughout
	done   [regionNodes]bool // delivered in the present life of the node
}

// member is a node of the region.
type member struct {
	w        *world
	index    int
	life     int
	entry    *Entry
	receiver *Receiver
	wants    [kinds]bool
	gaps     []Gap  // of this life
	last     uint64 // the number that came last, event or gap, of the boot
	boot     uint64
	frozen   bool
	started  time.Time
}

// world is an origin, a region, and the network between them.
type world struct {
	rules
	mutant mutant
	rng    *rand.Rand
	now    time.Time
	origin *Origin
	boot   uint64
	number uint64 // of the origin's last event
	path   int    // entry node; -1 is none
	link   uint64
	deaf   bool // no reply reaches the origin
	events []published
	nodes  [regionNodes]*member
	wan    [entryNodes][][]byte               // frames on their way to an entry node
	back   [entryNodes][][]byte               // replies on their way to the origin
	frames [regionNodes][regionNodes][][]byte // on the links of the region, [from][to]
	acks   [regionNodes][regionNodes][][]byte
	fault  string // what the checker has against the run
	gapped int
	spared int // gaps that were none, since the node was not there
	in     Frame
}

func name(i int) peer.ID { return names[i] }

var names = [regionNodes]peer.ID{"n0", "n1", "n2", "n3"}

func newWorld(seed uint64, r rules, m mutant) *world {
	w := &world{rules: r, mutant: m, rng: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1, 0), path: -1}
	if w.ttl == 0 {
		w.ttl = MaxTTL
	}
	if m.forgetful {
		w.forget = w.ttl / 2
	}
	w.startOrigin()
	for i := range w.nodes {
		w.start(i, 0)
		for k := range kinds {
			w.nodes[i].wants[k] = w.chance(0.5)
		}
	}
	for i := range w.nodes {
		w.linkAll(i)
	}
	w.reroute()
	return w
}

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

func (w *world) fail(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf(format, args...)
	}
}

func (w *world) startOrigin() {
	w.boot++
	w.number = 0
	w.origin = NewOrigin(OriginConfig{Self: "o", Boot: w.boot, Budget: NewBudget(w.buffer, 0, 1), TTL: w.ttl})
	if w.chance(0.5) { // a window of a few events
		w.origin.least, w.origin.first = 100, 300
	}
}

func (w *world) start(i, life int) {
	n := &member{w: w, index: i, life: life, started: w.now}
	n.receiver = NewReceiver(n, w.forget)
	n.entry = NewEntry(n, n.receiver, 20*time.Second)
	w.nodes[i] = n
}

// linkAll brings up the links of a node to all others of the region.
func (w *world) linkAll(i int) {
	for j := range w.nodes {
		if i != j {
			w.nodes[i].entry.LinkUp(name(j))
			w.nodes[j].entry.LinkUp(name(i))
		}
	}
}

// cutLink drops what is on a link of the region, both ways.
func (w *world) cutLink(i, j int) {
	for _, q := range []*[][]byte{&w.frames[i][j], &w.frames[j][i], &w.acks[i][j], &w.acks[j][i]} {
		*q = nil
	}
	w.nodes[i].entry.LinkDown(name(j))
	w.nodes[j].entry.LinkDown(name(i))
}

func (w *world) reroute() {
	w.path = w.rng.IntN(entryNodes)
	w.link++
	if !w.mutant.noResend || w.link == 1 {
		w.origin.SetPath("r", 0, Path{Next: name(w.path), Link: w.link})
	}
}

func kindOf(typ string) int { return int(typ[0] - 'a') }

// stock are events by number and kind: making them is the dearest of a run.
type stock struct{ byKind [kinds][]event.Event }

func newStock(size int) *stock {
	s := &stock{}
	for k := range kinds {
		for i := range size {
			b := &event.Builder{}
			b.SetString("id", strconv.Itoa(i)).SetString("source", "/s").SetString("type", string(rune('a'+k)))
			ev, err := b.Event()
			if err != nil {
				panic(err)
			}
			s.byKind[k] = append(s.byKind[k], ev)
		}
	}
	return s
}

// publish gives the origin an event of a random kind.
func (w *world) publish(s *stock) {
	kind, at := w.rng.IntN(kinds), len(w.events)
	if err := w.origin.Publish(w.now, "r", 0, "default", &s.byKind[kind][at], Policy(w.rng.IntN(3))); err != nil {
		return // not taken: not published
	}
	w.checkBuffer()
	w.number++
	p := published{boot: w.boot, number: w.number, kind: kind}
	for i, n := range w.nodes {
		p.wanted[i] = n.wants[kind]
	}
	w.events = append(w.events, p)
}

// checkBuffer holds the origin to its bound and to its own sums.
func (w *world) checkBuffer() {
	f := w.origin.flow("r", 0)
	sum, events, next := 0, 0, f.acked+1
	for _, s := range f.segs {
		sum += s.bytes()
		if !s.gap() {
			events += s.bytes()
		}
		if s.first > next || s.last < s.first {
			w.fail("the buffer has a hole before %d", s.first)
		}
		next = s.last + 1
	}
	if sum != f.bytes || sum != w.origin.cfg.Budget.Used() || next != f.next {
		w.fail("the buffer counts %d bytes and has %d; its numbers end at %d, not %d", f.bytes, sum, next, f.next)
	}
	if events > w.buffer {
		w.fail("the buffer holds %d bytes of events, at most %d are allowed", events, w.buffer)
	}
}

// drain lets the origin send.
func (w *world) drain() {
	w.origin.Drain(w.now, func(to peer.ID, f *Frame) bool {
		if w.chance(0.05) {
			return false // no room in the lane
		}
		q := &w.wan[slices.Index(names[:], to)]
		b := AppendFrame(nil, f)
		switch {
		case !w.chance(w.disorder):
			*q = append(*q, b)
		case w.chance(0.5): // lost
		case w.chance(0.5):
			*q = append(*q, b, b)
		default:
			*q = slices.Insert(*q, w.rng.IntN(len(*q)+1), b)
		}
		return true
	})
}

func pop(q *[][]byte) []byte {
	b := (*q)[0]
	*q = (*q)[1:]
	return b
}

// deliverWAN hands an entry node the next frame of the origin.
func (w *world) deliverWAN(i int) {
	if len(w.wan[i]) == 0 || w.nodes[i].frozen {
		return
	}
	n := w.nodes[i]
	if err := ReadFrame(pop(&w.wan[i]), &w.in); err != nil {
		w.fail("%v", err)
		return
	}
	if w.mutant.frameToEntry != nil {
		w.mutant.frameToEntry(w, &w.in)
	}
	if w.mutant.onEntry != nil {
		w.mutant.onEntry(w, i, &w.in)
	}
	n.entry.Receive(w.now, "o", &w.in)
	if w.chance(0.7) {
		n.entry.Drain()
	}
	if w.chance(0.7) {
		n.entry.Acknowledge()
	}
}

// deliverBack hands the origin the next reply of an entry node.
func (w *world) deliverBack(i int) {
	if len(w.back[i]) == 0 {
		return
	}
	p, _, err := ReadReply(pop(&w.back[i]))
	if err != nil {
		w.fail("%v", err)
		return
	}
	if w.deaf {
		return
	}
	if w.mutant.noResend {
		p.Again = 0
	}
	w.origin.Reply(w.now, &p)
}

// deliverLAN hands one node of the region what is next from another.
func (w *world) deliverLAN(from, to int) {
	n := w.nodes[to]
	if n.frozen {
		return
	}
	if len(w.frames[from][to]) > 0 {
		if err := ReadFrame(pop(&w.frames[from][to]), &w.in); err != nil {
			w.fail("%v", err)
			return
		}
		if w.mutant.frameToReceiver != nil {
			w.mutant.frameToReceiver(w, &w.in)
		}
		if w.mutant.noMemory {
			if in := n.receiver.flows[w.in.Flow]; in != nil {
				in.covered = w.in.Prev
			}
		}
		n.receiver.Receive(name(from), &w.in)
		n.receiver.Acknowledge(func(to peer.ID, p *Reply) {
			q := &w.acks[n.index][slices.Index(names[:], to)]
			*q = append(*q, AppendReply(nil, p))
		})
	}
	if len(w.acks[from][to]) > 0 && w.chance(0.7) {
		p, _, err := ReadReply(pop(&w.acks[from][to]))
		if err != nil {
			w.fail("%v", err)
			return
		}
		n.entry.Received(name(from), &p)
		if w.chance(0.7) {
			n.entry.Acknowledge()
		}
	}
}
