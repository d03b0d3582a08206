package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

// recorder is a Handler that keeps what it is told and checks its promises.
type recorder struct {
	t *testing.T

	mu      sync.Mutex // guards the fields below
	changed chan struct{}
	story   []string // "up <id>" and "down <id>: <reason>"
	up      map[peer.ID]bool
	frames  []string // "<id> <kind> <body>"
	records []string // "<id> <envelope>"
	bytes   int
	rooms   int // calls of HandleRoom
	onCall  func(ctx context.Context, from peer.Peer, kind wire.Kind, body []byte) ([]byte, error)
	hold    chan struct{} // HandleBatch waits for it when set
}

func newRecorder(t *testing.T) *recorder {
	return &recorder{t: t, changed: make(chan struct{}), up: map[peer.ID]bool{}}
}

func (r *recorder) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) LinkUp(p peer.Peer) {
	r.change(func() {
		if r.up[p.ID] {
			r.t.Errorf("LinkUp(%s) twice", p.ID)
		}
		r.up[p.ID] = true
		r.story = append(r.story, "up "+string(p.ID))
	})
}

func (r *recorder) LinkDown(id peer.ID, reason string) {
	r.change(func() {
		if !r.up[id] {
			r.t.Errorf("LinkDown(%s) without LinkUp", id)
		}
		r.up[id] = false
		r.story = append(r.story, "down "+string(id)+": "+reason)
	})
}

func (r *recorder) HandleControl(from peer.ID, kind wire.Kind, body []byte) {
	r.change(func() {
		if !r.up[from] {
			r.t.Errorf("a frame of %s while it is down", from)
		}
		r.frames = append(r.frames, fmt.Sprintf("%s %#x %s", from, kind, body))
	})
}

func (r *recorder) HandleCall(ctx context.Context, from peer.Peer, kind wire.Kind, body []byte) ([]byte, error) {
	if r.onCall != nil {
		return r.onCall(ctx, from, kind, body)
	}
	if string(body) == "fail" {
		return nil, errors.New("as you wish")
	}
	return fmt.Appendf(nil, "%s said %#x %s", from.ID, kind, body), nil
}

func (r *recorder) HandleBatch(from peer.ID, records []byte) {
	if r.hold != nil {
		<-r.hold
	}
	r.change(func() {
		if !r.up[from] {
			r.t.Errorf("a batch of %s while it is down", from)
		}
		for len(records) > 0 {
			rec, n, err := wire.ReadRecord(records)
			if err != nil {
				r.t.Errorf("batch of %s: %v", from, err)
				return
			}
			records = records[n:]
			r.bytes += len(rec.Body)
			r.records = append(r.records, fmt.Sprintf("%s %s", from, rec.Body[:min(len(rec.Body), 40)]))
		}
	})
}

func (r *recorder) HandleRoom(peer.ID) { r.change(func() { r.rooms++ }) }

// put offers a record until it is taken.
func put(t *testing.T, n *node, to peer.ID, rec *wire.Record) error {
	t.Helper()
	for {
		n.recorder.mu.Lock()
		rooms := n.rooms
		n.recorder.mu.Unlock()
		err := n.Offer(to, 0, rec, 1)
		if err != ErrLinkFull {
			return err
		}
		n.wait("room", func() bool { return n.rooms > rooms })
	}
}

// wait waits until cond, which may read the recorder's fields, holds.
func (r *recorder) wait(what string, cond func() bool) {
	r.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		ok, changed := cond(), r.changed
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			r.mu.Lock()
			defer r.mu.Unlock()
			r.t.Fatalf("waited in vain for %s; log: %v", what, r.story)
		}
	}
}

func (r *recorder) waitUp(id peer.ID) {
	r.t.Helper()
	r.wait("a link to "+string(id), func() bool { return r.up[id] })
}

func (r *recorder) waitDown(id peer.ID) {
	r.t.Helper()
	r.wait("no link to "+string(id), func() bool { return !r.up[id] })
}

// history is what was logged so far.
func (r *recorder) history() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.story)
}

// node is an endpoint under test.
type node struct {
	*Endpoint
	*recorder
	logs *logBuffer
	peer peer.Peer
}

// logBuffer is where a node logs to.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var testKey = mustKeys(keyPrefix + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")

func mustKeys(lines ...string) []Key {
	keys, err := ParseKeys([]byte(strings.Join(lines, "\n")))
	if err != nil {
		panic(err)
	}
	return keys
}

func mustIdentity(t testing.TB, keys []Key) *Identity {
	t.Helper()
	id, err := NewIdentity(keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// open starts an endpoint on conn. Options change its config.
func open(t *testing.T, conn net.PacketConn, id peer.ID, options ...func(*Config)) *node {
	t.Helper()
	addr := addrPort(conn.LocalAddr())
	n := &node{recorder: newRecorder(t), logs: &logBuffer{}}
	n.peer = peer.Peer{ID: id, Name: "node-" + string(id), Region: "eu/" + string(id), Addr: addr, Boot: 1}
	cfg := Config{Conn: conn, Self: n.peer, MeshID: "m1", Handler: n.recorder, Log: slog.New(slog.NewTextHandler(n.logs, nil))}
	for _, option := range options {
		option(&cfg)
	}
	if cfg.Identity == nil {
		cfg.Identity = mustIdentity(t, testKey)
	}
	n.peer = cfg.Self
	e, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Endpoint = e
	t.Cleanup(func() { e.Close() })
	return n
}

// unrepaired has a node do without package repair, so that QUIC meets the losses.
func unrepaired(c *Config) { c.unrepaired = true }

// loopback is a real UDP socket.
func loopback(t testing.TB) net.PacketConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// network is a simulated one, for use in a bubble. Directions can be cut.
type network struct {
	simnet.PerfectRouter
	t       *testing.T
	latency time.Duration

	mu  sync.Mutex
	cut map[[2]string]bool
	// drop, when set, is asked about each packet.
	drop func(p simnet.Packet) bool
}

func newNetwork(t *testing.T, latency time.Duration, n int) (*network, []net.PacketConn) {
	w := &network{t: t, latency: latency, cut: map[[2]string]bool{}}
	var conns []net.PacketConn
	for i := range n {
		conns = append(conns, w.attach(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 7420)))
	}
	return w, conns
}

// attach gives the network a socket at addr, in place of one that was there.
func (w *network) attach(addr netip.AddrPort) net.PacketConn {
	link := &simnet.SimulatedLink{Latency: w.latency, UploadPacket: w}
	conn := simnet.NewBlockingSimConn(udpAddr(addr), link)
	link.Start()
	w.AddNode(udpAddr(addr), link)
	w.t.Cleanup(func() { link.Close() })
	return conn
}

func (w *network) SendPacket(p simnet.Packet) error {
	w.mu.Lock()
	drop := w.cut[[2]string{p.From.String(), p.To.String()}] || w.drop != nil && w.drop(p)
	w.mu.Unlock()
	if drop {
		return nil
	}
	return w.PerfectRouter.SendPacket(p)
}

// setCut cuts, or heals, the way from a to b.
func (w *network) setCut(a, b netip.AddrPort, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]string{a.String(), b.String()}] = cut
}

func (w *network) setBoth(a, b netip.AddrPort, cut bool) {
	w.setCut(a, b, cut)
	w.setCut(b, a, cut)
}

func (w *network) setDrop(drop func(p simnet.Packet) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop = drop
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
