package partition

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store/journal"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
	"github.com/skeinmesh/skein/transport/peer"
)

// cluster is a partition on some nodes, with disks that fail and links that are
// pipes, in a bubble of synctest.
type cluster struct {
	t     *testing.T
	rng   *rand.Rand
	group multiraft.GroupID
	first []multiraft.Replica // the group's first configuration
	bytes int64               // of segment files
	pace  int                 // bytes a second that are fetched; 0 for any number

	mu    sync.Mutex // guards nodes' fields
	nodes []*testNode
}

type testNode struct {
	id      peer.ID
	epoch   uint64
	disk    *storetest.Disk
	journal *journal.Journal
	host    *multiraft.Host
	part    *Partition // nil while the node is down
	failed  error
}

func newCluster(t *testing.T, n int) *cluster {
	c := &cluster{t: t, rng: rand.New(rand.NewPCG(1, 2)), group: multiraft.GroupID{7}, bytes: 64 << 10}
	for i := range n {
		id := peer.ID(fmt.Sprintf("node-%d", i))
		c.nodes = append(c.nodes, &testNode{id: id, epoch: 1, disk: storetest.NewDisk()})
		c.first = append(c.first, multiraft.Replica{Node: id, Epoch: 1})
	}
	for i := range n {
		c.start(i)
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.stop(i)
		}
	})
	return c
}

// start opens a node's replica and links it to the others.
func (c *cluster) start(i int) {
	c.t.Helper()
	if err := c.tryStart(i); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) tryStart(i int) error {
	n := c.nodes[i]
	j, err := journal.Open(journal.Config{FS: n.disk, Dir: "journal", Mesh: "m", Node: string(n.id), SegmentBytes: 256 << 10})
	if err != nil {
		return err
	}
	var log *slog.Logger
	if os.Getenv("SKEIN_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", n.id)
	}
	host, err := multiraft.Open(multiraft.Config{
		Node: n.id, Log: log, Health: j.Err,
		Dial: func(_ context.Context, to peer.ID) (net.Conn, error) {
			other := c.running(to)
			if other == nil {
				return nil, errors.New("it is down")
			}
			a, b := net.Pipe()
			go other.ServeBulk(n.id, b)
			return a, nil
		},
	})
	if err != nil {
		return err
	}
	var first []multiraft.Replica
	if n.epoch == 1 && i < len(c.first) {
		first = c.first
	}
	part, err := Open(Config{
		Host: host, ID: c.group, Epoch: n.epoch, Bootstrap: first, Store: j.Group(journal.ID(c.group)),
		FS: n.disk, Dir: "partition", Files: segment.NewFiles(n.disk, 16, 5000), FileBytes: c.bytes, Log: log,
		Fetch: c.fetch,
		OnFailure: func(err error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			n.failed = err
		},
	})
	if err != nil {
		host.Close()
		j.Close()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n.journal, n.host, n.part, n.failed = j, host, part, nil
	for _, other := range c.nodes {
		if other != n && other.part != nil {
			a, b := net.Pipe()
			host.Attach(other.id, a)
			other.host.Attach(n.id, b)
		}
	}
	return nil
}

func (c *cluster) fetch(_ context.Context, from multiraft.Replica, log LogID, file segment.FileInfo, position int64, haste uint) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if n.id == from.Node && n.part != nil {
			buf := make([]byte, 10_000)
			read, err := n.part.Chunk(log, file, position, buf)
			if c.pace > 0 {
				c.mu.Unlock()
				time.Sleep(time.Duration(read) * time.Second / time.Duration(c.pace<<haste)) // simulated
				c.mu.Lock()
			}
			return buf[:read], err
		}
	}
	return nil, errors.New("it is down")
}

func (c *cluster) running(id peer.ID) *multiraft.Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if n.id == id && n.part != nil {
			return n.host
		}
	}
	return nil
}

// stop closes a node in order.
func (c *cluster) stop(i int) {
	c.mu.Lock()
	n := c.nodes[i]
	part, host, j := n.part, n.host, n.journal
	n.part = nil
	c.mu.Unlock()
	if part == nil {
		return
	}
	part.Close()
	host.Close()
	j.Close()
	for _, other := range c.nodes {
		if host := c.running(other.id); host != nil {
			host.PeerDown(n.id)
		}
	}
}

// crash lets the power of a node fail, or ends its process.
func (c *cluster) crash(i int, power bool) {
	if power {
		c.nodes[i].disk.Crash(c.rng)
	} else {
		c.nodes[i].disk.Kill()
	}
	c.stop(i)
	c.nodes[i].disk.Start()
}

// leader waits for the node whose replica leads.
func (c *cluster) leader() (int, *Partition) {
	c.t.Helper()
	for range 6000 {
		for i, n := range c.nodes {
			c.mu.Lock()
			part := n.part
			c.mu.Unlock()
			if part != nil && part.Group().IsLeader() && part.Group().Barrier(c.t.Context()) == nil {
				return i, part
			}
		}
		time.Sleep(10 * time.Millisecond) // simulated
	}
	c.t.Fatal("nobody leads")
	return 0, nil
}

// settled waits until all replicas that run have applied what the leader has.
func (c *cluster) settled() {
	c.t.Helper()
	_, leader := c.leader()
	for range 6000 {
		same := true
		for _, n := range c.nodes {
			if n.part != nil {
				same = same && n.part.Group().Stats().Applied >= leader.Group().Stats().Commit
			}
		}
		if same {
			return
		}
		time.Sleep(10 * time.Millisecond) // simulated
	}
	c.t.Fatal("a replica does not catch up")
}

// stored is a record as a log has it.
type stored struct {
	offset, time int64
	key          Key
	data         string
}

// all reads a whole log.
func all(t *testing.T, p *Partition, id LogID) (list []stored) {
	t.Helper()
	l, err := p.Log(id)
	if err != nil {
		t.Fatal(err)
	}
	r := l.Reader(l.Start())
	buf := make([]byte, 4<<10)
	for {
		b, err := r.Read(buf)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if b.Len() == 0 {
			return list
		}
		for offset, rec := range b.Records() {
			list = append(list, stored{offset, rec.Time, rec.Key, string(rec.Data)})
		}
	}
}

// same fails the test unless all running replicas have the same log, without
// holes, and returns it.
func (c *cluster) same(id LogID) []stored {
	c.t.Helper()
	c.settled()
	var first []stored
	seen := false
	for _, n := range c.nodes {
		if n.part == nil {
			continue
		}
		list := all(c.t, n.part, id)
		for i, s := range list {
			if s.offset != list[0].offset+int64(i) {
				c.t.Fatalf("%s: offset %d after %d", n.id, s.offset, list[0].offset+int64(i)-1)
			}
		}
		if !seen {
			first, seen = list, true
			continue
		}
		if len(list) != len(first) {
			c.t.Fatalf("%s has %d records, another replica %d", n.id, len(list), len(first))
		}
		for i := range list {
			if list[i] != first[i] {
				c.t.Fatalf("%s has %v, another replica %v", n.id, list[i], first[i])
			}
		}
	}
	return first
}
