package replication

import (
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/time/rate"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store/segment"
)

const (
	// defaultFetchRate leaves most of a small node to what is published meanwhile, its
	// processors first: where half a core was a node's, publishes took less than twice
	// as long (p99) at a quarter of it, and four times as long without a limit. A
	// hundred gigabytes take three and a half hours.
	defaultFetchRate = 8 << 20
	// chunkBytes is how much is fetched at once. What else goes to that node waits
	// behind it.
	chunkBytes = 128 << 10
)

// paces bound what a node fetches of other nodes' files, for all its replicas
// together, and what it gives away of its own to all others.
type paces struct {
	in, out *rate.Limiter // bytes a second
}

func newPaces(bytesPerSecond int64) paces {
	limit := func() *rate.Limiter { return rate.NewLimiter(rate.Limit(bytesPerSecond), chunkBytes) }
	return paces{in: limit(), out: limit()}
}

// chunk asks for a part of a file.
type chunk struct {
	Partition uint32           `json:"partition"`
	Log       meta.ID          `json:"log"`
	File      segment.FileInfo `json:"file"`
	Position  int64            `json:"position"`
	Haste     uint             `json:"haste,omitempty"` // how often the pace is to be doubled
}

// cost is what at most so many bytes of the chunk count in the paces.
func (c *chunk) cost(most int) int {
	n := min(int64(most), max(0, c.File.Bytes-c.Position))
	return int(n >> min(c.Haste, 63))
}

// fetch implements partition.Config.Fetch.
func (r *Member) fetch(ctx context.Context, number uint32, from multiraft.Replica, log partition.LogID, file segment.FileInfo, position int64, haste uint) ([]byte, error) {
	c := chunk{number, meta.ID(log), file, position, haste}
	q, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	if err := r.paces.in.WaitN(ctx, c.cost(chunkBytes)); err != nil {
		return nil, err
	}
	return r.ask(ctx, from.Node, askChunk, q)
}

func (r *Member) answerChunk(ctx context.Context, body []byte) ([]byte, error) {
	var q chunk
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("replication: a malformed question: %w", err)
	}
	p, err := r.local(q.Partition)
	if err != nil {
		return nil, err
	}
	if err := r.paces.out.WaitN(ctx, q.cost(chunkBytes)); err != nil {
		return nil, fmt.Errorf("replication: too much is fetched here at once: %w", err)
	}
	buf := make([]byte, chunkBytes)
	n, err := p.Chunk(partition.LogID(q.Log), q.File, q.Position, buf)
	return buf[:n], err
}
