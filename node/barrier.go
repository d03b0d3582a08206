package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// The barrier of Subscribe. First every linked node of the region must have
// applied this node's interest; then each gateway of the region is asked to
// wait until every linked region has applied a summary that contains it, at
// all of its nodes. What is missing when the time is over is named.

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
	for _, r := range n.graph.Reach() {
		if !slices.Contains(a.Waiting, r) {
			a.Confirmed = append(a.Confirmed, r)
		}
	}
	return a
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
