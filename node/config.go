package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/routing/flow"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
)

// Config says how a node runs. The zero value of a field is its default.
type Config struct {
	// Name is what people call the node. Default: "node".
	Name string
	// Region is where the node is; nodes of one region have LAN latency
	// between them. Default: "default".
	Region string
	// DataDir is where identity, peers and keys are kept. Required; made if it
	// does not exist; one process at a time.
	DataDir string
	// Conn is the socket of the mesh port. Required; the node owns it from
	// Open on, also when Open fails.
	Conn net.PacketConn
	// Advertise is the mesh port's address as other nodes reach it. Default:
	// Conn's own, with the host's first address where that is unspecified.
	Advertise netip.AddrPort
	// HTTP is the HTTP face's address, told to tools that look at the mesh.
	HTTP string
	// Seeds are addresses (host:port) of nodes of the mesh to join. A node
	// that never joined and has no seeds founds a mesh of its own.
	Seeds []string
	// KeyFile holds the mesh key or, while it is rotated, keys. Default:
	// mesh.key in DataDir, which a founding node makes.
	KeyFile string
	// TLS replaces the certificates derived from the mesh key by those of an
	// outside PKI. The mesh key still encrypts the gossip.
	TLS *transport.PKI
	// Gateway says whether the node keeps links to other regions. Default: if it
	// is one of the first of its region by rank.
	Gateway peer.Gateway
	// LinkCosts is what the operator adds to the cost of links into regions, in
	// milliseconds of round trip: to keep traffic off dear ones.
	LinkCosts map[string]int
	// LaneQueue bounds the bytes queued towards one peer. Default 64 MiB.
	LaneQueue int
	// RegionBuffer and Buffer bound the bytes of events that were published here
	// and not acknowledged by a region, and by all regions. Default 64 MiB, 1 GiB.
	RegionBuffer, Buffer int
	// TTL is how long such events are kept. Default 10 minutes, at most an hour:
	// nodes that have lost sight of this one remember for longer than that what they
	// have had of it.
	TTL time.Duration
	// Overflow says what becomes of events for which there is no room, where
	// their publisher does not say. Default DropOldest.
	Overflow Overflow
	// LogStore is where what streams keep is logged first: LogJournal, the default,
	// or LogBolt. A data directory is opened with the one that it was made with.
	LogStore LogStore
	// Log gets state changes; nothing per event. Default: discarded.
	Log *slog.Logger
}

// LogStore says where groups of replicas keep their logs; see replication.LogStore.
type LogStore = replication.LogStore

// The log stores there are.
const (
	LogJournal = replication.Journal
	LogBolt    = replication.Bolt
)

// Timers of a node. They are constants: profiles before knobs.
const (
	tickEvery     = 250 * time.Millisecond // digests, lingering removals
	compareEvery  = time.Second
	forgetSlack   = 5 * time.Minute // by how much what a gone node wants outlives TTL: until it is told that it may have missed something
	joinRetry     = time.Second     // first pause between tries to join
	joinRetryMax  = 10 * time.Second
	joinTimeout   = 3 * time.Second // one try at one seed
	syncGrace     = 5 * time.Second // how long a joiner waits for peers that gossip names before it is ready without them
	measureEvery  = time.Second     // what links cost
	drainPoll     = 10 * time.Millisecond
	settleWithin  = 3 * time.Second // how long a node that leaves waits for those of its region to know what they missed
	rememberEvery = 2 * time.Second
	collectWithin = time.Second // how long inspection waits for other nodes
)

// withDefaults fills what is empty and refuses what cannot be, all at once.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.Name == "" {
		c.Name = "node"
	}
	if c.Region == "" {
		c.Region = "default"
	}
	if c.Overflow == "" {
		c.Overflow = DropOldest
	}
	if c.TTL == 0 {
		c.TTL = flow.DefaultTTL
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if !peer.ValidName(c.Name) {
		errs = append(errs, fmt.Errorf("name %.80q: want 1 to 63 letters, digits, '-', '_' or '.', beginning with a letter or digit", c.Name))
	}
	if !peer.ValidRegion(c.Region) {
		errs = append(errs, fmt.Errorf("region %.80q: want 1 to 63 letters, digits, '-', '_', '.' or '/', beginning with a letter or digit", c.Region))
	}
	if _, err := ParseOverflow(string(c.Overflow)); err != nil {
		errs = append(errs, err)
	}
	if store, err := replication.ParseLogStore(string(c.LogStore)); err != nil {
		errs = append(errs, err)
	} else {
		c.LogStore = store
	}
	switch c.Gateway {
	case peer.GatewayAuto, peer.GatewayAlways, peer.GatewayNever:
	default:
		errs = append(errs, fmt.Errorf("gateway %.40q: must be auto, always or never", c.Gateway))
	}
	for region, cost := range c.LinkCosts {
		if !peer.ValidRegion(region) || cost < 0 {
			errs = append(errs, fmt.Errorf("link cost %.80q=%d: want a region's name and a number that is not negative", region, cost))
		}
	}
	if c.RegionBuffer < 0 || c.Buffer < 0 || c.TTL < 0 {
		errs = append(errs, errors.New("buffers and their time must not be negative"))
	}
	if c.TTL > flow.MaxTTL {
		errs = append(errs, fmt.Errorf("events cannot be kept for a region for %v: at most %v, or others could not tell what they have had", c.TTL, flow.MaxTTL))
	}
	if c.DataDir == "" {
		errs = append(errs, errors.New("no data directory"))
	}
	if c.Conn == nil {
		errs = append(errs, errors.New("no socket for the mesh port"))
	} else if !c.Advertise.IsValid() {
		addr, err := advertised(c.Conn.LocalAddr())
		if err != nil {
			errs = append(errs, err)
		}
		c.Advertise = addr
	}
	for _, s := range c.Seeds {
		if _, _, err := net.SplitHostPort(s); err != nil {
			errs = append(errs, fmt.Errorf("seed %.120q: want host:port, such as 10.0.0.5:7420", s))
		}
	}
	if t := c.TLS; t != nil && (t.CA == "" || t.Cert == "" || t.Key == "") {
		errs = append(errs, errors.New("an outside PKI needs all three of CA, certificate and key"))
	}
	if err := errors.Join(errs...); err != nil {
		return c, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return c, nil
}

// advertised is a socket's address as others may reach it: its own, or this
// host's first address that is not a loopback one where the socket listens on
// all of them.
func advertised(a net.Addr) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return ap, fmt.Errorf("the mesh port's address %s: %w", a, err)
	}
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	if !ap.Addr().IsUnspecified() {
		return ap, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ap, fmt.Errorf("find an address to advertise: %w", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			if ip, ok := netip.AddrFromSlice(n.IP.To4()); ok {
				return netip.AddrPortFrom(ip, ap.Port()), nil
			}
		}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port()), nil
}
