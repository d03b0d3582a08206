package node

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/transport/peer"
)

// What another region keeps of a stream crosses to this region once, however many
// read it here: for each log one node of the region, the same in the eyes of all, is
// the relay. Others ask it; it asks the region that keeps the log, has all who want
// the same wait for the same answer, and remembers for a while what it got. A reader
// asks for its next blocks when it has room for them, see readAhead, so that a slow one
// holds up nobody; what the relay has forgotten by then, it gets again.
// Readers whose filters differ share nothing: what each wants crosses for each.

// Bounds of what a relay remembers. Readers at the end of a log want the same within
// a round trip or two.
const (
	relayBytes = 64 << 20
	relayKeeps = 15 * time.Second
)

// relayed names what readers can share: a log, as a filter has it.
type relayed struct {
	region    string
	log       meta.ID
	partition uint32
	filter    string
}

// place is where a block of it begins, and how it is got.
type place struct {
	relayed
	from replication.From
	at   int64
	end  int64   // nothing is waited for from there on, unless it is 0
	by   peer.ID // the relay; empty: this node
}

// relays are this node's part in that.
type relays struct {
	n *Node

	mu     sync.Mutex // guards the fields below
	asked  map[place]*flight
	known  map[relayed][]*remembering
	oldest []*remembering // of all, in the order in which they came
	stats  RelayStats     // Bytes: of what is remembered
	rooms  map[peer.ID]*callRoom
	closed bool
	wg     sync.WaitGroup // flights
}

// flight is a question that waits for its answer, and who waits with it.
type flight struct {
	waiting int // guarded by relays.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed with the fields below
	block   replication.Block
	err     error
}

// remembering is a block that is remembered.
type remembering struct {
	of    relayed
	block replication.Block
	bytes int
	came  time.Time
}

func newRelays(n *Node) *relays {
	return &relays{n: n, asked: map[place]*flight{}, known: map[relayed][]*remembering{}, rooms: map[peer.ID]*callRoom{}}
}

// close ends all questions and waits until none is left.
func (r *relays) close() error {
	r.mu.Lock()
	r.closed = true
	for _, f := range r.asked {
		f.cancel()
	}
	r.mu.Unlock()
	r.wg.Wait()
	return nil
}

// block is a block of what another region keeps, by way of the relay, or of this node
// if another takes it for that. Its records are shared: nobody may change them.
func (r *relays) block(ctx context.Context, region string, q *blockAsk, relay bool) (replication.Block, error) {
	at := place{relayed: relayed{region, q.Log, q.Partition, q.Filter}, from: q.From, at: q.Offset, end: q.Until}
	if q.From == replication.FromTime {
		at.at = q.Time
	}
	if !relay {
		at.by = r.n.relayOf(&at.relayed)
	}
	r.mu.Lock()
	if b, known := r.recall(&at); known {
		r.stats.Shared++
		r.mu.Unlock()
		return b, nil
	}
	if r.closed {
		r.mu.Unlock()
		return replication.Block{}, ErrClosed
	}
	f := r.asked[at]
	switch {
	case f != nil:
		r.stats.Shared++
	default:
		f = r.ask(at, *q)
		if at.by == "" {
			r.stats.Asked++
		}
	}
	f.waiting++
	r.mu.Unlock()
	select {
	case <-f.done:
		return f.block, f.err
	case <-ctx.Done():
		r.mu.Lock()
		if f.waiting--; f.waiting == 0 {
			f.cancel()
			r.forgetFlight(at, f)
		}
		r.mu.Unlock()
		return replication.Block{}, ctx.Err()
	}
}

// ask begins to ask: the relay, or the region if that is this node. r.mu is held.
func (r *relays) ask(at place, q blockAsk) *flight {
	f := &flight{done: make(chan struct{})}
	// The answer is for all who wait, so that no one's context ends it.
	within := q.Wait + endWait
	if q.Bulk {
		within = aheadWait
	}
	ctx, cancel := context.WithTimeout(r.n.ctx, within)
	f.cancel = cancel
	r.asked[at] = f
	r.wg.Go(func() {
		defer cancel()
		b, err := r.put(ctx, at.region, at.by, q)
		if at.by != "" && errors.Is(err, ErrUnreachable) { // for the relay, that is
			b, err = r.put(ctx, at.region, "", q)
		}
		r.mu.Lock()
		r.forgetFlight(at, f)
		if err == nil && at.by == "" {
			r.remember(at.relayed, b)
		}
		f.block, f.err = b, err
		r.mu.Unlock()
		close(f.done)
	})
	return f
}

// forgetFlight has the next who asks ask anew. r.mu is held.
func (r *relays) forgetFlight(at place, f *flight) {
	if r.asked[at] == f {
		delete(r.asked, at)
	}
}

// recall finds what is remembered of a place. r.mu is held.
func (r *relays) recall(at *place) (replication.Block, bool) {
	if at.from != replication.FromOffset {
		return replication.Block{}, false
	}
	r.expire()
	for _, have := range r.known[at.relayed] {
		if have.block.From <= at.at && at.at < have.block.Next {
			return have.block.After(at.at), true
		}
	}
	return replication.Block{}, false
}

// remember remembers a block; if there is no room, the oldest go. r.mu is held.
func (r *relays) remember(what relayed, b replication.Block) {
	if b.Next == b.From {
		return
	}
	m := &remembering{of: what, block: b, bytes: 256, came: time.Now()}
	for i := range b.List {
		m.bytes += len(b.List[i].Data) + 64
	}
	r.known[what] = append(r.known[what], m)
	r.oldest = append(r.oldest, m)
	r.stats.Bytes += m.bytes
	r.expire()
}

// expire forgets what is too old or too much. r.mu is held.
func (r *relays) expire() {
	n := 0
	for ; n < len(r.oldest) && (r.stats.Bytes > relayBytes || time.Since(r.oldest[n].came) > relayKeeps); n++ {
		m := r.oldest[n]
		r.stats.Bytes -= m.bytes
		if left := slices.DeleteFunc(r.known[m.of], func(o *remembering) bool { return o == m }); len(left) > 0 {
			r.known[m.of] = left
		} else {
			delete(r.known, m.of)
		}
	}
	if n > 0 {
		r.oldest = slices.Delete(r.oldest, 0, n)
	}
}

// tidy forgets what is too old, also when nobody reads any more, until the node is
// closed.
func (r *relays) tidy() {
	for r.n.sleep(relayKeeps) {
		r.mu.Lock()
		r.expire()
		r.mu.Unlock()
	}
}

// Stats are counted since the node started.
func (r *relays) Stats() RelayStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// relayOf is the node of this region that is the relay for a log; empty if it is
// this one. It is the one with the highest rendezvous rank of those that can be
// reached, so that all who see the same nodes name the same one.
func (n *Node) relayOf(what *relayed) peer.ID {
	best, most := n.self.ID, rank(n.self.ID, what)
	for _, id := range n.graph.Linked(n.self.Region) {
		if r := rank(id, what); r > most || r == most && id < best {
			best, most = id, r
		}
	}
	if best == n.self.ID {
		return ""
	}
	return best
}

// rank is a node's rank for a log: the same on all nodes. Filters have no part in
// it, for a node that has records of a log in memory may as well have them for all.
func rank(id peer.ID, what *relayed) uint64 {
	h := fnv.New64a()
	h.Write(what.log[:])
	h.Write(binary.LittleEndian.AppendUint32(nil, what.partition))
	h.Write([]byte(what.region))
	h.Write([]byte(id))
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd // FNV leaves the high bits of like inputs alike
	return x ^ x>>33
}
