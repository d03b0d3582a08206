package node

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/transport"
	"github.com/skeinmesh/skein/transport/peer"
)

// Who makes a stream wants to know from when on every event is kept that it wants:
// once every node that takes events knows it. So the region that owns it asks all
// regions, and whoever answers for a region asks its nodes. A node knows a stream
// once it routes events into it and has it on its disk: it routes them there after
// a crash, too. A node that is not asked, because it starts at that moment, hears of
// the stream before it is ready; see learnStreams.

// streamMark says which state of a stream is meant, or any later one.
type streamMark struct {
	Stream     meta.ID `json:"stream"`
	OwnerEpoch uint64  `json:"ownerEpoch"`
	Version    uint64  `json:"version"`
}

func markOf(s *meta.Stream) streamMark { return streamMark{s.UUID, s.OwnerEpoch, s.Version} }

// reached reports whether a stream is in the state, or in a later one.
func (q streamMark) reached(s *meta.Stream) bool {
	return s.UUID == q.Stream && !(meta.Stream{OwnerEpoch: q.OwnerEpoch, Version: q.Version}).Newer(*s)
}

// knownQuestion asks which nodes of a region do not know a stream.
type knownQuestion struct {
	streamMark
	Within int64 `json:"within"` // in how many milliseconds the answer is wanted
}

const (
	// createWait is how long those are waited for who are to know a stream.
	createWait = 10 * time.Second
	// awayFor is how long of that those are waited for who cannot be reached.
	awayFor = 2 * time.Second
)

// awaitStream waits until all know a stream as it is now, and names those that do
// not: regions, and nodes as region/node.
func (n *Node) awaitStream(ctx context.Context, s *meta.Stream) (missing []string) {
	ctx, cancel := context.WithTimeout(ctx, createWait)
	defer cancel()
	regions := slices.Concat(n.knownRegions(), n.keepers(s))
	slices.Sort(regions)
	var wg sync.WaitGroup
	var mu sync.Mutex // guards missing
	for _, region := range slices.Compact(regions) {
		wg.Go(func() {
			lacks := n.unknownIn(ctx, region, markOf(s))
			mu.Lock()
			defer mu.Unlock()
			missing = append(missing, lacks...)
		})
	}
	wg.Wait()
	slices.Sort(missing)
	return missing
}

// unknownIn waits until a region knows a stream, and names who does not, or the
// region if it does not answer.
func (n *Node) unknownIn(ctx context.Context, region string, q streamMark) (missing []string) {
	if region == n.self.Region {
		return n.unknownHere(ctx, q)
	}
	for away := (awayTime{}); ; {
		deadline, _ := ctx.Deadline()
		left := time.Until(deadline)
		k := knownQuestion{q, (left - min(time.Second, left/5)).Milliseconds()} // the answer takes its time, too
		err := n.askAbroad(ctx, region, abroadKnown, k, &missing)
		if err == nil {
			return missing
		}
		if away.tooLong(!errors.Is(err, ErrUnreachable)) || !n.streams.pause(ctx, lookAgain) {
			n.log.Debug("a region does not say whether it knows a stream", "region", region, "err", err)
			return []string{region}
		}
	}
}

// awayTime says since when somebody cannot be reached, who could until then.
type awayTime struct{ since time.Time }

// tooLong notes whether somebody can be reached now, and reports whether nobody waits
// for it any more.
func (a *awayTime) tooLong(reached bool) bool {
	switch {
	case reached:
		a.since = time.Time{}
	case a.since.IsZero():
		a.since = time.Now()
	}
	return !reached && time.Since(a.since) > awayFor
}

// pause sleeps; it reports false if ctx ends.
func (s *streams) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// answerKnown answers a knownQuestion.
func (n *Node) answerKnown(ctx context.Context, body []byte) (any, error) {
	var q knownQuestion
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(q.Within)*time.Millisecond, createWait))
	defer cancel()
	return n.unknownHere(ctx, q.streamMark), nil
}

// unknownHere waits until all nodes of this region know a stream, and its logs here,
// if any, have leaders; it names who does not, or the region if there are none.
func (n *Node) unknownHere(ctx context.Context, q streamMark) (missing []string) {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards missing
	unless := func(known bool, name string) {
		if !known {
			mu.Lock()
			defer mu.Unlock()
			missing = append(missing, name)
		}
	}
	wg.Go(func() {
		if !n.streams.awaitKnown(ctx, q) {
			unless(false, n.self.Region+"/"+n.self.Name)
			return
		}
		unless(n.awaitLed(ctx, q.Stream), n.self.Region)
	})
	for _, p := range n.graph.Peers() {
		if p.Region == n.self.Region {
			wg.Go(func() { unless(n.nodeKnows(ctx, p.ID, q), p.Region+"/"+p.Name) })
		}
	}
	wg.Wait()
	return missing
}

// awaitKnown waits until this node knows a stream; it reports false when ctx ends
// first.
func (s *streams) awaitKnown(ctx context.Context, q streamMark) bool {
	return s.await(ctx, func() bool { return s.knows(q) })
}

// knows reports whether this node knows a stream, or that it is deleted since. s.mu
// is held.
func (s *streams) knows(q streamMark) bool {
	if d, ended := s.ended[q.Stream]; ended && q.reached(&d) {
		return true
	}
	k := s.keepers[q.Stream]
	return k != nil && q.reached(&k.stream) && !k.unassigned && !k.unreadable && !s.unwritten[q.Stream]
}

// awaitLed waits until the logs of a stream that this node knows have leaders, those
// of this region.
func (n *Node) awaitLed(ctx context.Context, id meta.ID) bool {
	for {
		if m := n.streams.member.Load(); m != nil {
			a, _ := m.Meta().Assignment(id)
			if !slices.ContainsFunc(a.Partitions, func(number uint32) bool { return !m.Led(ctx, number) }) {
				return true
			}
		}
		if !n.streams.pause(ctx, lookAgain) {
			return false
		}
	}
}

// nodeKnows waits until another node of the region knows a stream.
func (n *Node) nodeKnows(ctx context.Context, id peer.ID, q streamMark) bool {
	body, err := json.Marshal(q)
	if err != nil {
		return false
	}
	for away := (awayTime{}); ; {
		_, err := n.net.Call(ctx, id, kindKnows, body)
		if err == nil {
			return true
		}
		var said *transport.CallError
		if errors.As(err, &said) {
			return false // it has waited
		}
		if _, there := n.graph.Peer(id); !there {
			return true // it is no node any more, or takes nothing: when it is back it hears of the stream first
		}
		if away.tooLong(n.net.Linked(id)) || !n.streams.pause(ctx, lookAgain) {
			return false
		}
	}
}

// answerKnows answers once this node knows a stream.
func (n *Node) answerKnows(ctx context.Context, body []byte) ([]byte, error) {
	var q streamMark
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, err
	}
	if !n.streams.awaitKnown(ctx, q) {
		return nil, errors.New("the stream is not known here yet")
	}
	return nil, nil
}
