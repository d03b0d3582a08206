package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/skeinmesh/skein/transport"
)

// demoMesh is the demo's mesh: every node a process of this same binary, on
// loopback, with the relay as the network between them.
//
// Goroutines: one a node, which reads what the process prints and waits for
// its end. stop waits for them.
type demoMesh struct {
	dir   string
	relay *relay
	nodes []*demoNode
	wg    sync.WaitGroup
}

// demoNode is one process of the demo.
type demoNode struct {
	name, region string
	port         netip.AddrPort // its mesh port; others know the relay's door
	http         string         // host:port
	cmd          *exec.Cmd
	stdin        io.WriteCloser // the process ends when this closes, so none outlives the demo
	ready        chan readyLine // gets one line when the node is ready
	gone         chan struct{}  // closed when the process has ended
	err          error          // how it ended; to be read once gone is closed
}

// server is the node's URL for client commands.
func (n *demoNode) server() string { return "http://" + n.http }

const (
	demoReady = 20 * time.Second // how long nodes may take to be ready
	demoLeave = 20 * time.Second // and to leave, all of them
)

// demoPlan is the shape of the demo's mesh: each region, and its nodes.
var demoPlan = []string{"eu", "us", "ap"}

const demoNodesPerRegion = 2

// startDemoMesh starts all nodes and returns when each says it is ready.
func startDemoMesh(ctx context.Context) (m *demoMesh, err error) {
	m = &demoMesh{}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.stop())
		}
	}()
	if m.dir, err = os.MkdirTemp("", "skein-demo-"); err != nil {
		return m, fmt.Errorf("make a place for the nodes: %w", err)
	}
	if err := writeKey(m.keyFile(), transport.NewKey()+"\n"); err != nil {
		return m, err
	}
	if err := m.plan(); err != nil {
		return m, err
	}
	binary, err := os.Executable()
	if err != nil {
		return m, fmt.Errorf("find this binary: %w", err)
	}
	for i := range m.nodes {
		if err := m.start(binary, i); err != nil {
			return m, err
		}
		if i == 0 { // the founder, whom the others ask
			if err := m.await(ctx, m.nodes[:1]); err != nil {
				return m, err
			}
		}
	}
	return m, m.await(ctx, m.nodes[1:])
}

func (m *demoMesh) keyFile() string { return filepath.Join(m.dir, "mesh.key") }

// plan gives every node its ports and its door.
func (m *demoMesh) plan() error {
	var ports holder
	defer ports.release()
	var behind []relayed
	for _, region := range demoPlan {
		for i := range demoNodesPerRegion {
			udp, err := ports.udp()
			if err != nil {
				return err
			}
			tcp, err := ports.tcp(8420 + len(m.nodes))
			if err != nil {
				return err
			}
			m.nodes = append(m.nodes, &demoNode{
				name: fmt.Sprintf("%s-%d", region, i+1), region: region, port: udp, http: tcp.String(),
				ready: make(chan readyLine, 1), gone: make(chan struct{}),
			})
			behind = append(behind, relayed{region, udp})
		}
	}
	var err error
	m.relay, err = openRelay(behind)
	return err
}

// start starts the i-th node as a process of its own.
func (m *demoMesh) start(binary string, i int) error {
	n := m.nodes[i]
	args := []string{
		"serve", "--json", "--with-stdin", "--name", n.name, "--region", n.region,
		"--data-dir", filepath.Join(m.dir, n.name), "--key-file", m.keyFile(),
		"--listen", n.port.String(), "--advertise", m.relay.door(i).String(), "--http", n.http,
	}
	if i > 0 {
		args = append(args, "--seeds", m.relay.door(0).String())
	}
	log, err := os.Create(m.logFile(n))
	if err != nil {
		return fmt.Errorf("keep the log of %s: %w", n.name, err)
	}
	defer log.Close() // the process has its own
	n.cmd = exec.Command(binary, args...)
	n.cmd.Env = demoEnv(os.Environ())
	n.cmd.Stderr = log
	// In a group of its own, ctrl-c reaches the demo alone, which then stops
	// the nodes in order.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if n.stdin, err = n.cmd.StdinPipe(); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	m.wg.Go(func() {
		defer close(n.gone)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			var line readyLine
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Ready {
				select {
				case n.ready <- line:
				default: // it has said so before
				}
			}
		}
		n.err = n.cmd.Wait()
	})
	return nil
}

// demoEnv is the environment without what would configure the nodes: the
// demo's are told everything by flags.
func demoEnv(env []string) []string {
	var kept []string
	for _, v := range env {
		if !strings.HasPrefix(v, envPrefix) {
			kept = append(kept, v)
		}
	}
	return kept
}

// await waits until each node is ready; one that ends before is an error.
func (m *demoMesh) await(ctx context.Context, nodes []*demoNode) error {
	ctx, cancel := context.WithTimeout(ctx, demoReady)
	defer cancel()
	for _, n := range nodes {
		select {
		case <-n.ready:
		case <-n.gone:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", n.name, n.err, m.logTail(n))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", n.name, ctx.Err(), m.logTail(n))
		}
	}
	return nil
}

// in is the i-th node of a region, from 1.
func (m *demoMesh) in(region string, i int) *demoNode {
	for _, n := range m.nodes {
		if n.region == region {
			if i--; i == 0 {
				return n
			}
		}
	}
	panic("demo: no such node") // the plan is ours
}

// stop makes the nodes leave one after the other, each while the rest can hear
// it, and removes what the demo made. It returns how the nodes ended, where that
// was not well.
func (m *demoMesh) stop() error {
	var errs []error
	deadline := time.After(demoLeave)
	for _, n := range m.nodes {
		if n.cmd == nil || n.cmd.Process == nil {
			continue
		}
		_ = n.cmd.Process.Signal(syscall.SIGTERM) // one that is gone already is noticed below
		select {
		case <-n.gone:
			if n.err != nil {
				errs = append(errs, fmt.Errorf("%s ended with %w\n%s", n.name, n.err, m.logTail(n)))
			}
		case <-deadline:
			errs = append(errs, fmt.Errorf("%s did not leave in time\n%s", n.name, m.logTail(n)))
			_ = n.cmd.Process.Kill()
			<-n.gone
			deadline = time.After(0) // the others have had their time, too
		}
		n.stdin.Close()
	}
	m.wg.Wait()
	if m.relay != nil {
		errs = append(errs, m.relay.Close())
	}
	if m.dir != "" {
		errs = append(errs, os.RemoveAll(m.dir))
	}
	return errors.Join(errs...)
}

func (m *demoMesh) logFile(n *demoNode) string { return filepath.Join(m.dir, n.name+".log") }

// logTail is the end of what a node logged, for the error that needs it.
func (m *demoMesh) logTail(n *demoNode) string {
	const lines = 12
	data, err := os.ReadFile(m.logFile(n))
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// holder finds free ports on loopback, and keeps each until release so that
// none is found twice.
type holder struct{ held []io.Closer }

func (h *holder) udp() (netip.AddrPort, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find a free port: %w", err)
	}
	h.held = append(h.held, conn)
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// tcp prefers a port that a person knows.
func (h *holder) tcp(preferred int) (netip.AddrPort, error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: preferred})
	if err != nil {
		if l, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			return netip.AddrPort{}, fmt.Errorf("find a free port: %w", err)
		}
	}
	h.held = append(h.held, l)
	return l.Addr().(*net.TCPAddr).AddrPort(), nil
}

func (h *holder) release() {
	for _, c := range h.held {
		c.Close()
	}
}
