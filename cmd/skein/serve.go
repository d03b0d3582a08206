package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/node/httpapi"
	"github.com/skeinmesh/skein/node/session"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
)

// serveFlags is what `skein serve` was told.
type serveFlags struct {
	name, region, dataDir string
	listen, advertise     string
	seeds                 []string
	keyFile               string
	pki                   transport.PKI
	http                  httpFlags
	log                   logFlags
	maxEvent              int
	gateway               string
	linkCosts             map[string]int
	overflow              string
	buffer                int
	bufferTime            time.Duration
	logStore              string
	leave                 time.Duration
	withStdin             bool
}

// readyLine is what serve prints when the node has entered its mesh.
type readyLine struct {
	Ready     bool   `json:"ready"`
	Node      string `json:"node"`
	ID        string `json:"id"`
	Region    string `json:"region"`
	Mesh      string `json:"mesh"`
	Listen    string `json:"listen"`
	Advertise string `json:"advertise"`
	HTTP      string `json:"http,omitempty"`
	Founded   bool   `json:"founded"`
	KeyFile   string `json:"keyFile"`
}

const (
	readyEvery = 20 * time.Millisecond // how often readiness is looked at
	patience   = 2 * time.Second       // after which serve says what it waits for
	repeatWhy  = 30 * time.Second      // and says it again
)

func serveCommand(a *app) *cobra.Command {
	s := &serveFlags{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Run a node until it is told to stop. A node without seeds founds a mesh; a node
with seeds joins the one they belong to, and keeps trying while it does not reach
them. SIGTERM or ctrl-c makes it finish what is under way and leave the mesh.

Everything between nodes goes over one UDP port, encrypted and authenticated by
the mesh key. A founding node without --key-file makes one in its data directory.`,
		Example: `  # A mesh of one:
  skein serve

  # A second node, in another region, on another machine:
  skein serve --region us --seeds 10.0.0.5:7420 --key-file mesh.key

  # A node of a second region on the same machine:
  skein serve --name us-1 --region us --data-dir ./us-1 --key-file mesh.key \
    --listen 127.0.0.1:7421 --http 127.0.0.1:8421 --seeds 127.0.0.1:7420`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.serve(cmd.Context(), s)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&s.name, "name", hostName(), "what people call the node")
	f.StringVar(&s.region, "region", "default", "`name` of the region it is in: nodes with LAN latency between them")
	f.StringVar(&s.dataDir, "data-dir", "./skein-data", "`directory` for identity, peers and keys")
	f.StringVar(&s.listen, "listen", ":7420", "UDP `address` of the mesh port")
	f.StringVar(&s.advertise, "advertise", "", "`address` of the mesh port as other nodes reach it (default: the one listened on)")
	f.StringSliceVar(&s.seeds, "seeds", nil, "`addresses` (host:port,...) of nodes of the mesh to join")
	f.StringVar(&s.keyFile, "key-file", "", "`file` with the mesh key (default: mesh.key in the data directory)")
	f.StringVar(&s.pki.CA, "tls-ca", "", "`file` with the CA of an outside PKI for the mesh, in PEM")
	f.StringVar(&s.pki.Cert, "tls-cert", "", "`file` with the node's certificate from it")
	f.StringVar(&s.pki.Key, "tls-key", "", "`file` with the certificate's key")
	s.http.add(cmd)
	f.IntVar(&s.maxEvent, "max-event", 1<<20, "largest event taken, in `bytes`")
	f.StringVar(&s.gateway, "gateway", "auto", "whether the node keeps links to other regions: auto, always or never")
	f.StringToIntVar(&s.linkCosts, "link-cost", nil, "what to add to the cost of links into a `region=cost`, in milliseconds of round trip")
	f.StringVar(&s.overflow, "overflow", string(node.DropOldest), "what becomes of events for which there is no room: drop_oldest, drop_newest or block, unless their publisher says")
	f.IntVar(&s.buffer, "region-buffer", 64<<20, "`bytes` of events kept for each other region until it has acknowledged them")
	f.DurationVar(&s.bufferTime, "region-buffer-time", 10*time.Minute, "`time` that they are kept, at most 1h")
	f.StringVar(&s.logStore, "log-store", string(node.LogJournal), "where what streams keep is logged: journal, one for all, or bolt, a file of raft-boltdb for each replica; for the life of the data directory")
	f.DurationVar(&s.leave, "leave-timeout", 10*time.Second, "`time` that leaving may take")
	s.log.add(cmd, "info")
	f.BoolVar(&s.withStdin, "with-stdin", false, "also stop when standard input ends")
	_ = f.MarkHidden("with-stdin") // fails only for a flag that does not exist
	a.addJSON(cmd)
	return cmd
}

// hostName is the host's name as a node's name may be.
func hostName() string {
	name, err := os.Hostname()
	if name, _, _ = strings.Cut(name, "."); err != nil || !peer.ValidName(name) {
		return "node"
	}
	return name
}

// serve runs a node from the flags until ctx ends, and leaves the mesh.
func (a *app) serve(ctx context.Context, s *serveFlags) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.withStdin {
		go func() { // ends with the input that it watches
			_, _ = io.Copy(io.Discard, a.stdin)
			cancel()
		}()
	}
	log, err := s.log.open(a.err)
	if err != nil {
		return err
	}
	b, err := s.open(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(s.leave)) }()
	if b.await(ctx) {
		if err := a.sayReady(b.line(ctx)); err != nil {
			return err
		}
	}
	<-ctx.Done()
	log.Info("stopping: no new work is taken, then the node leaves the mesh")
	return nil
}

// broker is a node with its faces.
type broker struct {
	flags  *serveFlags
	log    *slog.Logger
	node   *node.Node
	native *session.Server
	face   *httpapi.Server // nil without an HTTP port
	http   string          // URL of the HTTP port
	listen string
}

// open opens sockets first, so that what is in use is said before anything is
// begun, then the node, then its faces.
func (s *serveFlags) open(ctx context.Context, log *slog.Logger) (b *broker, err error) {
	if err := s.http.check(); err != nil {
		return nil, err
	}
	var tokens []httpapi.Token
	if s.http.tokenFile != "" {
		if tokens, err = loadTokens(s.http.tokenFile); err != nil {
			return nil, err
		}
	}
	config, err := s.http.tls()
	if err != nil {
		return nil, err
	}
	conn, advertise, err := s.meshPort(ctx)
	if err != nil {
		return nil, err
	}
	var port net.Listener
	if !s.http.off() {
		if port, err = s.http.listen(); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	b = &broker{flags: s, log: log, http: s.http.url(port), listen: conn.LocalAddr().String()}
	cfg := node.Config{
		Name: s.name, Region: s.region, DataDir: s.dataDir, Conn: conn, Advertise: advertise,
		HTTP: s.http.hostPort(port), Seeds: s.seeds, KeyFile: s.keyFile, Log: log,
		Gateway: gatewayOf(s.gateway), LinkCosts: s.linkCosts, Overflow: node.Overflow(s.overflow), RegionBuffer: s.buffer, TTL: s.bufferTime, LogStore: node.LogStore(s.logStore),
	}
	if s.pki != (transport.PKI{}) {
		cfg.TLS = &s.pki
	}
	if b.node, err = node.Open(ctx, cfg); err != nil {
		if port != nil {
			err = errors.Join(err, port.Close())
		}
		if errors.Is(err, node.ErrConfig) {
			err = &usageError{err}
		}
		return nil, err
	}
	b.openFaces(port, config, tokens)
	if b.node.Founded() && s.keyFile == "" {
		log.Info("founded a mesh and made its key; the next node needs a copy of the key and the address of this one",
			"key", b.node.KeyFile(), "next", "skein serve --region NAME --key-file mesh.key --seeds "+b.node.Self().Addr.String())
	}
	return b, nil
}

// openFaces serves the native protocol on both ports, and HTTP where there is
// a port for it.
func (b *broker) openFaces(port net.Listener, config *tls.Config, tokens []httpapi.Token) {
	b.native = session.Open(session.Of(b.node), session.Config{Self: b.node.Self(), MaxEvent: b.flags.maxEvent, Log: b.log})
	b.native.Accept(b.node.Clients())
	if port == nil {
		return
	}
	api := httpapi.New(httpapi.Config{
		Broker: b.node, Inspector: b.node, Streams: b.node, Native: b.native, Tokens: tokens, MaxEvent: b.flags.maxEvent, Log: b.log,
	})
	b.face = httpapi.OpenServer(httpapi.ServerConfig{API: api, Listeners: []net.Listener{port}, TLS: config, Log: b.log})
}

// close stops in the order in which others depend on it: the faces first, so
// that nothing new comes; then the node leaves, so that its peers stop routing
// to it; then it closes.
func (b *broker) close(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var errs []error
	if b.face != nil {
		errs = append(errs, b.face.Shutdown(ctx))
	}
	errs = append(errs, b.native.Close())
	// A mesh that did not hear the farewell, because it leaves as well or is
	// cut off, finds out by itself: that is no failure of this node.
	if err := b.node.Leave(ctx); err != nil {
		b.log.Warn("not everything was said before the node left", "err", err)
	}
	return errors.Join(append(errs, b.node.Close())...)
}

// gatewayOf is a role as the mesh names it.
func gatewayOf(flag string) peer.Gateway {
	if flag == "auto" {
		return peer.GatewayAuto
	}
	return peer.Gateway(flag)
}

// meshPort opens the UDP socket and resolves what is advertised for it; the
// zero address leaves that to the node.
func (s *serveFlags) meshPort(ctx context.Context) (net.PacketConn, netip.AddrPort, error) {
	var advertise netip.AddrPort
	conn, err := net.ListenPacket("udp", s.listen)
	if err != nil {
		return nil, advertise, fmt.Errorf("mesh port: %w", portError(s.listen+"/udp", "--listen", err))
	}
	if s.advertise == "" {
		return conn, advertise, nil
	}
	host, port, err := net.SplitHostPort(s.advertise)
	if err != nil { // without a port it is the one listened on
		_, own, _ := net.SplitHostPort(conn.LocalAddr().String())
		host, port = s.advertise, own
	}
	addr, err := resolve(ctx, host, port)
	if err != nil {
		return nil, advertise, errors.Join(fmt.Errorf("--advertise %s: %w", s.advertise, err), conn.Close())
	}
	return conn, addr, nil
}

func resolve(ctx context.Context, host, port string) (netip.AddrPort, error) {
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(number)), nil
}

// await reports whether the node became ready before ctx ended. While the node
// waits for something, it is said what for.
func (b *broker) await(ctx context.Context) bool {
	clock := time.NewTicker(readyEvery)
	defer clock.Stop()
	said := time.Now().Add(patience - repeatWhy)
	for {
		why := b.node.Ready()
		if why == nil {
			return true
		}
		if now := time.Now(); now.Sub(said) >= repeatWhy {
			said = now
			b.log.Warn("still trying to enter the mesh", "why", why, "seeds", strings.Join(b.flags.seeds, ","))
		}
		select {
		case <-ctx.Done():
			return false
		case <-clock.C:
		}
	}
}

func (b *broker) line(ctx context.Context) readyLine {
	self := b.node.Self()
	return readyLine{
		Ready: true, Node: self.Name, ID: string(self.ID), Region: self.Region, Mesh: b.node.Topology(ctx).Mesh,
		Listen: b.listen, Advertise: self.Addr.String(), HTTP: b.http,
		Founded: b.node.Founded(), KeyFile: b.node.KeyFile(),
	}
}

func (a *app) sayReady(l readyLine) error {
	if a.json {
		return a.out.json(l)
	}
	face := "no HTTP port"
	if l.HTTP != "" {
		face = l.HTTP
	}
	a.out.printf("ready: node %s in region %s of mesh %s, mesh port %s, %s\n", l.Node, l.Region, l.Mesh, l.Advertise, face)
	return nil
}
