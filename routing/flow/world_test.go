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

// Deliver is a member's sink: the checker's place for order and duplicates.
func (n *member) Deliver(id *ID, _ string, envelope []byte) {
	var ev event.Event
	if err := ev.Scan(envelope); err != nil {
		n.w.fail("node %d: %v", n.index, err)
		return
	}
	at, _ := strconv.Atoi(ev.ID())
	p := &n.w.events[at]
	switch {
	case p.done[n.index]:
		n.w.fail("node %d: event %d twice", n.index, p.number)
	case id.Boot != p.boot:
		n.w.fail("node %d: event of boot %d in a flow of boot %d", n.index, p.boot, id.Boot)
	case id.Boot < n.boot: // a zombie's, after the origin's next start: another flow
	case id.Boot == n.boot && p.number <= n.last:
		n.w.fail("node %d: event %d after %d", n.index, p.number, n.last)
	default:
		n.boot, n.last = id.Boot, p.number
	}
	p.done[n.index] = true
}

// Gap is a member's sink, too.
func (n *member) Gap(g *Gap) {
	own := *g
	if g.First && n.w.now.Sub(n.started) < g.Age { // as a node does
		if own.From = max(g.From, g.Old+1); own.From > g.To {
			n.w.spared++
			return
		}
	}
	g = &own
	n.w.gapped++
	own.Labels = g.Labels.clone()
	n.gaps = append(n.gaps, own)
	loss := n.concerns(&own)
	if n.w.lossless && loss {
		n.w.fail("node %d: a gap, which these rules do not allow: %v", n.index, *g)
	}
	if n.w.onlyOrigin && g.Cause != Overflow && loss {
		n.w.fail("node %d: a gap that the origin did not make: %v", n.index, *g)
	}
	if g.Cause == OriginLost {
		return
	}
	if g.From > g.To {
		n.w.fail("node %d: an empty gap: %v", n.index, *g)
	}
	switch {
	case g.Flow.Boot < n.boot:
	case g.Flow.Boot == n.boot && g.From <= n.last:
		n.w.fail("node %d: gap from %d after %d", n.index, g.From, n.last)
	default:
		n.boot, n.last = g.Flow.Boot, g.To
	}
}

// concerns says whether a gap has an event in it that the node wanted. Others
// may: of what passed before the node's start, or of what it did not want when
// another entry node took over before it heard a mark.
func (n *member) concerns(g *Gap) bool {
	for k := range n.w.events {
		p := &n.w.events[k]
		if p.wanted[n.index] && p.boot == g.Flow.Boot && p.number >= g.From && p.number <= g.To {
			return true
		}
	}
	return false
}

// Route is a member's Exchange: everybody knows what everybody wants.
func (n *member) Route(id *ID, namespace string, envelope []byte, deliver bool, dst []peer.ID) []peer.ID {
	var ev event.Event
	if err := ev.Scan(envelope); err != nil {
		n.w.fail("node %d: %v", n.index, err)
		return dst
	}
	kind := kindOf(ev.Type())
	for j, other := range n.w.nodes {
		if other.wants[kind] && j != n.index {
			dst = append(dst, name(j))
		}
	}
	if deliver && n.wants[kind] {
		n.Deliver(id, namespace, envelope)
	}
	return dst
}

func (n *member) Send(to peer.ID, f *Frame) bool {
	if n.w.chance(n.w.refuse) {
		return false
	}
	q := &n.w.frames[n.index][slices.Index(names[:], to)]
	*q = append(*q, AppendFrame(nil, f))
	return true
}

func (n *member) Reply(_ peer.ID, p *Reply) {
	n.w.back[n.index] = append(n.w.back[n.index], AppendReply(nil, p))
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
			n.entry.OriginGone("o", w.boot)
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
				n.entry.OriginGone("o", gone)
			}
		}
		w.reroute()
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
