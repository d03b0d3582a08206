package node

import (
	"context"
	"fmt"
	"time"

	"github.com/skeinmesh/skein/routing"
	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport/event"
)

// Barrier says how far an interest must have spread before Subscribe returns.
type Barrier string

const (
	BarrierNone   Barrier = "none"   // matched at this node
	BarrierRegion Barrier = "region" // every linked node of the region has applied it
	BarrierMesh   Barrier = "mesh"   // every linked region has applied it, too (the default)
)

// ParseBarrier reads a barrier; the empty string is BarrierMesh.
func ParseBarrier(s string) (Barrier, error) {
	switch b := Barrier(s); b {
	case "":
		return BarrierMesh, nil
	case BarrierNone, BarrierRegion, BarrierMesh:
		return b, nil
	}
	return "", fmt.Errorf("barrier %.40q: must be none, region or mesh", s)
}

// Slow says what becomes of a subscriber whose queue is full.
type Slow string

const (
	SlowGap        Slow = "gap"        // the oldest events go, and a gap tells (the default)
	SlowDisconnect Slow = "disconnect" // the subscription ends with ErrSlow
)

// ParseSlow reads a policy; the empty string is SlowGap.
func ParseSlow(s string) (Slow, error) {
	switch p := Slow(s); p {
	case "":
		return SlowGap, nil
	case SlowGap, SlowDisconnect:
		return p, nil
	}
	return "", fmt.Errorf("slow %.40q: must be gap or disconnect", s)
}

// Defaults and bounds of a SubscribeRequest.
const (
	DefaultWait       = 2 * time.Second
	MaxWait           = time.Minute
	DefaultQueueBytes = 64 << 20
	MaxQueueBytes     = 1 << 30
)

// SubscribeRequest says what a subscriber wants and how.
type SubscribeRequest struct {
	Namespace  string        // empty is "default"
	Filter     filter.Filter // filter.Everything() for all events of the namespace
	Barrier    Barrier       // empty is BarrierMesh
	Wait       time.Duration // for the barrier; 0 is DefaultWait, more than MaxWait is MaxWait
	Slow       Slow          // empty is SlowGap
	QueueBytes int           // bound of the subscriber's queue; 0 is DefaultQueueBytes
	Label      string        // who this is, for people: shown by inspection
}

// Subscription is a live consumer of events. One goroutine may call Next; the
// other methods may be called by any.
type Subscription struct {
	node    *Node
	sub     *routing.Subscription
	queue   *queue.Queue
	slow    Slow
	missing []string
}

// receiver is what the routing table calls for a matching event.
type receiver struct{ q *queue.Queue }

func (r receiver) Deliver(_ string, ev *event.Event) { r.q.Push(ev) }
func (r receiver) Gap(g *queue.Gap)                  { r.q.PushGap(*g) }

// Missing names the regions that had not confirmed the interest when Subscribe
// returned: events published there may be missed until they have. It is empty
// when the barrier was complete.
func (s *Subscription) Missing() []string { return s.missing }

// Next waits for events or gaps and puts them into buf, oldest first; it
// returns how many. The events are valid until the next call: who keeps one
// longer clones it. It ends with ctx's error, ErrClosed or ErrSlow.
func (s *Subscription) Next(ctx context.Context, buf []queue.Item) (int, error) {
	for {
		if n := s.queue.Pop(buf); n > 0 {
			for i := range buf[:n] {
				if g := buf[i].Gap; g != nil {
					s.node.count.gaps.told(g)
					if s.slow == SlowDisconnect && g.Cause == queue.Overflow && g.Origin == "" {
						s.Close()
						return 0, ErrSlow
					}
				}
			}
			return n, nil
		}
		select {
		case <-s.queue.Ready():
		case <-s.queue.Done():
			return 0, ErrClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Close ends the subscription and frees its queue. It may be called twice.
func (s *Subscription) Close() {
	s.node.table.Unsubscribe(s.sub)
	s.node.live.Delete(s)
	s.queue.Close()
	s.node.spread.poke()
}
