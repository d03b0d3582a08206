package node

import (
	"context"
	"fmt"
	"net"
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

	stirred chan struct{} // holds a token when follow has something to do

	book *notes.Book // memory on the disk; follow's, once opened is set

	mu        sync.Mutex // guards the fields below
	opened    bool
	facts     map[meta.ID]streamFact             // the region's own streams, as the mesh is told of them
	saying    map[string]bool                    // of those, what is new (true) and what is over; nil before the region has told
	sayNow    bool                               // some of that is new since somebody tried to say it
	told      map[peer.ID]map[string]meta.Stream // foreign streams, by who tells of them and entry
	tales     map[meta.ID][]tale                 // those, by stream
	stale     map[meta.ID]bool                   // of those, what update has to look at
	seen      uint64                             // so many changes of the metadata has update seen
	heardThen map[string]bool                    // what update was told when it was called last
	keepers   map[meta.ID]*keeper                // of the streams that are routed, or would be if they could be read
	named     map[streamName][]meta.ID           // those
	ended     map[meta.ID]meta.Stream            // those that are deleted
	memory    map[meta.ID]remembered             // what is known, or was when the node stopped
	// unwritten is what of memory is not on the disk as it is.
	unwritten map[meta.ID]bool
	rounds    rounds
	moved     chan struct{}                  // closed and replaced after each round of follow
	doubted   []string                       // regions that had not told of their streams when the node became ready
	links     map[peer.ID]context.CancelFunc // the ways of raft to the region's nodes

	ahead *aheadSlots
}

func newStreams(n *Node) *streams {
	return &streams{
		n: n, stirred: make(chan struct{}, 1), moved: make(chan struct{}), told: map[peer.ID]map[string]meta.Stream{},
		facts: map[meta.ID]streamFact{}, tales: map[meta.ID][]tale{}, stale: map[meta.ID]bool{},
		keepers: map[meta.ID]*keeper{}, named: map[streamName][]meta.ID{}, ended: map[meta.ID]meta.Stream{}, memory: map[meta.ID]remembered{},
		unwritten: map[meta.ID]bool{}, links: map[peer.ID]context.CancelFunc{}, ahead: newAheadSlots(),
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
	s.setRoutes(m, map[string]bool{})
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

// handOver has others lead what this node leads, as far as they can.
func (s *streams) handOver(ctx context.Context) {
	m := s.member.Load()
	if m == nil {
		return
	}
	if left := m.HandOver(ctx); left > 0 {
		s.n.log.Info("nobody else can lead some groups now: they have no leader until one is elected", "groups", left)
	}
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
