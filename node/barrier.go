package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// The barrier of Subscribe. First every linked node of the region must have
// applied this node's interest; then each gateway of the region is asked to
// wait until every region has applied a summary that contains it, at all of its
// nodes: those that are linked say so by themselves, the others are asked
// through those on the way. What is missing when the time is over is named.

// barrierAnswer is what a gateway found.
type barrierAnswer struct {
	Confirmed []string `json:"confirmed"` // regions that have applied the summary
	Waiting   []string `json:"waiting"`   // linked regions that have not
}

// barrierMargin is left of the caller's time for the answer's way back.
const barrierMargin = 50 * time.Millisecond

// barrier waits as far as b says, at most wait, and names the regions that did
// not confirm. Its error is ctx's.
func (n *Node) barrier(ctx context.Context, b Barrier, wait time.Duration) (missing []string, err error) {
	if b == BarrierNone {
		return nil, nil
	}
	limit, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	version := n.spread.version(topicInterest)
	if late := n.spread.acked(limit, topicInterest, version); len(late) > 0 {
		missing = append(missing, n.self.Region)
	}
	if b == BarrierMesh {
		missing = append(missing, n.barrierAbroad(limit)...)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if n.ctx.Err() != nil {
		return nil, ErrClosed
	}
	slices.Sort(missing)
	return slices.Compact(missing), nil
}

// barrierAbroad asks the gateways, this node included if it is one.
func (n *Node) barrierAbroad(ctx context.Context) (missing []string) {
	var (
		wg        sync.WaitGroup
		mu        sync.Mutex // guards the two below
		confirmed = map[string]bool{n.self.Region: true}
		waiting   = map[string]bool{}
	)
	add := func(a barrierAnswer) {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range a.Confirmed {
			confirmed[r] = true
		}
		for _, r := range a.Waiting {
			waiting[r] = true
		}
	}
	for _, id := range n.graph.Reaching() {
		wg.Go(func() {
			left := time.Second
			if d, ok := ctx.Deadline(); ok {
				left = time.Until(d)
			}
			body, err := n.net.Call(ctx, id, kindBarrier, fmt.Appendf(nil, "%d", max(left-barrierMargin, left/2).Milliseconds()))
			var a barrierAnswer
			if err == nil {
				err = json.Unmarshal(body, &a)
			}
			if err != nil {
				n.log.Debug("a gateway did not answer a barrier", "peer", id, "err", err)
				return
			}
			add(a)
		})
	}
	add(n.confirm(ctx))
	wg.Wait()
	for _, r := range n.knownRegions() {
		if !confirmed[r] || waiting[r] {
			missing = append(missing, r)
		}
	}
	return missing
}

// confirm waits until every region that this node has links into has applied
// its present summary.
func (n *Node) confirm(ctx context.Context) barrierAnswer {
	n.spread.poke()
	late := n.spread.acked(ctx, topicSummary, n.spread.version(topicSummary))
	var a barrierAnswer
	for _, id := range late {
		if p, ok := n.graph.Peer(id); ok && !slices.Contains(a.Waiting, p.Region) {
			a.Waiting = append(a.Waiting, p.Region)
		}
	}
	for _, r := range n.graph.Reached() {
		if !slices.Contains(a.Waiting, r) {
			a.Confirmed = append(a.Confirmed, r)
		}
	}
	n.confirmBeyond(ctx, &a)
	return a
}

// confirmBeyond asks through others for the regions that this node reaches only
// through them.
func (n *Node) confirmBeyond(ctx context.Context, a *barrierAnswer) {
	var (
		wg sync.WaitGroup
		mu sync.Mutex // guards a
	)
	version := n.spread.version(topicSummary)
	for _, region := range n.graph.Regions() {
		hop := n.graph.Hop(region, 0)
		if !hop.Abroad || len(hop.Route.Regions) == 1 {
			continue // linked, or another gateway's to ask
		}
		wg.Go(func() {
			held := n.askHolds(ctx, hop.Next, heldFact{n.self.ID, n.self.Boot, version, region})
			mu.Lock()
			defer mu.Unlock()
			if held {
				a.Confirmed = append(a.Confirmed, region)
			} else {
				a.Waiting = append(a.Waiting, region)
			}
		})
	}
	wg.Wait()
}

// heldFact is a summary that a region should have applied.
type heldFact struct {
	Owner       peer.ID `json:"owner"`
	Incarnation uint64  `json:"incarnation"`
	Version     uint64  `json:"version"`
	Region      string  `json:"region,omitempty"` // all of it; empty is the node that is asked
}

// askHolds reports whether a node says that a region holds a fact.
func (n *Node) askHolds(ctx context.Context, id peer.ID, f heldFact) bool {
	body, err := json.Marshal(f)
	if err == nil {
		_, err = n.net.Call(ctx, id, kindHolds, body)
	}
	if err != nil {
		n.log.Debug("a region did not confirm a fact", "region", f.Region, "asked", id, "err", err)
	}
	return err == nil
}

// answerHolds waits until a fact is here, and at all linked nodes of the region
// if it was asked for that, or passes the question on towards the region.
func (n *Node) answerHolds(ctx context.Context, body []byte) ([]byte, error) {
	var f heldFact
	if err := json.Unmarshal(body, &f); err != nil {
		return nil, fmt.Errorf("the question for a fact: %w", err)
	}
	if f.Region != "" && f.Region != n.self.Region {
		hop := n.graph.Hop(f.Region, 0)
		if hop.Next == "" {
			return nil, fmt.Errorf("no way leads to region %q", f.Region)
		}
		return n.net.Call(ctx, hop.Next, kindHolds, body)
	}
	if !n.spread.holds(ctx, f.Owner, topicSummary, f.Incarnation, f.Version) {
		return nil, errors.New("the fact has not come in time")
	}
	if f.Region == "" {
		return nil, nil
	}
	var wg sync.WaitGroup
	var late atomic.Bool
	f.Region = ""
	for _, id := range n.graph.Linked(n.self.Region) {
		wg.Go(func() {
			if !n.askHolds(ctx, id, f) {
				late.Store(true)
			}
		})
	}
	wg.Wait()
	if late.Load() {
		return nil, errors.New("not all nodes of the region have it yet")
	}
	return nil, nil
}

// answerBarrier answers a node of the region; its interest has been applied
// here before it asked.
func (n *Node) answerBarrier(ctx context.Context, _ peer.ID, body []byte) ([]byte, error) {
	var ms int64
	if _, err := fmt.Sscanf(string(body), "%d", &ms); err != nil || ms < 0 {
		return nil, errors.New("a barrier's time must be a number of milliseconds")
	}
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(ms)*time.Millisecond, MaxWait))
	defer cancel()
	return json.Marshal(n.confirm(ctx))
}
