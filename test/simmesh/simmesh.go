// Package simmesh runs a whole mesh in one test: real nodes with their gossip,
// QUIC links and routing, on a simulated packet network and clock. Use it
// inside a testing/synctest bubble, where waiting costs nothing and every
// goroutine left behind fails the test.
package simmesh

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport"
)

// Config says what mesh to make.
type Config struct {
	Regions []int         // nodes per region; region i is called "r<i>"
	LAN     time.Duration // one way inside a region; default 500 µs
	WAN     time.Duration // one way between regions; default 40 ms
	Apart   [][2]string   // pairs of regions that never reach each other
	Seed    uint64        // of packet loss
	NAT     []int         // nodes that are reached only by whom they have sent something to
	Log     *slog.Logger  // default: discarded
	// Node changes a node's configuration before each of its starts.
	Node func(i int, cfg *node.Config)
}

// Mesh is a set of nodes on one simulated network. Node i is Nodes[i]; nodes
// are numbered region by region. A crashed or left node's entry is nil.
type Mesh struct {
	Nodes []*node.Node

	t     *testing.T
	cfg   Config
	net   *network
	specs []spec
	key   string
	dirs  string // has a data directory for each node
}

// spec is what stays of a node over its restarts.
type spec struct {
	region string
	addr   *net.UDPAddr
	conn   net.PacketConn
	dir    string
}

// New founds the mesh with the first node and joins the others to it, through
// the first node of any region before, and waits until all are ready. The test closes it by itself.
func New(t *testing.T, cfg Config) *Mesh {
	t.Helper()
	if cfg.LAN == 0 {
		cfg.LAN = 500 * time.Microsecond
	}
	if cfg.WAN == 0 {
		cfg.WAN = 40 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Mesh{t: t, cfg: cfg, net: newNetwork(cfg.Seed, cfg.LAN, cfg.WAN), key: filepath.Join(t.TempDir(), "mesh.key")}
	if err := os.WriteFile(m.key, []byte(transport.NewKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	m.dirs = t.TempDir()
	t.Cleanup(m.close)
	for r, count := range cfg.Regions {
		for range count {
			m.Add(fmt.Sprintf("r%d", r))
		}
	}
	for i := range m.Nodes {
		m.WaitReady(i)
	}
	return m
}

// Add starts one more node in a region, which may be a new one, and returns its
// number. It does not wait until the node is ready.
func (m *Mesh) Add(region string) int {
	m.t.Helper()
	i := len(m.specs)
	m.specs = append(m.specs, spec{
		region: region,
		addr:   &net.UDPAddr{IP: net.IPv4(10, 0, byte(i>>8), byte(i)).To4(), Port: 7420},
		dir:    filepath.Join(m.dirs, fmt.Sprint(i)),
	})
	m.Nodes = append(m.Nodes, nil)
	if slices.Contains(m.cfg.NAT, i) {
		m.net.rt.nat[m.specs[i].addr.String()] = map[string]time.Time{}
	}
	for _, pair := range m.cfg.Apart {
		m.CutRegions(pair[0], pair[1])
	}
	m.Start(i)
	return i
}

// Start opens a node that is not running, with its old data directory.
func (m *Mesh) Start(i int) {
	m.t.Helper()
	s := &m.specs[i]
	s.conn = m.net.endpoint(s.addr, s.region)
	cfg := node.Config{
		Name: fmt.Sprintf("n%d", i), Region: s.region, DataDir: s.dir, Conn: s.conn, KeyFile: m.key,
		Log: m.cfg.Log.With("node", fmt.Sprintf("n%d", i)),
	}
	for j, seed := range m.specs[:i] {
		if j == 0 || seed.region != m.specs[j-1].region {
			cfg.Seeds = append(cfg.Seeds, seed.addr.String())
		}
	}
	if m.cfg.Node != nil {
		m.cfg.Node(i, &cfg)
	}
	n, err := node.Open(context.Background(), cfg)
	if err != nil {
		m.t.Fatalf("open node %d: %v", i, err)
	}
	m.Nodes[i] = n
}

// Dir is a node's data directory.
func (m *Mesh) Dir(i int) string { return m.specs[i].dir }

// WaitReady waits, in simulated time, until a node is ready; a minute at most.
func (m *Mesh) WaitReady(i int) {
	m.t.Helper()
	m.Until(time.Minute, fmt.Sprintf("node %d is ready", i), func() bool { return m.Nodes[i].Ready() == nil })
}

// Until waits, in simulated time, until a condition holds, and returns how
// long that took; the test fails if it does not within the limit.
func (m *Mesh) Until(limit time.Duration, what string, cond func() bool) time.Duration {
	m.t.Helper()
	start := time.Now()
	for !cond() {
		if time.Since(start) > limit {
			m.t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond) // simulated
	}
	return time.Since(start)
}

// Crash takes a node off the network and stops it: its peers hear nothing.
func (m *Mesh) Crash(i int) {
	m.isolate(i, true)
	m.Nodes[i].Close()
	m.Nodes[i] = nil
	m.isolate(i, false)
}

// Leave lets a node leave gracefully.
func (m *Mesh) Leave(i int) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := m.Nodes[i].Leave(ctx); err != nil {
		m.t.Errorf("node %d leaves: %v", i, err)
	}
	m.Nodes[i].Close()
	m.Nodes[i] = nil
}

// CutRegions cuts two regions off from each other, in both directions.
func (m *Mesh) CutRegions(a, b string)  { m.between(a, b, true); m.between(b, a, true) }
func (m *Mesh) HealRegions(a, b string) { m.between(a, b, false); m.between(b, a, false) }

// CutOneWay drops what goes from one region to the other.
func (m *Mesh) CutOneWay(from, to string) { m.between(from, to, true) }

// IsolateRegion cuts a region off from all others; HealRegion undoes it.
func (m *Mesh) IsolateRegion(r string) { m.eachOther(r, m.CutRegions) }
func (m *Mesh) HealRegion(r string)    { m.eachOther(r, m.HealRegions) }

// Isolate cuts a node off from all others; Heal undoes it.
func (m *Mesh) Isolate(i int) { m.isolate(i, true) }
func (m *Mesh) Heal(i int)    { m.isolate(i, false) }

// SetWAN changes how long packets take between regions, one way.
func (m *Mesh) SetWAN(d time.Duration) {
	m.net.rt.mu.Lock()
	defer m.net.rt.mu.Unlock()
	m.net.rt.wan = d
}

// SetLoss makes a share of the packets between regions disappear.
func (m *Mesh) SetLoss(share float64) {
	m.net.rt.mu.Lock()
	defer m.net.rt.mu.Unlock()
	m.net.rt.loss = share
}

// Crossed is how many bytes of packets nodes of one region have sent to those of
// another.
func (m *Mesh) Crossed(from, to string) uint64 {
	m.net.rt.mu.Lock()
	defer m.net.rt.mu.Unlock()
	return m.net.rt.crossed[[2]string{from, to}]
}

func (m *Mesh) eachOther(r string, do func(a, b string)) {
	done := map[string]bool{r: true}
	for _, s := range m.specs {
		if !done[s.region] {
			done[s.region] = true
			do(r, s.region)
		}
	}
}

func (m *Mesh) between(from, to string, cut bool) {
	for _, a := range m.specs {
		for _, b := range m.specs {
			if a.region == from && b.region == to {
				m.net.rt.setCut(a.addr.String(), b.addr.String(), cut)
			}
		}
	}
}

func (m *Mesh) isolate(i int, cut bool) {
	for j := range m.specs {
		if j != i {
			a, b := m.specs[i].addr.String(), m.specs[j].addr.String()
			m.net.rt.setCut(a, b, cut)
			m.net.rt.setCut(b, a, cut)
		}
	}
}

func (m *Mesh) close() {
	for i, n := range m.Nodes {
		if n != nil {
			if err := n.Close(); err != nil {
				m.t.Errorf("close node %d: %v", i, err)
			}
		}
	}
	time.Sleep(30 * time.Second) // simulated: memberlist does not wait for its probes
	m.net.close()
}
