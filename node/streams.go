package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/notes"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
)

// streams is this node's part in what is kept: its region's metadata and
// partitions, and what it knows of the streams of all regions. A region tells the
// mesh of the streams it owns as facts; a node that hears of one has its region
// keep the stream's events, too, if the stream's placement says so.
type streams struct {
	n      *Node
	member atomic.Pointer[replication.Member] // nil until the mesh is known

	stirred chan struct{}            // holds a token when follow has something to do
	saying  atomic.Pointer[[]string] // the region's own streams, as facts; replaced when they change
	said    *[]string                // of those, what was said; the spreader's
	facts   map[meta.ID]streamFact   // follow's: what own made

	book *notes.Book // memory on the disk; follow's, once opened is set

	mu      sync.Mutex // guards the fields below
	opened  bool
	told    map[peer.ID]map[string]meta.Stream // foreign streams, by who tells of them and entry
	keepers map[meta.ID]*keeper                // of the streams that are routed, or would be if they could be read
	named   map[streamName][]meta.ID           // those
	ended   map[meta.ID]meta.Stream            // those that are deleted
	memory  map[meta.ID]remembered             // what is known, or was when the node stopped
	// unwritten is what of memory is not on the disk as it is.
	unwritten map[meta.ID]bool
	rounds    rounds
	moved     chan struct{}                  // closed and replaced after each round of follow
	doubted   []string                       // regions that had not told of their streams when the node became ready
	links     map[peer.ID]context.CancelFunc // the ways of raft to the region's nodes
}

func newStreams(n *Node) *streams {
	return &streams{
		n: n, stirred: make(chan struct{}, 1), moved: make(chan struct{}), told: map[peer.ID]map[string]meta.Stream{},
		keepers: map[meta.ID]*keeper{}, named: map[streamName][]meta.ID{}, ended: map[meta.ID]meta.Stream{}, memory: map[meta.ID]remembered{},
		unwritten: map[meta.ID]bool{}, links: map[peer.ID]context.CancelFunc{},
	}
}

// open takes part in the region, from when the mesh is known.
func (s *streams) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.n
	if s.opened || n.ctx.Err() != nil {
		return nil
	}
	if err := s.recall(store.OS{}); err != nil {
		return err
	}
	found := n.state.Founder && !n.state.Begun
	m, err := replication.Open(replication.Config{
		Self: n.self, Mesh: n.state.Mesh, Net: (*region)(n), Dir: n.state.path("streams"),
		Found: found, LogStore: n.cfg.LogStore, Changed: s.changed, SendAway: n.sendAway, Log: n.log,
	})
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	s.opened = true
	s.setRoutes(m, m.Meta().Streams(), nil, nil)
	s.member.Store(m)
	if !n.state.Begun {
		n.state.Begun = true
		if err := n.state.save(); err != nil {
			return err
		}
	}
	for _, layer := range []string{layerRaft, layerSnapshots} {
		l := n.net.Layer(layer)
		n.wg.Go(func() { s.accept(l, layer) })
	}
	for _, p := range n.graph.Peers() {
		if p.Region == n.self.Region && n.net.Linked(p.ID) {
			s.connect(p.ID)
		}
	}
	return nil
}

func (s *streams) close() error {
	if m := s.member.Swap(nil); m != nil {
		return m.Close()
	}
	return nil
}

// Layers of the mesh port for replication. The values are part of the protocol.
const (
	layerRaft      = "raft"
	layerSnapshots = "snapshots"
)

// accept takes the streams that nodes of the region open.
func (s *streams) accept(l *transport.Layer, name string) {
	n := s.n
	for {
		conn, err := l.Accept()
		if err != nil {
			return // the endpoint is closed
		}
		from := conn.(transport.PeerConn).Peer()
		m := s.member.Load()
		p, known := n.graph.Peer(from)
		switch {
		case m == nil, known && p.Region != n.self.Region:
			conn.Close()
		case name == layerRaft:
			m.Attach(from, conn)
		default:
			n.wg.Go(func() { m.ServeBulk(from, conn) })
		}
	}
}

// linkUp hears of a link to a node of the region. Who has dialled the link also
// dials the way for raft, so that a node which cannot be dialled has both.
func (s *streams) linkUp(id peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened {
		s.connect(id)
	}
}

// connect keeps a way for raft to a linked peer. s.mu is held.
func (s *streams) connect(id peer.ID) {
	link, up := s.n.net.Link(id)
	if !up || !link.Dialled || s.links[id] != nil {
		return
	}
	ctx, cancel := context.WithCancel(s.n.ctx)
	s.links[id] = cancel
	s.n.wg.Go(func() { s.attach(ctx, id) })
}

// attach dials a peer again and again while it is linked.
func (s *streams) attach(ctx context.Context, id peer.ID) {
	layer := s.n.net.Dialer(layerRaft)
	for pause := attachPause; ctx.Err() == nil; pause = min(2*pause, attachPauseMax) {
		began := time.Now()
		conn, err := layer.Dial(ctx, id)
		if err != nil {
			s.n.log.Debug("no way for raft yet", "peer", id, "err", err)
		} else if m := s.member.Load(); m != nil {
			select {
			case <-m.Attach(id, conn):
			case <-ctx.Done():
				conn.Close()
			}
		}
		if time.Since(began) > attachPauseMax {
			pause = attachPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

const (
	attachPause    = 50 * time.Millisecond
	attachPauseMax = 2 * time.Second
)

// linkDown hears that a node of the region cannot be reached.
func (s *streams) linkDown(id peer.ID) {
	s.mu.Lock()
	if cancel := s.links[id]; cancel != nil {
		cancel()
		delete(s.links, id)
	}
	s.mu.Unlock()
	if m := s.member.Load(); m != nil {
		m.PeerDown(id)
	}
}

// region is the node's region as its member reaches it.
type region Node

var _ replication.Network = (*region)(nil)

// Ask implements replication.Network.
func (g *region) Ask(ctx context.Context, to peer.ID, question []byte) ([]byte, error) {
	return g.net.Call(ctx, to, kindReplication, question)
}

// Dial implements replication.Network.
func (g *region) Dial(ctx context.Context, to peer.ID) (net.Conn, error) {
	return g.net.Dialer(layerSnapshots).Dial(ctx, to)
}

// Linked implements replication.Network.
func (g *region) Linked() []peer.ID { return g.graph.Linked(g.self.Region) }

var errNoStreams = fmt.Errorf("%w: it keeps no streams yet: it is still joining", ErrNotReady)

// answer answers what a node of the region asks the member.
func (s *streams) answer(ctx context.Context, from peer.ID, question []byte) ([]byte, error) {
	m := s.member.Load()
	if m == nil {
		return nil, errNoStreams
	}
	return m.Answer(ctx, from, question), nil
}

// own makes facts of the streams that the region owns, which this node has heard from
// its region.
func (s *streams) own(streams []meta.Stream) {
	list, facts, same := make([]string, 0, len(streams)), make(map[meta.ID]streamFact, len(streams)), s.facts != nil
	for _, d := range streams {
		f := s.facts[d.UUID]
		if f.version != d.Version || f.text == "" {
			b, err := json.Marshal(d)
			if err != nil {
				s.n.log.Error("a stream cannot be told to other regions", "stream", d.Name, "err", err)
				continue
			}
			f, same = streamFact{d.Version, string(b)}, false
		}
		facts[d.UUID] = f
		list = append(list, f.text)
	}
	if same && len(facts) == len(s.facts) {
		return
	}
	slices.Sort(list)
	s.facts = facts
	s.saying.Store(&list)
}

// streamFact is a stream as others are told of it.
type streamFact struct {
	version uint64
	text    string
}

// news are the facts about the region's streams if they are not those of the last
// call. Only the spreader calls it.
func (s *streams) news() (list []string, changed bool) {
	now := s.saying.Load()
	if now == s.said {
		return nil, false
	}
	s.said = now
	return *now, true
}

// hear takes what a node of another region tells of that region's streams.
func (s *streams) hear(owner peer.ID, adds, removes []string, all bool) {
	s.mu.Lock()
	have := s.told[owner]
	if all || have == nil {
		have = map[string]meta.Stream{}
		s.told[owner] = have
	}
	for _, e := range removes {
		delete(have, e)
	}
	for _, e := range adds {
		var d meta.Stream
		if err := json.Unmarshal([]byte(e), &d); err != nil {
			s.n.log.Error("a stream of another region cannot be read", "peer", owner, "err", err)
			continue
		}
		have[e] = d
	}
	s.mu.Unlock()
	s.changed()
}

// foreign are the streams of other regions, each as it was defined last.
func (s *streams) foreign() map[meta.ID]meta.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	latest := map[meta.ID]meta.Stream{}
	if m := s.member.Load(); m != nil { // those that the region remembers
		for _, a := range m.Meta().Assignments() {
			if a.Foreign != nil {
				latest[a.Stream] = *a.Foreign
			}
		}
	}
	for _, told := range s.told {
		for _, d := range told {
			if have, known := latest[d.UUID]; !known || d.Newer(have) {
				latest[d.UUID] = d
			}
		}
	}
	return latest
}
