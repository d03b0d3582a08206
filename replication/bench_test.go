package replication

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/transport/peer"
)

// loopNet is three Members of one process, linked by TCP over loopback: a
// connection for raft and one for questions between each two.
type loopNet struct {
	self peer.ID
	all  map[peer.ID]*loopNet
	m    atomic.Pointer[Member]
	asks map[peer.ID]*caller
}

func (n *loopNet) Linked() (list []peer.ID) {
	for id := range n.asks {
		list = append(list, id)
	}
	return list
}

func (n *loopNet) Ask(ctx context.Context, to peer.ID, question []byte) ([]byte, error) {
	return n.asks[to].ask(ctx, question)
}

func (n *loopNet) answer(ctx context.Context, from peer.ID, question []byte) []byte {
	if m := n.m.Load(); m != nil {
		return m.Answer(ctx, from, question)
	}
	return encode(ErrElsewhere) // it is not open yet
}

func (n *loopNet) Dial(_ context.Context, to peer.ID) (net.Conn, error) {
	a, b := net.Pipe()
	go n.all[to].m.Load().ServeBulk(n.self, b)
	return a, nil
}

// caller asks over one connection and serves what the other end asks: number,
// length, and whether it is an answer, 13 bytes, then the text.
type caller struct {
	conn    net.Conn
	serve   func(ctx context.Context, question []byte) []byte
	mu      sync.Mutex // guards the fields below
	w       *bufio.Writer
	next    uint64
	waiting map[uint64]chan []byte
	dirty   chan struct{}
}

func newCaller(conn net.Conn, serve func(ctx context.Context, question []byte) []byte) *caller {
	c := &caller{conn: conn, serve: serve, w: bufio.NewWriterSize(conn, 1<<16), waiting: map[uint64]chan []byte{}, dirty: make(chan struct{}, 1)}
	go c.read()
	go func() {
		for range c.dirty {
			c.mu.Lock()
			c.w.Flush()
			c.mu.Unlock()
		}
	}()
	return c
}

func (c *caller) send(id uint64, answer byte, text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	head := binary.LittleEndian.AppendUint64(nil, id)
	head = append(binary.LittleEndian.AppendUint32(head, uint32(len(text))), answer)
	c.w.Write(head)
	c.w.Write(text)
	select {
	case c.dirty <- struct{}{}:
	default:
	}
}

func (c *caller) ask(ctx context.Context, question []byte) ([]byte, error) {
	got := make(chan []byte, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	c.waiting[id] = got
	c.mu.Unlock()
	c.send(id, 0, question)
	select {
	case answer := <-got:
		return answer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *caller) read() {
	r := bufio.NewReaderSize(c.conn, 1<<16)
	var head [13]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		id, text := binary.LittleEndian.Uint64(head[:]), make([]byte, binary.LittleEndian.Uint32(head[8:]))
		if _, err := io.ReadFull(r, text); err != nil {
			return
		}
		if head[12] == 0 {
			go func() { c.send(id, 1, c.serve(context.Background(), text)) }()
			continue
		}
		c.mu.Lock()
		got := c.waiting[id]
		delete(c.waiting, id)
		c.mu.Unlock()
		got <- text
	}
}

// threeNodes opens a region of three on the machine's disk, with a stream.
func threeNodes(b *testing.B, partitions int) (members []*Member, stream meta.ID, numbers []uint32) {
	b.Helper()
	all := map[peer.ID]*loopNet{}
	var nets []*loopNet
	for i := range 3 {
		n := &loopNet{self: peer.ID(fmt.Sprintf("node-%d", i)), all: all, asks: map[peer.ID]*caller{}}
		all[n.self] = n
		nets = append(nets, n)
	}
	pipe := func() (a, z net.Conn) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		if a, err = net.Dial("tcp", l.Addr().String()); err == nil {
			z, err = l.Accept()
		}
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { a.Close(); z.Close() })
		return a, z
	}
	for i, n := range nets {
		for _, o := range nets[:i] {
			x, y := pipe()
			n.asks[o.self] = newCaller(x, func(ctx context.Context, q []byte) []byte { return n.answer(ctx, o.self, q) })
			o.asks[n.self] = newCaller(y, func(ctx context.Context, q []byte) []byte { return o.answer(ctx, n.self, q) })
		}
	}
	for i, n := range nets {
		m, err := Open(Config{
			Self: peer.Peer{ID: n.self, Name: string(n.self), Region: "eu", Boot: 1}, Mesh: "m", Net: n,
			Dir: filepath.Join(b.TempDir(), "streams"), Found: i == 0,
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { m.Close() })
		n.m.Store(m)
		members = append(members, m)
		for _, o := range nets[:i] {
			x, y := pipe()
			m.Attach(o.self, x)
			o.m.Load().Attach(n.self, y)
		}
	}
	until := func(what string, ok func() bool) {
		b.Helper()
		for range 3000 {
			if ok() {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		b.Fatal("it does not come to this: ", what)
	}
	stream = newID()
	def := meta.Definition{Namespace: "default", Name: "orders", Partitions: partitions, Placement: "local"}.WithDefaults()
	until("the nodes are registered", func() bool { return len(members[0].Meta().Nodes()) == 3 })
	if err := members[0].Propose(b.Context(), &meta.CreateStream{UUID: stream, Definition: def}); err != nil {
		b.Fatal(err)
	}
	until("three replicas each", func() bool {
		for _, m := range members {
			a, ok := m.Meta().Assignment(stream)
			if !ok {
				return false
			}
			for _, p := range m.Meta().Partitions() {
				if rep, err := m.local(p.Number); err != nil || len(p.Replicas) != 3 || rep.Group().Self().Node != m.cfg.Self.ID || m.leaderOf(p.Number) == "" {
					return false
				}
			}
			numbers = a.Partitions
		}
		return true
	})
	time.Sleep(3 * time.Second) // the leaders are balanced
	return members, stream, numbers
}

// Acknowledged events of 256 bytes, kept by three replicas with a sync each: a
// thousand in flight from all nodes, by so many in an append, and one at a time.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ partitions, records, callers int }{
		{1, 1, 1}, {1, 1, 1000}, {1, 16, 63}, {1, 64, 16}, {8, 1, 1000}, {8, 16, 63}, {8, 64, 16},
	} {
		b.Run(fmt.Sprintf("partitions=%d/records=%d/callers=%d", c.partitions, c.records, c.callers), func(b *testing.B) {
			members, stream, numbers := threeNodes(b, c.partitions)
			appendAll(b, members, stream, numbers, c.records, c.callers)
		})
	}
}

func appendAll(b *testing.B, members []*Member, stream meta.ID, numbers []uint32, records, callers int) {
	var next atomic.Int64
	took := make([][]time.Duration, callers)
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	began := time.Now()
	for c := range callers {
		wg.Go(func() {
			for {
				n := next.Add(int64(records))
				if n-int64(records) >= int64(b.N) {
					return
				}
				list := make([]partition.Record, records)
				for i := range list {
					list[i] = event(stream, int(n)+i)
					list[i].Data = make([]byte, 256)
					list[i].Window.Age = 10 * time.Minute
				}
				began := time.Now()
				if _, err := members[c%3].Append(b.Context(), numbers[c%len(numbers)], list); err != nil {
					b.Error(err)
					return
				}
				took[c] = append(took[c], time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(next.Load()-int64(callers*records))/time.Since(began).Seconds(), "events/s")
	all := slices.Concat(took...)
	slices.Sort(all)
	if len(all) > 0 {
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
	}
}
