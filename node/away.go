package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/placement"
	"github.com/skeinmesh/skein/transport/event"
)

// What another region keeps goes there at once if it can. A stream with a home has
// no other: its events wait in this node's outbox while the home cannot be reached,
// and all that are published after them, too.

const (
	// awayWait is how long a publisher waits for another region, for each bundle,
	// before its events wait in the outbox.
	awayWait = 3 * time.Second
	// sendWait is how long a bundle from there may take, on a link that is slow.
	sendWait = 30 * time.Second
)

// keepAbroad has records of one stream kept in another region, or in the outbox.
func (n *Node) keepAbroad(ctx context.Context, c *captured) ([]Position, error) {
	m := n.streams.member.Load()
	if m == nil {
		return nil, errNoStreams
	}
	stream := &c.streams[0].stream
	list := make([]replication.Away, len(c.records))
	for i, r := range c.records {
		list[i] = replication.Away{Key: r.Key, Data: r.Data}
	}
	limit, cancel := context.WithTimeout(ctx, awayWait)
	drained := m.DrainedAway(limit, stream.UUID)
	cancel()
	var positions []Position
	var err error
	if drained {
		positions, err = n.sendAbroad(ctx, awayWait, c.region, stream.UUID, list)
		if err != nil && !(len(c.streams[0].regions) == 1 && mayWait(err, stream)) {
			return c.placed(positions), err
		}
	}
	if rest := list[len(positions):]; len(rest) > 0 {
		if full := m.PutAway(ctx, stream.UUID, rest); full != nil {
			return c.placed(positions), errors.Join(full, err)
		}
		for range rest {
			positions = append(positions, Position{Stream: stream.Name, Region: c.region, Waiting: true})
		}
	}
	return c.placed(positions), nil
}

// placed says of which events the positions of the first records are.
func (c *captured) placed(positions []Position) []Position {
	for i := range positions {
		positions[i].Event = c.from[i]
	}
	return positions
}

// mayWait reports whether records that could not be sent now may be sent later.
func mayWait(err error, s *meta.Stream) bool {
	switch {
	case errors.Is(err, replication.ErrUnknown):
		return s.Dedup.Events > 0 // it would not be kept twice
	case errors.Is(err, ErrUnreachable), errors.Is(err, replication.ErrNoLeader), errors.Is(err, replication.ErrBusy):
		return true
	}
	return false
}

// sendAbroad sends records of a stream to a region that keeps it, in order; each bundle
// may take so long. With an error it tells the positions of those that are kept for
// certain: the first ones.
func (n *Node) sendAbroad(ctx context.Context, wait time.Duration, region string, stream meta.ID, records []replication.Away) (positions []Position, err error) {
	for len(records) > 0 {
		first := records[:fitting(records)]
		limit, cancel := context.WithTimeout(ctx, wait)
		kept, err := n.sendBundle(limit, region, stream, first)
		cancel()
		if err != nil {
			return positions, err
		}
		positions, records = append(positions, kept...), records[len(first):]
	}
	return positions, nil
}

// sendAway sends what has waited in the outbox.
func (n *Node) sendAway(ctx context.Context, stream meta.ID, records []replication.Away) error {
	err := fmt.Errorf("%w: nothing is known of it yet", ErrNoStream)
	s, known := n.streams.one(stream)
	if known {
		var regions []string
		if _, regions, err = meta.ParsePlacement(s.Placement); err == nil && len(regions) > 0 {
			_, err = n.sendAbroad(ctx, sendWait, regions[0], stream, records)
		}
	}
	if (errors.Is(err, ErrNoStream) || errors.Is(err, ErrNotKept)) && n.purged(ctx, stream, s.Owner) {
		return fmt.Errorf("%w: stream %s is purged", replication.ErrAwayGone, stream)
	}
	return err
}

// keepOf keeps what another region's nodes publish for a stream that is kept here
// alone.
func (n *Node) keepOf(ctx context.Context, list []abroadRecord) ([]Position, error) {
	m := n.streams.member.Load()
	if m == nil {
		return nil, errNoStreams
	}
	positions := make([]Position, len(list))
	batches := map[uint32]*captured{}
	var ev event.Event
	for i, r := range list {
		if err := ev.Scan(r.Data); err != nil {
			return nil, fmt.Errorf("a record from another region: %w", err)
		}
		s, known := m.Stream(r.Stream)
		a, assigned := m.Meta().Assignment(r.Stream)
		if !known || !assigned || len(a.Partitions) == 0 {
			return nil, fmt.Errorf("%w: this region does not keep the stream", ErrNotKept)
		}
		number := a.Partitions[placement.Partition([]byte(ev.Key()), len(a.Partitions))]
		c := batches[number]
		if c == nil {
			c = &captured{region: n.self.Region, partition: number}
			batches[number] = c
		}
		c.records = append(c.records, replication.Record{
			Log: replication.LogID(r.Stream), Key: replication.Key(r.Dedup), Data: r.Data,
			Window: replication.Window{Age: s.Dedup.Age, Events: int(s.Dedup.Events)},
		})
		c.from, c.streams = append(c.from, i), append(c.streams, &keeper{stream: s})
	}
	kept := false
	for _, c := range batches {
		done := make(chan struct{})
		n.keep(ctx, c, func() { close(done) })
		select {
		case <-done:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", replication.ErrUnknown, context.Cause(ctx))
		}
		if c.err != nil && kept {
			return nil, fmt.Errorf("%w: %w", replication.ErrUnknown, c.err)
		}
		if c.err != nil {
			return nil, c.err
		}
		kept = true
		for _, p := range c.positions {
			positions[p.Event] = p
		}
	}
	return positions, nil
}
