package multiraft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/store/storetest"
	"github.com/skeinmesh/skein/transport/peer"
)

// mesh is some hosts in one process, linked pairwise by pipes that can be cut
// so that nobody notices, as a network is.
type mesh struct {
	t     testing.TB
	hosts map[peer.ID]*testHost
	pipe  func() (net.Conn, net.Conn)

	mu    sync.Mutex // guards the fields below
	wires map[[2]peer.ID]*wire
}

type testHost struct {
	*Host
	id       peer.ID
	unwell   atomic.Bool
	dialed   atomic.Int64
	bulkGate chan struct{} // closed when snapshots may pass
}

// wire is a link of two hosts: while it is cut, bytes vanish.
type wire struct {
	cut  atomic.Bool
	a, b net.Conn
}

type cuttable struct {
	net.Conn
	wire *wire
}

func (c cuttable) Write(b []byte) (int, error) {
	if c.wire.cut.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c cuttable) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.wire.cut.Load() {
			return n, err
		}
	}
}

func nodeName(i int) peer.ID { return peer.ID(fmt.Sprintf("node-%d", i)) }

func newMesh(t testing.TB, n int, change func(*Config)) *mesh {
	m := &mesh{t: t, hosts: map[peer.ID]*testHost{}, wires: map[[2]peer.ID]*wire{}, pipe: net.Pipe}
	for i := range n {
		m.open(nodeName(i), change)
	}
	for i := range n {
		for j := range i {
			m.join(nodeName(i), nodeName(j))
		}
	}
	return m
}

func (m *mesh) open(id peer.ID, change func(*Config)) *testHost {
	h := &testHost{id: id, bulkGate: make(chan struct{})}
	close(h.bulkGate)
	cfg := Config{
		Node: id,
		Dial: func(ctx context.Context, to peer.ID) (net.Conn, error) { return m.dial(h, to) },
		Health: func() error {
			if h.unwell.Load() {
				return errors.New("the disk hangs")
			}
			return nil
		},
	}
	if os.Getenv("SKEIN_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", id)
	}
	if change != nil {
		change(&cfg)
	}
	host, err := Open(cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	h.Host = host
	m.mu.Lock()
	m.hosts[id] = h
	m.mu.Unlock()
	return h
}

func (m *mesh) dial(from *testHost, to peer.ID) (net.Conn, error) {
	m.mu.Lock()
	w, target := m.wires[pair(from.id, to)], m.hosts[to]
	m.mu.Unlock()
	if w == nil || w.cut.Load() {
		return nil, errors.New("unreachable")
	}
	from.dialed.Add(1)
	a, b := m.pipe()
	go func() {
		<-target.bulkGate
		target.ServeBulk(from.id, b)
	}()
	return a, nil
}

func pair(a, b peer.ID) [2]peer.ID {
	if a > b {
		a, b = b, a
	}
	return [2]peer.ID{a, b}
}

// join links two hosts anew.
func (m *mesh) join(a, b peer.ID) {
	w := &wire{}
	w.a, w.b = m.pipe()
	m.mu.Lock()
	m.wires[pair(a, b)] = w
	m.mu.Unlock()
	m.hosts[a].Attach(b, cuttable{w.a, w})
	m.hosts[b].Attach(a, cuttable{w.b, w})
}

// isolate cuts all links of a host, silently.
func (m *mesh) isolate(id peer.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, w := range m.wires {
		if p[0] == id || p[1] == id {
			w.cut.Store(true)
		}
	}
}

// heal links a host anew with all others.
func (m *mesh) heal(id peer.ID) {
	for other := range m.hosts {
		if other != id {
			m.join(id, other)
		}
	}
}

// kill ends a host as a crash does: its links fall silent, and it is gone. The
// host that is left is to be closed.
func (m *mesh) kill(id peer.ID) *testHost {
	m.isolate(id)
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hosts[id]
	delete(m.hosts, id)
	return h
}

func (m *mesh) close() {
	for _, h := range m.hosts {
		if err := h.Close(); err != nil {
			m.t.Errorf("close %s: %v", h.id, err)
		}
	}
}

// replica is a test's replica of a group, with what it kept.
type replica struct {
	*Group
	fsm   *history
	store *memoryStore
	snaps raft.SnapshotStore
}

func groupID(n int) (id GroupID) {
	binary.BigEndian.PutUint64(id[:], uint64(n)+1)
	return id
}

// startGroup starts a group with a replica of epoch 1 on each of the hosts.
func (m *mesh) startGroup(n int, on ...peer.ID) map[peer.ID]*replica {
	m.t.Helper()
	var all []Replica
	for _, id := range on {
		all = append(all, Replica{id, 1})
	}
	out := map[peer.ID]*replica{}
	for _, id := range on {
		out[id] = m.startReplica(n, Replica{id, 1}, func(c *GroupConfig) { c.Bootstrap = all })
	}
	return out
}

func (m *mesh) startReplica(n int, self Replica, change func(*GroupConfig)) *replica {
	m.t.Helper()
	snaps, err := OpenSnapshots(storetest.NewDisk(), ".")
	if err != nil {
		m.t.Fatal(err)
	}
	r := &replica{fsm: &history{}, store: newMemoryStore(), snaps: snaps}
	cfg := GroupConfig{ID: groupID(n), Epoch: self.Epoch, Store: r.store, Snapshots: r.snaps, FSM: r.fsm}
	if change != nil {
		change(&cfg)
	}
	g, err := m.hosts[self.Node].Start(cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	r.Group = g
	return r
}

func (m *mesh) nodes() []peer.ID {
	var ids []peer.ID
	for id := range m.hosts {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// until waits for a condition; in a bubble the wait costs nothing.
func until(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v: not %s", within, what)
		}
	}
}

// leaderOf waits until a quorum's worth of replicas agree on a leader that leads.
func leaderOf(t testing.TB, group map[peer.ID]*replica, except ...peer.ID) peer.ID {
	t.Helper()
	var leader peer.ID
	until(t, time.Minute, "a leader that all follow", func() bool {
		leader = ""
		for id, r := range group {
			if r.IsLeader() && !slices.Contains(except, id) {
				leader = id
			}
		}
		if leader == "" {
			return false
		}
		for id, r := range group {
			l, _, known := r.Leader()
			if !slices.Contains(except, id) && (!known || l.Node != leader) {
				return false
			}
		}
		return true
	})
	return leader
}

// inBubble runs a test in virtual time; what is left running fails it.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
