// Package realmesh runs a whole mesh of real processes in one test: the skein
// binary on loopback, a process a node, with a wan.Emulator between them whose
// conditions and cuts a script directs. Processes can be killed, stopped and
// started again with the data they had.
//
// What virtual time shows is shown in package simmesh, a thousand times faster.
// Here is what only processes can show: signals, sockets, disks, and clocks that
// run while others work. Nothing is waited for by time alone, and what is waited
// for has generous deadlines, since the machine may be busy.
//
// Goroutines: one a running process, which reads what it prints and waits for
// its end, and one a running script. The end of the test waits for all.
package realmesh

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/test/wan"
)

// Patience is how long anything that a mesh must reach may take. It is no
// promise of the mesh's, only what tells a slow machine from a broken mesh.
const Patience = time.Minute

// Region is a region and how many nodes it has.
type Region struct {
	Name  string
	Nodes int
	Flags []string // of its nodes, besides those that all have
}

// Mesh is a set of processes on one emulated network. They are numbered region
// by region; the first founds the mesh and is the others' seed.
type Mesh struct {
	WAN   *wan.Emulator
	Nodes []*Node

	t      testing.TB
	binary string
	dir    string
	wg     sync.WaitGroup // of scripts
}

// Binary builds the skein command and returns its path, which is good until
// the test ends.
func Binary(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "skein")
	build := exec.Command("go", "build", "-o", path, "github.com/skeinmesh/skein/cmd/skein")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build skein: %v\n%s", err, out)
	}
	return path
}

// New starts a node of the binary for each of the regions' and returns once all
// are ready and linked to all others. The test ends them by itself, and shows
// the last lines of their logs if it failed. The seed decides which packets
// suffer.
func New(t testing.TB, binary string, seed uint64, regions ...Region) *Mesh {
	t.Helper()
	m := &Mesh{WAN: wan.New(seed), t: t, binary: binary, dir: t.TempDir()}
	t.Cleanup(func() {
		m.end()
		m.wg.Wait()
		if err := m.WAN.Close(); err != nil {
			t.Errorf("close the network: %v", err)
		}
	})
	if out, err := exec.Command(binary, "key", "new", "--out", m.keyFile()).CombinedOutput(); err != nil {
		t.Fatalf("make a key: %v\n%s", err, out)
	}
	var held []net.PacketConn // until all have one, so that none gets two
	for _, r := range regions {
		for i := range r.Nodes {
			held = append(held, m.place(r.Name, i+1))
			m.Nodes[len(m.Nodes)-1].flags = r.Flags
		}
	}
	for _, port := range held {
		if err := port.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range m.Nodes {
		m.launch(i)
		if i == 0 { // whom the others ask
			m.Nodes[i].awaitReady()
		}
	}
	for _, n := range m.Nodes[1:] {
		n.awaitReady()
	}
	m.AwaitWhole()
	return m
}

// place gives one more node its place, and holds the port that it will have.
func (m *Mesh) place(region string, number int) (held net.PacketConn) {
	m.t.Helper()
	port, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	n := &Node{Name: fmt.Sprintf("%s-%d", region, number), Region: region, Binary: m.binary, t: m.t}
	n.listen = port.LocalAddr().(*net.UDPAddr).AddrPort()
	if n.advertise, err = m.WAN.Attach(region, n.listen); err != nil {
		m.t.Fatal(err)
	}
	n.logFile = filepath.Join(m.dir, n.Name+".log")
	m.Nodes = append(m.Nodes, n)
	return port
}

// Add starts the first node of one more region, of some binary, and returns it once
// it is ready.
func (m *Mesh) Add(region, binary string) *Node {
	m.t.Helper()
	if err := m.place(region, 1).Close(); err != nil {
		m.t.Fatal(err)
	}
	i := len(m.Nodes) - 1
	m.Nodes[i].Binary = binary
	m.Start(i)
	return m.Nodes[i]
}

// Dir is the data directory of a node.
func (m *Mesh) Dir(n *Node) string { return filepath.Join(m.dir, n.Name) }

// Start starts a node that was killed or has left, as before, and returns once
// it is ready.
func (m *Mesh) Start(i int) {
	m.t.Helper()
	m.launch(i)
	m.Nodes[i].awaitReady()
}

// Launch starts a node as Start does and does not wait: after all were killed, none
// may be ready before others run.
func (m *Mesh) Launch(i int) {
	m.t.Helper()
	m.launch(i)
}

// AwaitReady waits until all nodes that were launched are ready.
func (m *Mesh) AwaitReady() {
	m.t.Helper()
	for _, n := range m.Running() {
		n.awaitReady()
	}
}

// AwaitReadyOf waits until a node that was launched is ready.
func (m *Mesh) AwaitReadyOf(i int) {
	m.t.Helper()
	m.Nodes[i].awaitReady()
}

func (m *Mesh) keyFile() string { return filepath.Join(m.dir, "mesh.key") }

// seed is the address that joining nodes are told.
func (m *Mesh) seed() netip.AddrPort { return m.Nodes[0].advertise }

func (m *Mesh) launch(i int) {
	m.t.Helper()
	n := m.Nodes[i]
	args := []string{
		"serve", "--json", "--with-stdin", "--name", n.Name, "--region", n.Region, "--key-file", m.keyFile(),
		"--data-dir", m.Dir(n), "--http", "127.0.0.1:0",
		"--listen", n.listen.String(), "--advertise", n.advertise.String(),
	}
	if i > 0 {
		args = append(args, "--seeds", m.seed().String())
	}
	n.launch(n.Binary, append(args, n.flags...))
}

// Running lists the nodes whose processes run.
func (m *Mesh) Running() (list []*Node) {
	for _, n := range m.Nodes {
		if n.Running() {
			list = append(list, n)
		}
	}
	return list
}

// AwaitWhole waits until every running node is linked to every other, and knows
// nobody else.
func (m *Mesh) AwaitWhole() {
	m.t.Helper()
	all := m.Running()
	m.AwaitLinked(all...)
	m.Until(fmt.Sprintf("nobody knows more than %d nodes", len(all)), func() bool { return know(all, len(all)) })
}

// Whole reports whether every running node is linked to every other, and knows
// nobody else.
func (m *Mesh) Whole() bool {
	all := m.Running()
	return linked(all) && know(all, len(all))
}

// know reports whether each of some nodes knows so many.
func know(nodes []*Node, count int) bool {
	for _, n := range nodes {
		if len(n.Peers()) != count {
			return false
		}
	}
	return true
}

// AwaitLinked waits until each of some nodes is linked to the others.
func (m *Mesh) AwaitLinked(nodes ...*Node) {
	m.t.Helper()
	m.Until(fmt.Sprintf("each of %d nodes is linked to the others", len(nodes)), func() bool { return linked(nodes) })
}

// linked reports whether each of some nodes has a link to the others.
func linked(nodes []*Node) bool {
	for _, n := range nodes {
		linked := map[string]bool{n.ID: true}
		for _, v := range n.Peers() {
			linked[v.ID] = linked[v.ID] || v.State == "up"
		}
		for _, other := range nodes {
			if !linked[other.ID] {
				return false
			}
		}
	}
	return true
}

// Until waits for a condition; the test fails if it does not come to hold
// within Patience.
func (m *Mesh) Until(what string, holds func() bool) {
	m.t.Helper()
	m.UntilWithin(Patience, what, holds)
}

// UntilWithin is Until with a limit of its own.
func (m *Mesh) UntilWithin(limit time.Duration, what string, holds func() bool) {
	m.t.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			m.t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Run directs the network by a script (see wan.Script) until its last line.
func (m *Mesh) Run(script string) {
	m.t.Helper()
	if err := <-m.Begin(script); err != nil {
		m.t.Fatal(err)
	}
}

// Begin is Run that does not wait: the channel tells how the script ended.
func (m *Mesh) Begin(script string) (over <-chan error) {
	m.t.Helper()
	s, err := wan.Parse(script)
	if err != nil {
		m.t.Fatal(err)
	}
	ended := make(chan error, 1)
	m.wg.Go(func() { ended <- m.WAN.Run(m.t.Context(), s) })
	return ended
}

// end lets the nodes leave one after the other, each while the rest can hear it.
func (m *Mesh) end() {
	for _, n := range m.Running() {
		if err := n.Terminate(); err != nil {
			m.t.Errorf("%s ended with %v", n.Name, err)
		}
	}
	if m.t.Failed() {
		for _, n := range m.Nodes {
			m.t.Logf("the log of %s ends:\n%s", n.Name, n.logTail())
		}
	}
}
