package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
)

// logEnd is which offsets of a stream's log can be read: from Start up to Next.
type logEnd struct {
	Partition uint32 `json:"partition"`
	Start     int64  `json:"start"`
	Next      int64  `json:"next"`
}

// endWait is how long a region's leaders are waited for.
const endWait = 5 * time.Second

// endsOf asks a region for the ends of what it keeps of a stream. They are those of
// the leaders, so that what was acknowledged before is below them. A region that is
// out of reach is waited for while this node is not ready: it is about to have links.
func (n *Node) endsOf(ctx context.Context, region string, id meta.ID) (ends []logEnd, err error) {
	if region == n.self.Region {
		return n.streamEnds(ctx, id)
	}
	for began := time.Now(); ; {
		ready := n.Ready() == nil
		err = n.askAbroad(ctx, region, abroadEnds, id, &ends)
		if ready || !errors.Is(err, ErrUnreachable) || time.Since(began) > findWait || !n.streams.pause(ctx, lookAgain) {
			return ends, err
		}
	}
}

func (n *Node) streamEnds(ctx context.Context, id meta.ID) ([]logEnd, error) {
	m := n.streams.member.Load()
	if m == nil {
		return nil, errNoStreams
	}
	ctx, cancel := context.WithTimeout(ctx, endWait)
	defer cancel()
	a, known := m.Meta().Assignment(id)
	if !known { // nothing is kept, or this node has not heard yet that it is
		if err := m.CatchUp(ctx); err != nil {
			return nil, err
		}
		a, _ = m.Meta().Assignment(id)
	}
	ends, errs := make([]logEnd, len(a.Partitions)), make([]error, len(a.Partitions))
	var wg sync.WaitGroup
	for i, number := range a.Partitions {
		wg.Go(func() {
			ends[i].Partition = number
			ends[i].Start, ends[i].Next, errs[i] = m.End(ctx, number, id)
		})
	}
	wg.Wait()
	return ends, errors.Join(errs...)
}

func (n *Node) answerEnds(ctx context.Context, body []byte) (any, error) {
	var id meta.ID
	if err := json.Unmarshal(body, &id); err != nil {
		return nil, err
	}
	return n.streamEnds(ctx, id)
}

// StreamTrim says what to drop of a stream: of one log, the events before an offset.
type StreamTrim struct {
	Region    string `json:"region,omitempty"` // default: the only one that keeps the stream, else this node's
	Partition uint32 `json:"partition"`
	Before    int64  `json:"before"`
}

// logTrim is a StreamTrim for the region that it concerns.
type logTrim struct {
	Stream meta.ID `json:"stream"`
	StreamTrim
}

// TrimStream drops the events of one log before an offset, for good. Errors:
// ErrNoStream, ErrInvalid with what can be trimmed, ErrNoLeader, ErrUnreachable.
func (n *Node) TrimStream(ctx context.Context, namespace, name string, t StreamTrim) error {
	s, err := n.find(ctx, namespace, name, false)
	if err != nil {
		return err
	}
	keepers := n.keepers(&s)
	switch {
	case t.Region == "" && len(keepers) == 1:
		t.Region = keepers[0]
	case t.Region == "":
		t.Region = n.self.Region
	}
	if !slices.Contains(keepers, t.Region) {
		return fmt.Errorf("%w: region %.80q does not keep stream %s: %v do", ErrInvalid, t.Region, s.Name, keepers)
	}
	if t.Region == n.self.Region {
		return n.trimHere(ctx, logTrim{s.UUID, t})
	}
	var nothing struct{}
	return n.askAbroad(ctx, t.Region, abroadTrim, logTrim{s.UUID, t}, &nothing)
}

func (n *Node) trimHere(ctx context.Context, t logTrim) error {
	m := n.streams.member.Load()
	if m == nil {
		return errNoStreams
	}
	a, _ := m.Meta().Assignment(t.Stream)
	if !slices.Contains(a.Partitions, t.Partition) {
		return fmt.Errorf("%w: partition %d of region %s has nothing of the stream: %v have", ErrInvalid, t.Partition, n.self.Region, a.Partitions)
	}
	ctx, cancel := context.WithTimeout(ctx, endWait)
	defer cancel()
	_, end, err := m.End(ctx, t.Partition, t.Stream)
	if err != nil {
		return err
	}
	if t.Before < 0 || t.Before > end {
		return fmt.Errorf("%w: trim before offset %d: %s/%d ends at %d; 0 to that are right", ErrInvalid, t.Before, n.self.Region, t.Partition, end)
	}
	if end == 0 {
		return nil // there is nothing
	}
	return m.Trim(ctx, t.Partition, t.Stream, t.Before)
}

func (n *Node) answerTrim(ctx context.Context, body []byte) (any, error) {
	var t logTrim
	if err := json.Unmarshal(body, &t); err != nil {
		return nil, err
	}
	return struct{}{}, n.trimHere(ctx, t)
}
