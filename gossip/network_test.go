package gossip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// memory is a network in memory: packets take 0.5 to 1.5 ms, one in a hundred
// is lost, and hosts can be cut from each other.
type memory struct {
	mu    sync.Mutex // guards the fields below
	hosts map[netip.AddrPort]*host
	side  map[netip.AddrPort]int // hosts of different sides do not reach each other
}

func newMemory() *memory {
	return &memory{hosts: map[netip.AddrPort]*host{}, side: map[netip.AddrPort]int{}}
}

// host is one node's Network.
type host struct {
	m       *memory
	addr    netip.AddrPort
	packets chan datagram
	streams chan net.Conn
	ctx     context.Context
	cancel  context.CancelFunc
}

type datagram struct {
	b    []byte
	from netip.AddrPort
}

func (m *memory) host(addr netip.AddrPort) *host {
	h := &host{m: m, addr: addr, packets: make(chan datagram, 512), streams: make(chan net.Conn, 64)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	m.mu.Lock()
	m.hosts[addr] = h
	m.mu.Unlock()
	return h
}

// reach is the host at an address, or nil when it is cut off or not there.
func (m *memory) reach(from, to netip.AddrPort) *host {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.side[from] != m.side[to] {
		return nil
	}
	return m.hosts[to]
}

func (m *memory) setSide(addr netip.AddrPort, side int) {
	m.mu.Lock()
	m.side[addr] = side
	m.mu.Unlock()
}

func (h *host) WritePacket(b []byte, to netip.AddrPort) error {
	if h.ctx.Err() != nil {
		return net.ErrClosed
	}
	if len(b) > 1451 {
		return fmt.Errorf("packet of %d bytes", len(b))
	}
	dst := h.m.reach(h.addr, to)
	if dst == nil || rand.IntN(100) == 0 {
		return nil
	}
	d := datagram{append([]byte(nil), b...), h.addr}
	time.AfterFunc(500*time.Microsecond+rand.N(time.Millisecond), func() {
		select {
		case dst.packets <- d:
		default:
		}
	})
	return nil
}

func (h *host) ReadPacket(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-h.packets:
		return copy(b, d.b), d.from, nil
	case <-h.ctx.Done():
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (h *host) DialAddr(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	dst := h.m.reach(h.addr, to)
	if dst == nil {
		<-ctx.Done() // as a dial into the void does
		return nil, ctx.Err()
	}
	time.Sleep(2 * time.Millisecond)
	here, there := net.Pipe()
	context.AfterFunc(dst.ctx, func() { there.Close() }) // also what nobody has accepted
	select {
	case dst.streams <- addrConn{there, h.addr}:
		return addrConn{here, to}, nil
	case <-dst.ctx.Done():
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type addrConn struct {
	net.Conn
	remote netip.AddrPort
}

func (c addrConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.streams:
		return c, nil
	case <-h.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (h *host) Close() error {
	h.cancel()
	h.m.mu.Lock()
	if h.m.hosts[h.addr] == h {
		delete(h.m.hosts, h.addr)
	}
	h.m.mu.Unlock()
	return nil
}

// watch is an observer that writes down what it is told.
type watch struct {
	mu     sync.Mutex // guards the fields below
	alive  map[peer.ID]peer.Peer
	left   map[peer.ID]bool
	gone   map[peer.ID]time.Time
	rumors map[peer.ID]string
}

func newWatch() *watch {
	return &watch{alive: map[peer.ID]peer.Peer{}, left: map[peer.ID]bool{}, gone: map[peer.ID]time.Time{}, rumors: map[peer.ID]string{}}
}

func (w *watch) PeerAlive(p peer.Peer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alive[p.ID] = p
	delete(w.left, p.ID)
	delete(w.gone, p.ID)
}

func (w *watch) PeerGone(id peer.ID, left bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.alive, id)
	w.left[id] = left
	w.gone[id] = time.Now()
}

func (w *watch) Rumor(from peer.ID, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rumors[from] = string(body)
}

// member is a node of a test's mesh.
type member struct {
	*Gossip
	*watch
	addr netip.AddrPort
}

func testAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 7420)
}

func testKey(b byte) []byte {
	k := make([]byte, 32)
	k[0] = b
	return k
}

// start starts node i with node 0 as its seed, unless change says otherwise.
func start(t *testing.T, m *memory, i int, change func(*Config)) *member {
	t.Helper()
	w := newWatch()
	cfg := Config{
		Self: peer.Peer{
			ID: peer.ID(fmt.Sprintf("n%03d", i)), Name: fmt.Sprintf("node-%d", i), Region: "eu",
			Addr: testAddr(i), HTTP: "127.0.0.1:8420", Boot: 1,
		},
		MeshID: "mesh-a", Keys: [][]byte{testKey(1)}, Observer: w,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if i > 0 {
		cfg.Seeds = []string{testAddr(0).String()}
	}
	if change != nil {
		change(&cfg)
	}
	cfg.Network = m.host(cfg.Self.Addr)
	g, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &member{g, w, cfg.Self.Addr}
}

// closeAll closes the members and lets memberlist's last timers run out.
func closeAll(t *testing.T, all []*member) {
	t.Helper()
	var wg sync.WaitGroup
	for _, m := range all {
		wg.Go(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	time.Sleep(time.Minute)
}

// within waits, in simulated time, until a condition holds, and says how long
// that took.
func within(t *testing.T, d time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > d {
			t.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(began)
}
