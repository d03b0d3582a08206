package replication

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
	"github.com/skeinmesh/skein/transport/peer"
)

// town is a region whose nodes are linked by pipes and have disks that fail, in a
// bubble of synctest.
type town struct {
	t   *testing.T
	rng *rand.Rand

	mu    sync.Mutex // guards the fields below, and nodes' members
	nodes []*townNode
	side  map[peer.ID]int // of a cut; nodes on different sides do not reach each other
	rough bool            // questions take their time, and some are lost, or their answers
}

type townNode struct {
	town   *town
	self   peer.Peer
	found  bool
	disk   *storetest.Disk
	log    tail
	dir    string  // on the real disk, of one that keeps its logs in raft-boltdb; else empty
	member *Member // nil while the node is down

	fetchRate int64                         // as in Config
	sendAway  func() error                  // as Config.SendAway, whatever is sent
	heard     func(question, answer []byte) // what the node asked and was answered; nil for nobody
}

func newTown(t *testing.T, n int) *town { return newTownOf(t, n, func(*townNode) {}) }

// newTownOf makes a town of nodes that are changed before they start.
func newTownOf(t *testing.T, n int, change func(*townNode)) *town {
	w := &town{t: t, rng: rand.New(rand.NewPCG(1, 2))}
	for i := range n {
		w.nodes = append(w.nodes, &townNode{town: w, disk: storetest.NewDisk(), found: i == 0, self: peer.Peer{
			ID: peer.ID(fmt.Sprintf("node-%d", i)), Name: fmt.Sprintf("n%d", i), Region: "eu",
		}})
		change(w.nodes[i])
	}
	for i := range n {
		w.start(i)
	}
	t.Cleanup(func() {
		for i := range w.nodes {
			w.stop(i)
		}
	})
	return w
}

func (w *town) start(i int) {
	w.t.Helper()
	n := w.nodes[i]
	n.self.Boot++
	m, err := Open(n.config())
	if err != nil {
		w.t.Fatal(err)
	}
	n.found = false
	w.mu.Lock()
	defer w.mu.Unlock()
	n.member = m
	for _, other := range w.nodes {
		w.link(n, other)
	}
}

func (n *townNode) config() Config {
	cfg := Config{
		Self: n.self, Mesh: "m", Net: n, FS: n.disk, Dir: "streams", Found: n.found,
		SegmentBytes: 64 << 10, JournalBytes: 1 << 20, FetchRate: n.fetchRate,
		Log: n.log.logger().With("node", n.self.Name, "boot", n.self.Boot),
	}
	if n.sendAway != nil {
		cfg.SendAway = func(context.Context, meta.ID, []Away) error { return n.sendAway() }
	}
	if n.dir != "" {
		cfg.FS, cfg.Dir, cfg.LogStore = store.OS{}, n.dir, Bolt
	}
	return cfg
}

// link links two nodes if they run and reach each other. w.mu is held.
func (w *town) link(n, other *townNode) {
	if other != n && n.member != nil && other.member != nil && w.side[n.self.ID] == w.side[other.self.ID] {
		a, b := net.Pipe()
		n.member.Attach(other.self.ID, a)
		other.member.Attach(n.self.ID, b)
	}
}

// cut parts the nodes: those of the list from the others. An empty list heals.
func (w *town) cut(nodes ...int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.side
	w.side = map[peer.ID]int{}
	for _, i := range nodes {
		w.side[w.nodes[i].self.ID] = 1
	}
	for i, n := range w.nodes {
		for _, other := range w.nodes[:i] {
			a, b := n.self.ID, other.self.ID
			switch reached, reaches := before[a] == before[b], w.side[a] == w.side[b]; {
			case reaches && !reached:
				w.link(n, other)
			case reached && !reaches && n.member != nil && other.member != nil:
				far, near := net.Pipe() // takes the place of the way there was
				n.member.Attach(b, near)
				other.member.Attach(a, far)
				near.Close()
				far.Close()
				n.member.PeerDown(b)
				other.member.PeerDown(a)
			}
		}
	}
}

func (w *town) stop(i int) {
	w.mu.Lock()
	n := w.nodes[i]
	m := n.member
	n.member = nil
	w.mu.Unlock()
	if m == nil {
		return
	}
	w.closes(n, m)
	for _, other := range w.nodes {
		if o := other.running(); o != nil {
			o.PeerDown(n.self.ID)
		}
	}
}

func (w *town) crash(i int, power bool) {
	if power {
		w.nodes[i].disk.Crash(w.rng)
	} else {
		w.nodes[i].disk.Kill()
	}
	w.stop(i)
	w.nodes[i].disk.Start()
}

func (n *townNode) running() *Member {
	n.town.mu.Lock()
	defer n.town.mu.Unlock()
	return n.member
}

// add adds a node that is started later.
func (w *town) add(n *townNode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes = append(w.nodes, n)
}

func (w *town) member(id peer.ID) *Member {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if n.self.ID == id {
			return n.member
		}
	}
	return nil
}

// reach is the Member of another node, or nil if it cannot be reached.
func (n *townNode) reach(to peer.ID) *Member {
	n.town.mu.Lock()
	same := n.town.side[n.self.ID] == n.town.side[to]
	n.town.mu.Unlock()
	if !same {
		return nil
	}
	return n.town.member(to)
}

var errDown = errors.New("the node is down")

func (n *townNode) Ask(ctx context.Context, to peer.ID, question []byte) ([]byte, error) {
	if most := 1<<20 + 64<<10 - 32; len(question) > most { // as in the transport
		return nil, fmt.Errorf("a question of %d bytes", len(question))
	}
	there, back := n.town.journey()
	if m := n.reach(to); m == nil || !there {
		return nil, errDown
	} else if answer := m.Answer(ctx, n.self.ID, question); back && n.reach(to) != nil {
		if n.heard != nil {
			n.heard(question, answer)
		}
		return answer, nil
	}
	return nil, errDown // it does not come back
}

// journey takes the time of a question's way, and says whether it arrives and whether
// its answer does.
func (w *town) journey() (there, back bool) {
	w.mu.Lock()
	rough, n := w.rough, 0
	if rough {
		n = w.rng.IntN(4000)
	}
	w.mu.Unlock()
	if rough {
		time.Sleep(time.Duration(n) * time.Microsecond) // simulated
	}
	return !rough || n%100 != 1, !rough || n%100 != 2
}

func (n *townNode) Dial(_ context.Context, to peer.ID) (net.Conn, error) {
	m := n.reach(to)
	if m == nil {
		return nil, errDown
	}
	a, b := net.Pipe()
	go m.ServeBulk(n.self.ID, b)
	return a, nil
}

func (n *townNode) Linked() (list []peer.ID) {
	n.town.mu.Lock()
	defer n.town.mu.Unlock()
	for _, other := range n.town.nodes {
		if other != n && other.member != nil && n.town.side[n.self.ID] == n.town.side[other.self.ID] {
			list = append(list, other.self.ID)
		}
	}
	return list
}

// until waits for a condition, in simulated time.
func (w *town) until(what string, ok func() bool) {
	w.t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(20 * time.Millisecond) // simulated
	}
	w.dump()
	w.t.Fatalf("it does not come to this: %s", what)
}

// stream makes a stream and waits until it is assigned.
func (w *town) stream(name string, partitions int) meta.Stream {
	w.t.Helper()
	return w.define(meta.Definition{Name: name, Partitions: partitions})
}

// define makes a stream of a definition and waits until it is assigned.
func (w *town) define(def meta.Definition) meta.Stream {
	w.t.Helper()
	m := w.nodes[0].running()
	id := newID()
	def.Namespace, def.Placement = "default", "local"
	def = def.WithDefaults()
	w.until("the stream is made", func() bool {
		return m.Propose(w.t.Context(), &meta.CreateStream{UUID: id, Definition: def}) == nil
	})
	w.until("the stream has its partitions everywhere", func() bool {
		for _, n := range w.nodes {
			if m := n.running(); m != nil {
				if a, ok := m.Meta().Assignment(id); !ok || len(a.Partitions) != def.Partitions {
					return false
				}
			}
		}
		return true
	})
	s, _ := m.Meta().Stream(id)
	return s
}

func (w *town) read(m *Member, number uint32, log meta.ID) (list []string) {
	w.t.Helper()
	q := Read{Partition: number, Log: log, From: FromEarliest}
	for {
		got, err := m.Read(w.t.Context(), q)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(got.List) == 0 {
			return list
		}
		for _, s := range got.List {
			list = append(list, string(s.Data))
		}
		q.From, q.Offset = FromOffset, got.Next()
	}
}
