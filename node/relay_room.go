package node

import (
	"context"
	"time"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/transport/peer"
)

// A node answers a bounded number of a peer's calls at once, and a question for what
// is yet to come is one for seconds. So that those of many logs leave room for all
// else that is asked over the link, only so many wait at the other end. The others are
// answered at once, and wait here: what they are about is read a moment later.
const (
	roomWaiting = 512 // of the 1024 calls that a peer has
	roomBrief   = 128
	// briefPause is how long a question waits here when there was nothing for it.
	briefPause = time.Second
)

// callRoom is that for questions over the link to a peer: each takes a value's place.
type callRoom struct {
	waiting, brief chan struct{}
}

// room is the one of a peer.
func (r *relays) room(to peer.ID) *callRoom {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := r.rooms[to]
	if have == nil {
		have = &callRoom{make(chan struct{}, roomWaiting), make(chan struct{}, roomBrief)}
		r.rooms[to] = have
	}
	return have
}

// put puts a question to a region, by way of a relay if there is one.
func (r *relays) put(ctx context.Context, region string, by peer.ID, q blockAsk) (replication.Block, error) {
	to := by
	if to == "" {
		to = r.n.graph.Hop(region, 0).Next
	}
	if to == "" {
		return r.n.blockAbroad(ctx, region, by, &q) // which says that no way leads there
	}
	room := r.room(to)
	select {
	case room.waiting <- struct{}{}:
		defer func() { <-room.waiting }()
		return r.n.blockAbroad(ctx, region, by, &q)
	default:
	}
	select {
	case room.brief <- struct{}{}:
	case <-ctx.Done():
		return replication.Block{}, context.Cause(ctx)
	}
	pause := q.Wait > 0 && q.From == replication.FromOffset
	q.Wait = 0
	b, err := r.n.blockAbroad(ctx, region, by, &q)
	<-room.brief
	if pause && err == nil && b.Next == q.Offset {
		r.n.streams.pause(ctx, briefPause)
	}
	return b, err
}
