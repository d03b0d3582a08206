// Package gossip says who is there. It runs one memberlist pool for the whole
// mesh and spreads small rumors in it; what rumors mean is not its business.
//
// It says who exists, never who is reachable now: that is for links to say. A
// crash is known to twenty nodes in 10 to 20 s, a departure in a fraction of one.
//
// Members are known to memberlist as "id#boot": each start of a node is a
// member of its own, so a node comes back under another address without waiting
// until its former self is given up. Observers see one peer for each ID, that
// of the latest start.
//
// Memberlist does not look for members it has declared dead, so two halves of a
// mesh that were cut for longer than it suspects would stay apart for ever. A
// rejoin loop keeps contacting the seeds, whose names are resolved each time,
// and peers that were known and are not alive.
//
// Packets are encrypted with the mesh's keys and labelled with its id; a member
// of another mesh is refused even if it has the key.
//
// What is lost when: rumors are lossy, and only the latest of a name and origin
// is kept; a peer that never got one gets it by other means, or not.
//
// Goroutines: rejoin (looks for peers), announce (calls the observer, so that
// memberlist never waits for it), the pump's two (packets, streams), the
// probes of rejoin, and memberlist's own. Close waits for all but memberlist's,
// whose last probe may end up to a few seconds later.
package gossip

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/skeinmesh/skein/transport/peer"
)

// Network is what gossip needs of the transport: lossy packets and reliable
// streams by address. Close ends ReadPacket and Accept with an error.
type Network interface {
	WritePacket(b []byte, to netip.AddrPort) error
	ReadPacket(b []byte) (n int, from netip.AddrPort, err error)
	DialAddr(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	Accept() (net.Conn, error)
	Close() error
}

// Observer is told what gossip learns. Calls never overlap and come in order; a
// slow observer delays only itself.
type Observer interface {
	// PeerAlive is called for a peer that was found, came back or changed.
	PeerAlive(p peer.Peer)
	// PeerGone is called for a peer that left, or that is taken for dead. If it
	// turns out later that a dead one had left, it is called again.
	PeerGone(id peer.ID, left bool)
	// Rumor is called with what another node gave to Rumor.
	Rumor(from peer.ID, body []byte)
}

// Config says who this node is and how it finds the others.
type Config struct {
	Self     peer.Peer
	MeshID   string      // 1 to 64 bytes
	Network  Network     // closed by Close
	Keys     [][]byte    // 32 bytes each; the first encrypts, all are accepted
	Seeds    []string    // host:port, resolved again for each attempt
	Known    []peer.Peer // from an earlier run
	Observer Observer
	Log      *slog.Logger

	ProbeInterval time.Duration // between probes of one random member. Default 2s.
	RejoinEvery   time.Duration // between attempts to find peers that are not alive. Default 15s.
	RejoinAlone   time.Duration // the same while no peer is alive. Default 1s.
}

// Bounds.
const (
	MaxRumor = 1100 // bytes of a rumor's body

	maxMeshID     = 64
	dialTimeout   = 5 * time.Second
	reclaimTime   = 30 * time.Second
	maxBroadcasts = 512 // rumors that wait to be passed on
)

// Errors of Open and Rumor.
var (
	ErrConfig   = errors.New("gossip: configuration")
	ErrTooLarge = errors.New("gossip: rumor is too large")
)

// Stats are counters since Open.
type Stats struct {
	Peers         int    // alive, without this node
	Rejoined      uint64 // contacts that the rejoin loop made
	RumorsIn      uint64 // new ones
	RumorsDropped uint64 // because the observer, or the queue to the others, was behind
	Health        int    // memberlist's own awareness: 0 is healthy
}

// Gossip is this node's membership of the mesh. Its methods may be called by
// any goroutine.
type Gossip struct {
	cfg   Config
	log   *slog.Logger
	ml    *memberlist.Memberlist
	keys  *memberlist.Keyring
	queue *memberlist.TransmitLimitedQueue
	news  *announcer
	pump  *pump

	mu       sync.Mutex // guards the fields below
	self     peer.Peer
	peers    map[peer.ID]peer.Peer // alive, without this node
	absent   map[peer.ID]absentee  // known and not alive
	left     map[string]time.Time  // members that said goodbye, and when
	heard    map[rumorName]rumorAge
	seq      uint64 // of the last rumor
	members  int
	rejoined uint64
	rumors   uint64
	dropped  uint64

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// absentee is a peer that the rejoin loop looks for.
type absentee struct {
	peer.Peer
	since time.Time
}

// Open enters the mesh as a member of its own and starts to look for the others.
func Open(cfg Config) (*Gossip, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	g := &Gossip{
		cfg: cfg, log: cfg.Log, self: cfg.Self, news: newAnnouncer(cfg.Observer),
		peers: map[peer.ID]peer.Peer{}, absent: map[peer.ID]absentee{},
		left: map[string]time.Time{}, heard: map[rumorName]rumorAge{}, members: 1,
	}
	for _, p := range cfg.Known {
		if p.ID != cfg.Self.ID && p.Addr.IsValid() {
			g.absent[p.ID] = absentee{p, time.Now()}
		}
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.queue = &memberlist.TransmitLimitedQueue{RetransmitMult: 4, NumNodes: g.numMembers}
	g.pump = newPump(cfg.Self.Addr, cfg.Network)
	var err error
	if g.keys, err = memberlist.NewKeyring(cfg.Keys, cfg.Keys[0]); err == nil {
		g.ml, err = memberlist.Create(g.memberlist())
	}
	if err != nil {
		g.cancel()
		return nil, fmt.Errorf("gossip: open: %w", errors.Join(err, g.pump.Shutdown()))
	}
	g.wg.Go(g.news.run)
	g.wg.Go(g.rejoin)
	return g, nil
}

// complete checks the configuration and fills in defaults.
func (cfg *Config) complete() error {
	var errs []error
	check := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%w: %s", ErrConfig, what))
		}
	}
	check(cfg.Self.ID != "" && len(cfg.Self.ID) <= 64 && !strings.Contains(string(cfg.Self.ID), "#"), "the node's id must have 1 to 64 bytes and no '#'")
	check(cfg.Self.Addr.IsValid(), "the node's address is missing")
	check(cfg.MeshID != "" && len(cfg.MeshID) <= maxMeshID, "the mesh id must have 1 to 64 bytes")
	check(len(cfg.Keys) > 0, "a key is missing")
	for _, k := range cfg.Keys {
		check(len(k) == 32, "a key must have 32 bytes")
	}
	check(cfg.Network != nil && cfg.Observer != nil, "network and observer are required")
	check(len(appendMeta(nil, cfg.MeshID, cfg.Self)) <= memberlist.MetaMaxSize, "name, region and HTTP address of the node are too long")
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	orDefault := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	orDefault(&cfg.ProbeInterval, 2*time.Second)
	orDefault(&cfg.RejoinEvery, 15*time.Second)
	orDefault(&cfg.RejoinAlone, time.Second)
	return errors.Join(errs...)
}

// memberlist is the pool's configuration: timers that suit a data centre and
// the world, since one pool serves both.
func (g *Gossip) memberlist() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = memberName(g.self)
	c.Label = g.cfg.MeshID
	c.Transport = g.pump
	c.AdvertiseAddr, c.AdvertisePort = g.self.Addr.Addr().Unmap().String(), int(g.self.Addr.Port())
	c.Keyring = g.keys
	c.Delegate, c.Events, c.Alive, c.Merge = (*delegate)(g), (*delegate)(g), (*delegate)(g), (*delegate)(g)
	c.Logger = log.New(newLogBridge(g.log), "", 0)
	c.GossipInterval, c.GossipNodes = 100*time.Millisecond, 4
	c.PushPullInterval = 15 * time.Second
	c.ProbeInterval, c.ProbeTimeout = g.cfg.ProbeInterval, g.cfg.ProbeInterval/2
	c.TCPTimeout = dialTimeout
	c.GossipToTheDeadTime = 30 * time.Second
	c.DeadNodeReclaimTime = reclaimTime
	c.EnableCompression = false // costs more CPU than the bytes are worth
	c.UDPBufferSize = 1350      // fits the transport's datagrams
	return c
}

// Peers returns the members that are alive, this node among them, by ID.
func (g *Gossip) Peers() []peer.Peer {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := []peer.Peer{g.self}
	for _, p := range g.peers {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b peer.Peer) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return list
}

// Left reports whether a start of a node has said goodbye in the last hour.
func (g *Gossip) Left(p peer.Peer) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, left := g.left[memberName(p)]
	return left
}

// SetSelf replaces what this node tells about itself. ID, Boot and Addr stay as
// they were: those are a matter of a new start.
func (g *Gossip) SetSelf(p peer.Peer) error {
	g.mu.Lock()
	p.ID, p.Boot, p.Addr = g.self.ID, g.self.Boot, g.self.Addr
	if len(appendMeta(nil, g.cfg.MeshID, p)) > memberlist.MetaMaxSize {
		g.mu.Unlock()
		return fmt.Errorf("%w: name, region and HTTP address of the node are too long", ErrConfig)
	}
	same := g.self == p
	g.self = p
	g.mu.Unlock()
	if same {
		return nil
	}
	// It waits until somebody was told, for which nobody need wait.
	g.wg.Go(func() {
		if err := g.ml.UpdateNode(time.Second); err != nil {
			g.log.Debug("gossip: the change of this node is still spreading", "err", err)
		}
	})
	return nil
}

// SetKeys replaces the keys: the first encrypts, all are accepted. To rotate a
// key, make the new one accepted everywhere, then first everywhere, then drop
// the old one.
func (g *Gossip) SetKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return fmt.Errorf("%w: a key is missing", ErrConfig)
	}
	for _, k := range keys {
		if err := g.keys.AddKey(k); err != nil {
			return fmt.Errorf("gossip: set keys: %w", err)
		}
	}
	if err := g.keys.UseKey(keys[0]); err != nil {
		return fmt.Errorf("gossip: set keys: %w", err)
	}
	for _, k := range slices.Clone(g.keys.GetKeys()) {
		if !slices.ContainsFunc(keys, func(o []byte) bool { return string(o) == string(k) }) {
			if err := g.keys.RemoveKey(k); err != nil {
				return fmt.Errorf("gossip: set keys: %w", err)
			}
		}
	}
	return nil
}

// Stats returns the counters.
func (g *Gossip) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Stats{
		Peers: len(g.peers), Rejoined: g.rejoined, RumorsIn: g.rumors,
		RumorsDropped: g.dropped + g.news.lost(), Health: g.ml.GetHealthScore(),
	}
}

func (g *Gossip) numMembers() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.members
}

// Leave tells the others that this node goes, and waits until some know or ctx
// ends. Close must follow.
func (g *Gossip) Leave(ctx context.Context) error {
	wait := 5 * time.Second
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end))
	}
	if wait <= 0 {
		return fmt.Errorf("gossip: leave: %w", context.DeadlineExceeded)
	}
	g.goodbye()
	if err := g.ml.Leave(wait); err != nil {
		return fmt.Errorf("gossip: leave: %w", err)
	}
	return nil
}

// Close stops without leaving: the others will take this node for dead, unless
// it has left before. It closes the network.
func (g *Gossip) Close() error {
	g.cancel()
	err := g.ml.Shutdown()
	g.news.stop()
	g.wg.Wait()
	if err != nil {
		return fmt.Errorf("gossip: close: %w", err)
	}
	return nil
}
