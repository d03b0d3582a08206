package partition

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/multiraft"
)

// history is what publishers know: which records were acknowledged where, and of
// which it is unknown whether they are kept.
type history struct {
	mu      sync.Mutex // guards the fields below
	next    int
	acked   map[int]int64 // record → offset
	unknown map[int]bool
	refused map[int]bool // they must not be there
}

func newHistory() *history {
	return &history{acked: map[int]int64{}, unknown: map[int]bool{}, refused: map[int]bool{}}
}

// publish has a few publishers append to whoever leads until ctx is done. They
// try again what is unknown, as a client does.
func (c *cluster) publish(ctx context.Context, h *history) *sync.WaitGroup {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				h.mu.Lock()
				from := h.next
				h.next += 10
				h.mu.Unlock()
				c.insist(ctx, h, from)
			}
		})
	}
	return &wg
}

func (c *cluster) insist(ctx context.Context, h *history, from int) {
	list := records(orders, from, from+10)
	unknown := false
	for ctx.Err() == nil {
		results, err := c.appendSomewhere(ctx, list)
		h.mu.Lock()
		for i := range list {
			switch n := from + i; {
			case err == nil:
				h.acked[n] = results[i].Offset
				delete(h.unknown, n)
				delete(h.refused, n)
			case unknown || !errors.Is(err, multiraft.ErrNotLeader) && !errors.Is(err, ErrClosed):
				h.unknown[n] = true
				delete(h.refused, n)
			default:
				h.refused[n] = true
			}
		}
		unknown = unknown || h.unknown[from]
		h.mu.Unlock()
		if err == nil {
			time.Sleep(2 * time.Millisecond) // simulated: else time would stand still
			return
		}
		time.Sleep(20 * time.Millisecond) // simulated
	}
}

func (c *cluster) appendSomewhere(ctx context.Context, list []Record) ([]Appended, error) {
	for _, n := range c.nodes {
		c.mu.Lock()
		p := n.part
		c.mu.Unlock()
		if p != nil && p.Group().IsLeader() {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			return p.Append(ctx, list)
		}
	}
	return nil, multiraft.ErrNotLeader
}

// check compares the log with what publishers know.
func (c *cluster) check(h *history) {
	c.t.Helper()
	at := map[int]int64{}
	for _, s := range c.same(orders) {
		var n int
		fmt.Sscanf(s.data, "record %d of", &n)
		if _, twice := at[n]; twice {
			c.t.Errorf("record %d is kept twice", n)
		}
		at[n] = s.offset
	}
	for n, offset := range h.acked {
		if got, kept := at[n]; !kept || got != offset {
			c.t.Errorf("record %d was acknowledged at offset %d: is it there (%v), at %d", n, offset, kept, got)
		}
	}
	for n := range h.refused {
		if _, kept := at[n]; kept {
			c.t.Errorf("record %d was refused, and is kept", n)
		}
	}
	c.t.Logf("%d records acknowledged, %d unknown, %d refused, %d kept", len(h.acked), len(h.unknown), len(h.refused), len(at))
}

// ordeal runs a fault again and again under load and checks what is left, for
// some seeds.
func ordeal(t *testing.T, fault func(c *cluster)) {
	seeds := 3
	if factor, err := strconv.Atoi(os.Getenv("SKEIN_SOAK")); err == nil && factor > 1 {
		seeds *= factor
	}
	for seed := range seeds {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3)
				c.rng = rand.New(rand.NewPCG(uint64(seed), 5))
				h := newHistory()
				ctx, cancel := context.WithCancel(t.Context())
				done := c.publish(ctx, h)
				defer done.Wait()
				defer cancel()
				for range 8 {
					c.leader()
					time.Sleep(time.Duration(c.rng.IntN(300)) * time.Millisecond) // simulated: the load goes on
					fault(c)
				}
				c.leader()
				time.Sleep(100 * time.Millisecond) // simulated
				cancel()
				done.Wait()
				c.check(h)
				if len(h.acked) < 100 {
					t.Errorf("only %d records were acknowledged", len(h.acked))
				}
			})
		})
	}
}

func TestLeaderKillNoAckedLoss(t *testing.T) {
	ordeal(t, func(c *cluster) {
		at, _ := c.leader()
		c.crash(at, false)
		c.leader()
		c.start(at)
	})
}

// The power fails on one, two or all nodes.
func TestPowerLoss(t *testing.T) {
	ordeal(t, func(c *cluster) {
		nodes := c.rng.Perm(3)[:1+c.rng.IntN(3)]
		for _, i := range nodes {
			c.crash(i, true)
		}
		time.Sleep(time.Duration(c.rng.IntN(3000)) * time.Millisecond) // simulated
		for _, i := range nodes {
			c.start(i)
		}
	})
}

// A node's power fails while a snapshot is taken there.
func TestPowerLossDuringSnapshot(t *testing.T) {
	ordeal(t, func(c *cluster) {
		i := c.rng.IntN(3)
		c.nodes[i].disk.CrashAfter(1+c.rng.IntN(40), c.rng)
		c.nodes[i].part.Group().Snapshot(c.t.Context())
		c.crash(i, true) // if it has not come to that
		c.start(i)
	})
}
