package client

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
)

// Option changes a Client's settings.
type Option func(*settings) error

type settings struct {
	token       string
	tls         *tls.Config
	keyFile     string
	pki         *transport.PKI
	namespace   string
	agent       string
	events      int // window
	bytes       int
	log         *slog.Logger
	maxPause    time.Duration // between tries to connect again; 0: never again
	atLeastOnce bool
	overflow    string
	positions   bool
	durability  Durability
}

// Durability is how safe an event that streams want is when it is acknowledged.
type Durability string

const (
	Routed Durability = "routed" // on its way to who keeps it: it may be lost
	Leader Durability = "leader" // on the disk of the partition's leader; nodes reach Quorum instead
	Quorum Durability = "quorum" // on the disks of most replicas
)

// WithDurability sets how safe the client's events shall be when they are
// acknowledged. Nodes may do more than is asked: Ack.Positions tells, with
// WithPositions. Default: Quorum.
func WithDurability(d Durability) Option {
	return func(s *settings) error {
		switch d {
		case Routed, Leader, Quorum:
			s.durability = d
			return nil
		}
		return fmt.Errorf("client: durability %.40q: want routed, leader or quorum", d)
	}
}

// Overflow says what becomes of events for which there is no room, because a
// region takes in less than is published. What a stream keeps is published in any
// case, with Block after the wait, and who has no room for it is told a gap.
type Overflow string

const (
	DropOldest Overflow = "drop_oldest" // the oldest go, and a gap tells
	DropNewest Overflow = "drop_newest" // the newest are not sent there, and a gap tells
	Block      Overflow = "block"       // publishing waits a while, and then fails with ErrOverloaded
)

// WithOverflow sets what becomes of the client's events for which there is no
// room. Default: what the node says, which is DropOldest unless it was told
// otherwise.
func WithOverflow(o Overflow) Option {
	return func(s *settings) error {
		switch o {
		case DropOldest, DropNewest, Block:
			s.overflow = string(o)
			return nil
		}
		return fmt.Errorf("client: overflow %.40q: want drop_oldest, drop_newest or block", o)
	}
}

// Defaults.
const (
	DefaultWindowEvents = 16384
	DefaultWindowBytes  = 4 << 20
	DefaultMaxPause     = 5 * time.Second
	DefaultBuffer       = 4 << 20 // bytes a subscription holds for its handler
)

// WithToken sends a bearer token, as nodes with tokens want it over HTTP.
func WithToken(token string) Option {
	return func(s *settings) error { s.token = token; return nil }
}

// WithTLS sets what is trusted, and how the client names itself, over https.
func WithTLS(config *tls.Config) Option {
	return func(s *settings) error { s.tls = config.Clone(); return nil }
}

// WithKeyFile names the file with the mesh key, which quic addresses need.
func WithKeyFile(file string) Option {
	return func(s *settings) error { s.keyFile = file; return nil }
}

// WithPKI names the files of an outside PKI, for quic addresses of a mesh
// whose certificates come from there.
func WithPKI(ca, cert, key string) Option {
	return func(s *settings) error { s.pki = &transport.PKI{CA: ca, Cert: cert, Key: key}; return nil }
}

// WithNamespace sets the namespace of the client's events and subscriptions.
// Default: "default".
func WithNamespace(name string) Option {
	return func(s *settings) error {
		if !peer.ValidName(name) {
			return fmt.Errorf("client: bad namespace %.80q: want 1 to 63 letters, digits, '-', '_' or '.', beginning with a letter or digit", name)
		}
		s.namespace = name
		return nil
	}
}

// WithAgent says who the client is, for people: nodes show it with its
// subscriptions. Default: the program's name and process id.
func WithAgent(name string) Option {
	return func(s *settings) error { s.agent = name; return nil }
}

// WithWindow bounds what is unacknowledged, in events and in bytes: beyond it
// publishing waits. Defaults: DefaultWindowEvents, DefaultWindowBytes.
func WithWindow(events, bytes int) Option {
	return func(s *settings) error {
		if events < 1 || bytes < 1 {
			return fmt.Errorf("client: a window of %d events and %d bytes lets nothing pass", events, bytes)
		}
		s.events, s.bytes = events, bytes
		return nil
	}
}

// WithLogger gets lost and new connections, and gaps that no handler takes.
// Default: slog.Default.
func WithLogger(log *slog.Logger) Option {
	return func(s *settings) error { s.log = log; return nil }
}

// WithReconnect sets the longest pause between tries to connect again; pauses
// grow up to it, with jitter. 0 turns connecting again off: the client ends
// with its connection. Default: DefaultMaxPause.
func WithReconnect(maxPause time.Duration) Option {
	return func(s *settings) error { s.maxPause = maxPause; return nil }
}

// WithAtLeastOnce publishes events again that were not acknowledged when the
// connection broke, in their order, so they may arrive twice. The client keeps
// a copy of what is in its window.
func WithAtLeastOnce() Option {
	return func(s *settings) error { s.atLeastOnce = true; return nil }
}

// WithPositions has the node tell where streams keep what is published: see
// Ack.Positions. A node of before streams tells nothing.
func WithPositions() Option {
	return func(s *settings) error { s.positions = true; return nil }
}
