package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/gossip"
	"github.com/skeinmesh/skein/routing"
	"github.com/skeinmesh/skein/routing/graph"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
)

// Node is a running broker.
type Node struct {
	cfg      Config
	log      *slog.Logger
	state    *state
	self     peer.Peer
	identity *transport.Identity
	founded  bool
	start    string // names this start; see tellStart

	net     *transport.Endpoint
	table   *routing.Table
	graph   *graph.Graph
	spread  *spread
	flows   *flows
	streams *streams
	relays  *relays
	regions *regions
	book    *gossip.Book
	gossip  atomic.Pointer[gossip.Gossip] // nil until the mesh is known

	belongs   atomic.Pointer[membership] // nil until the mesh is known
	expected  []string                   // regions that there should be; join's
	registers chan struct{}              // closed when the register is begun; nil unless that is up to this node

	matches sync.Pool   // of *routing.Match
	queues  *queue.Pool // the memory of the subscribers' queues
	live    sync.Map    // *Subscription → nothing: those not closed
	leaving atomic.Bool // no new links
	count   counters
	rates   atomic.Pointer[map[peer.ID]traffic] // of links, by peer; measure's
	notice  atomic.Pointer[error]               // why the node is not ready; nil when it is

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	close  []func() error // in opening order
	closed sync.Once
}

// membership is what a node belongs to, once it does.
type membership struct {
	mesh     string
	register peer.Peer // where regions are registered; see state
}

// Open starts a node: it founds a mesh, or begins to join the one that its
// seeds or its own memory name. It returns when the node can be asked; Ready
// says when it has entered its mesh. ctx bounds the opening only.
func Open(ctx context.Context, cfg Config) (n *Node, err error) {
	conn := cfg.Conn
	if cfg, err = cfg.withDefaults(); err != nil {
		if conn != nil {
			conn.Close()
		}
		return nil, err
	}
	n = &Node{cfg: cfg, log: cfg.Log, start: randomHex(8)}
	n.queues = queue.NewPool()
	n.rates.Store(&map[peer.ID]traffic{})
	n.count.gaps.log.Interval = gapLogEvery
	n.matches.New = func() any { return new(routing.Match) }
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.setReady(errors.New("starting"))
	n.opened(func() error { n.cancel(); n.wg.Wait(); return nil })
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
			n = nil
		}
	}()

	if n.state, err = openState(cfg.DataDir, time.Now()); err != nil {
		conn.Close()
		return n, err
	}
	n.opened(n.state.close)
	if n.identity, err = n.openIdentity(); err != nil {
		conn.Close()
		return n, err
	}
	if n.book, err = gossip.OpenBook(cfg.DataDir); err != nil {
		n.log.Warn("the peers of before are forgotten", "err", err)
		err = nil
	}
	if n.regions, err = openRegions(n.state.path(regionsFile), time.Now()); err != nil {
		n.log.Warn("regions that are away now are forgotten", "err", err)
		err = nil
	}
	n.opened(func() error { n.saveBook(); return nil })
	n.self = peer.Peer{
		ID: n.state.ID, Name: cfg.Name, Region: cfg.Region,
		Addr: cfg.Advertise, HTTP: cfg.HTTP, Boot: n.state.Boot, Gateway: cfg.Gateway,
	}
	n.table = routing.New(n.self.ID, n.self.Region)
	n.flows = newFlows(n)
	n.streams = newStreams(n)
	n.relays = newRelays(n)
	n.graph = graph.New(n.self, n.flows.reroute)
	n.spread = newSpread(n)

	n.net, err = transport.Open(transport.Config{
		Conn: conn, Self: n.self, Identity: n.identity, MeshID: n.state.Mesh,
		Handler: (*handler)(n), LaneQueue: cfg.LaneQueue, Log: n.log,
	})
	if err != nil {
		return n, fmt.Errorf("node: mesh port: %w", err)
	}
	// Gossip, edges and timers above it are closed before the socket: peers
	// must hear that we leave.
	n.opened(n.net.Close)
	n.opened(n.closeGossip)
	n.opened(n.streams.close)
	n.opened(n.relays.close)
	n.wg.Go(n.tick)
	n.wg.Go(n.measure)
	n.wg.Go(n.flows.run)
	n.wg.Go(n.flows.reply)
	n.wg.Go(n.remember)
	n.wg.Go(n.prune)
	n.wg.Go(n.streams.follow)
	n.wg.Go(n.relays.tidy)
	return n, n.enter()
}

// opened pushes what Close has to undo.
func (n *Node) opened(undo func() error) { n.close = append(n.close, undo) }

// Close stops the node without a word to its peers, which will find out, and
// waits until nothing of it is left. Leave first to go politely.
func (n *Node) Close() (err error) {
	n.closed.Do(func() {
		n.setReady(ErrClosed)
		n.cancel()
		for i := len(n.close) - 1; i >= 0; i-- {
			err = errors.Join(err, n.close[i]())
		}
	})
	return err
}

// Leave tells the mesh that this node goes: no new publishes are taken, what
// was published here is sent while ctx lives, what the node leads of streams others
// lead before it goes, as far as they can, and peers forget the node at once. Nodes of
// the region that have no link now, and must hear from this one what they missed, are
// waited for a moment; later they take the farewell for a loss.
// If something is left that a region has not acknowledged, the node goes without
// a word, so that its peers report a loss. Close must follow.
func (n *Node) Leave(ctx context.Context) error {
	n.setReady(errors.New("leaving the mesh"))
	var handed sync.WaitGroup
	handed.Go(func() { n.streams.handOver(ctx) }) // beside what may take as long as ctx lives
	settled := time.Now().Add(settleWithin)
	err := n.drain(ctx, settled)
	handed.Wait()
	if err == nil {
		err = n.drain(ctx, settled) // it was an entry node meanwhile
	}
	n.leaving.Store(true)
	if g := n.gossip.Load(); g != nil && err == nil {
		err = g.Leave(ctx)
	}
	if err != nil {
		return fmt.Errorf("node: leave: %w", err)
	}
	return nil
}

// drain waits until no event of this node is unacknowledged, nothing is queued towards
// a peer that is up and, no longer than until settled, until all nodes of the region
// know how far the flows are of which this node alone may know.
func (n *Node) drain(ctx context.Context, settled time.Time) error {
	for {
		waits := n.flows.settle()
		if !time.Now().Before(settled) {
			waits = nil
		}
		queued := 0
		for _, l := range n.net.Links() {
			if l.State == transport.Up {
				queued += l.Queued
			}
		}
		pending := n.flows.pending()
		if queued == 0 && len(pending)+len(waits) == 0 {
			return nil
		}
		select {
		case <-time.After(drainPoll):
		case <-ctx.Done():
			return fmt.Errorf("%d bytes are still queued, and events for %v not acknowledged: %w", queued, pending, ctx.Err())
		}
	}
}

func (n *Node) closeGossip() error {
	if g := n.gossip.Swap(nil); g != nil {
		return g.Close()
	}
	return nil
}

// Self is this node as others know it.
func (n *Node) Self() peer.Peer { return n.self }

// Mesh is the mesh's id, empty until the node has joined.
func (n *Node) Mesh() string {
	if m := n.belongs.Load(); m != nil {
		return m.mesh
	}
	return ""
}

// Founded reports whether this start founded a mesh, and KeyFile where the
// mesh's key is: the next node needs both key and address.
func (n *Node) Founded() bool { return n.founded }

// KeyFile is the path of the mesh key this node uses.
func (n *Node) KeyFile() string {
	if n.cfg.KeyFile != "" {
		return n.cfg.KeyFile
	}
	return n.state.path("mesh.key")
}

// Identity is what native clients over QUIC are checked against.
func (n *Node) Identity() *transport.Identity { return n.identity }

// Clients accepts the streams of native clients that come to the mesh port.
func (n *Node) Clients() net.Listener { return n.net.Clients() }

// Ready is nil when the node has entered its mesh and takes publishes; else
// the error wraps ErrNotReady and says what is missing.
func (n *Node) Ready() error {
	if why := n.notice.Load(); why != nil {
		return *why
	}
	return nil
}

// admit makes the node one that takes publishes: it has said all that it has
// to say, and what an earlier start of it said is void.
func (n *Node) admit() {
	n.spread.complete()
	n.flows.open()
	n.setReady(nil)
}

// setReady records why the node is not ready; nil says that it is. Once the
// node closes, nothing makes it ready again.
func (n *Node) setReady(why error) {
	if why == nil {
		n.notice.Store(nil)
		return
	}
	err := fmt.Errorf("%w: %w", ErrNotReady, why)
	n.notice.Store(&err)
}

// openIdentity loads the mesh key, or makes one where this node founds a mesh.
func (n *Node) openIdentity() (*transport.Identity, error) {
	path := n.KeyFile()
	keys, err := transport.LoadKeys(path)
	switch {
	case err == nil:
	case n.cfg.KeyFile != "" && errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("node: there is no key file %s: copy that of the mesh, or make one for a new mesh with 'skein key new --out %[1]s'", path)
	case n.cfg.KeyFile != "" || !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("node: %w", err)
	case n.state.Mesh != "":
		return nil, fmt.Errorf("node: the key file %s is gone, and the node belongs to mesh %s: copy its key from another node of it", path, n.state.Mesh)
	case len(n.cfg.Seeds) > 0:
		return nil, errors.New("node: a node that joins a mesh needs its key: --key-file with a copy of the founding node's mesh.key")
	default:
		if err := os.WriteFile(path, []byte(transport.NewKey()), 0o600); err != nil {
			return nil, fmt.Errorf("node: keep a new mesh key: %w", err)
		}
		if keys, err = transport.LoadKeys(path); err != nil {
			return nil, fmt.Errorf("node: %w", err)
		}
	}
	id, err := transport.NewIdentity(keys, n.cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return id, nil
}

// Subscribe registers an interest and waits until it has spread as far as the
// barrier says, or the time for that is over: then the subscription stands all
// the same and Missing names the regions that have not confirmed. Any number
// of goroutines may call it.
func (n *Node) Subscribe(ctx context.Context, req SubscribeRequest) (*Subscription, error) {
	ns, err := namespaceOf(req.Namespace)
	if err != nil {
		return nil, err
	}
	if req.Barrier == "" {
		req.Barrier = BarrierMesh
	}
	if req.Wait <= 0 {
		req.Wait = DefaultWait
	}
	if req.QueueBytes <= 0 {
		req.QueueBytes = DefaultQueueBytes
	}
	if err := n.ctx.Err(); err != nil {
		return nil, ErrClosed
	}
	s := &Subscription{node: n, slow: req.Slow, queue: queue.New(min(req.QueueBytes, MaxQueueBytes), n.queues)}
	s.sub = n.table.Subscribe(ns, req.Filter, receiver{s.queue}, req.Label)
	n.live.Store(s, nil)
	n.spread.poke()
	if s.missing, err = n.barrier(ctx, req.Barrier, min(req.Wait, MaxWait)); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}
