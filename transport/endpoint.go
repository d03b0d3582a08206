package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// Config is what an Endpoint needs. Fields without a default are required.
type Config struct {
	Conn     net.PacketConn // the mesh port; the endpoint's own from Open on, even if Open fails
	Self     peer.Peer      // this node as the others shall know it
	Identity *Identity
	MeshID   string // "" until it is learnt by joining
	Handler  Handler
	Log      *slog.Logger // default: nothing is logged

	// LaneQueue is how many bytes of events may wait for one peer, of which
	// Offer may fill a sixteenth. Default 64 MiB.
	LaneQueue int
	// MaxLanes is how many connections may carry events to one peer, 1 to 16: the
	// lower one of both nodes' counts. There is one until more are needed. Default
	// 16.
	MaxLanes int
	// MaxFrame is the most bytes of a frame's body, and so of an event with
	// what surrounds it. It must be the same at all nodes. Default wire.MaxFrame.
	MaxFrame int

	protocol   string // for tests: another version than protocolMesh
	unrepaired bool   // for tests: as a node that does not know of repair
}

// Handler is told what comes from other nodes. LinkUp, LinkDown, HandleControl
// and HandleBatch of one link come from few goroutines: those that must not
// block hold the link up if they do.
type Handler interface {
	// LinkUp is called when a link is usable in both directions: frames,
	// batches and calls come after it. LinkUp and LinkDown of a peer alternate
	// and never overlap. It must not block.
	LinkUp(p peer.Peer)
	// LinkDown is called when the last frame of the link has been handled. It
	// must not block.
	LinkDown(id peer.ID, reason string)
	// HandleControl is called with each frame that the peer sent, in order.
	// The body is valid during the call. It must not block.
	HandleControl(from peer.ID, kind wire.Kind, body []byte)
	// HandleCall answers a call, in a goroutine of its own. ctx ends when the
	// caller gives up or the link goes down, whose LinkDown waits for the call unless
	// it was a CallBulk: it must heed ctx. from is the caller as it says it is; it may be joining. The
	// body is the callee's.
	HandleCall(ctx context.Context, from peer.Peer, kind wire.Kind, body []byte) ([]byte, error)
	// HandleBatch is called with each batch of a lane, in order, and from several
	// lanes at once; the records of one slice are on one lane at a time, and come
	// in order. records is valid during the call. While it blocks, the lane stands
	// still.
	HandleBatch(from peer.ID, records []byte)
	// HandleRoom is called when an Offer that was refused, or for which Full said
	// yes, would be taken now, or the link is down. It must not block, and not
	// make offers itself.
	HandleRoom(id peer.ID)
}

const defaultLaneQueue = 64 << 20

// linkConfig is the configuration of a link's QUIC connections. The
// receive windows are for a link of 100 ms at 100 MB/s; they grow to that only
// while the receiver keeps up.
var linkConfig = &quic.Config{
	MaxIdleTimeout:                 10 * time.Second,
	KeepAlivePeriod:                3 * time.Second,
	HandshakeIdleTimeout:           dialWait,
	InitialStreamReceiveWindow:     1 << 20,
	MaxStreamReceiveWindow:         16 << 20,
	InitialConnectionReceiveWindow: 2 << 20,
	MaxConnectionReceiveWindow:     64 << 20,
	MaxIncomingStreams:             4096,
	MaxIncomingUniStreams:          -1,
}

// quietConfig is linkConfig for the side that does not keep the connection
// alive: that is up to the dialer, and it does so for links only. A visit ends
// by itself when it has been idle: closing it at once could lose what it was for.
var quietConfig = func() *quic.Config {
	c := linkConfig.Clone()
	c.KeepAlivePeriod = 0
	return c
}()

// Endpoint is this node's mesh port and all that goes through it. Any number
// of goroutines may use it.
type Endpoint struct {
	cfg        Config
	log        *slog.Logger
	creds      *credentials
	complaints complaints
	socket     *socket
	listener   *quic.Listener
	clients    *clients
	batches    *sync.Pool    // of *batch
	visits     chan struct{} // a token for each incoming stream outside of links that has not said what it is
	guests     chan struct{} // a token for each call of those that is being answered

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.RWMutex // guards the fields below
	closed  bool
	self    peer.Peer
	mesh    string
	founder string
	links   map[peer.ID]*link
	layers  map[string]*Layer
	conns   map[*quic.Conn]struct{} // all that are open
	knocks  knocks
}

// Open takes over the mesh port and begins to accept connections. Nothing is
// dialled before Connect, Probe or CallAddr.
func Open(cfg Config) (*Endpoint, error) {
	if cfg.Conn == nil || cfg.Identity == nil || cfg.Handler == nil {
		return nil, errors.New("transport: a config needs Conn, Identity and Handler")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.LaneQueue <= 0 {
		cfg.LaneQueue = defaultLaneQueue
	}
	if cfg.MaxLanes <= 0 {
		cfg.MaxLanes = wire.MaxLanes
	}
	cfg.MaxLanes = min(cfg.MaxLanes, wire.MaxLanes)
	if cfg.MaxFrame <= 0 {
		cfg.MaxFrame = wire.MaxFrame
	}
	if cfg.protocol == "" {
		cfg.protocol = protocolMesh
	}
	e := &Endpoint{
		cfg:        cfg,
		log:        cfg.Log,
		creds:      &credentials{identity: cfg.Identity, protocol: cfg.protocol},
		complaints: complaints{log: cfg.Log},
		socket:     newSocket(cfg.Conn),
		batches:    newBatchPool(),
		visits:     make(chan struct{}, maxVisits),
		guests:     make(chan struct{}, maxGuests),
		self:       cfg.Self,
		mesh:       cfg.MeshID,
		links:      map[peer.ID]*link{},
		layers:     map[string]*Layer{},
		conns:      map[*quic.Conn]struct{}{},
		knocks:     knocks{perAddr: map[netip.Addr]int{}},
	}
	e.creds.become(subject{cfg.MeshID, cfg.Self.Region, cfg.Self.ID})
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.clients = newClients(e)

	// Derived, so that a node which restarts is recognised: its peers' packets
	// for connections it does not know any more are answered with a reset.
	node := string(cfg.Self.ID)
	reset := quic.StatelessResetKey(cfg.Identity.Secret("stateless reset "+node, 32))
	token := quic.TokenGeneratorKey(cfg.Identity.Secret("token "+node, 32))
	e.socket.quic.StatelessResetKey = &reset
	e.socket.quic.TokenGeneratorKey = &token
	e.socket.quic.ConnContext = e.knock
	e.socket.quic.VerifySourceAddress = e.suspicious

	var err error
	if e.listener, err = e.socket.quic.Listen(e.creds.listening(noteHello), quietConfig); err != nil {
		e.cancel()
		return nil, errors.Join(fmt.Errorf("transport: listen on %s: %w", cfg.Conn.LocalAddr(), err), cfg.Conn.Close())
	}
	e.wg.Go(e.accept)
	e.wg.Go(func() { e.socket.mender.flush(e.ctx) })
	return e, nil
}

// Close tells the peers, drops every connection and waits for the endpoint's
// goroutines. It also closes the socket.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		e.wg.Wait()
		return nil
	}
	e.closed = true
	conns := make([]*quic.Conn, 0, len(e.conns))
	for conn := range e.conns {
		conns = append(conns, conn)
	}
	e.mu.Unlock()

	e.cancel()
	for _, conn := range conns {
		e.shut(conn, codeLeaving, "the node stops")
	}
	err := errors.Join(e.listener.Close(), e.socket.quic.Close(), e.cfg.Conn.Close())
	e.wg.Wait()
	return err
}

// SetMesh tells the endpoint the mesh it belongs to, when it has joined. Its
// certificate follows.
func (e *Endpoint) SetMesh(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mesh = id
	e.creds.become(subject{id, e.self.Region, e.self.ID})
}

// SetFounder tells the endpoint which region founded the mesh, for those who
// ask with Probe.
func (e *Endpoint) SetFounder(region string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.founder = region
}

// SetSelf changes what the endpoint says of this node from the next connection
// on. The ID must stay.
func (e *Endpoint) SetSelf(p peer.Peer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.self = p
	e.creds.become(subject{e.mesh, p.Region, p.ID})
}

// Addr is the local address of the mesh port.
func (e *Endpoint) Addr() netip.AddrPort { return addrPort(e.cfg.Conn.LocalAddr()) }

// Probe exchanges hellos with whoever is at addr and hangs up.
func (e *Endpoint) Probe(ctx context.Context, addr netip.AddrPort) (Hello, error) {
	d, err := e.greet(ctx, addr, e.hello(roleVisit, ""), linkConfig, nil)
	if err != nil {
		return Hello{}, err // which says who did not answer, or what with
	}
	e.shut(d.conn, codeDone, "thank you")
	return d.theirs, nil
}

// dial connects to addr. Whoever gets the connection ends it with shut.
func (e *Endpoint) dial(ctx context.Context, addr netip.AddrPort, protocol string, config *quic.Config) (*quic.Conn, error) {
	if !addr.IsValid() {
		return nil, fmt.Errorf("%w: no address", ErrUnreachable)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialWait, ErrUnreachable)
	defer cancel()
	conn, err := e.socket.quic.Dial(ctx, udpAddr(addr), e.creds.dialing(protocol), config)
	if err != nil {
		return nil, err
	}
	if !e.track(conn) {
		conn.CloseWithError(codeLeaving, "the node stops")
		return nil, ErrClosed
	}
	return conn, nil
}

// track remembers an open connection for Close. It reports whether the
// endpoint is open.
func (e *Endpoint) track(conn *quic.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.conns[conn] = struct{}{}
	}
	return !e.closed
}

// shut ends a connection, which may have ended before.
func (e *Endpoint) shut(conn *quic.Conn, code quic.ApplicationErrorCode, reason string) {
	e.mu.Lock()
	delete(e.conns, conn)
	e.mu.Unlock()
	shut(conn, code, reason)
}
