package node

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/placement"
	"github.com/skeinmesh/skein/routing"
	"github.com/skeinmesh/skein/transport/event"
)

// Position says where a stream keeps an event.
type Position struct {
	Event     int    `json:"-"` // its number in the publish, from 0
	Stream    string `json:"stream"`
	Region    string `json:"region"`
	Partition uint32 `json:"partition"`
	Offset    int64  `json:"offset"`
	Duplicate bool   `json:"duplicate,omitempty"` // it was kept before
	// Waiting says that the region which keeps the stream cannot be reached: the
	// event waits on this node's disk, and has no offset yet.
	Waiting bool `json:"waiting,omitempty"`
}

// String is the position as people and headers write it.
func (p Position) String() string {
	if p.Waiting {
		return fmt.Sprintf("%s@%s;waiting", p.Stream, p.Region)
	}
	s := fmt.Sprintf("%s@%s/%d/%d", p.Stream, p.Region, p.Partition, p.Offset)
	if p.Duplicate {
		s += ";duplicate"
	}
	return s
}

// captured is some events of a publish for one partition, here or in another
// region.
type captured struct {
	region    string
	partition uint32 // of this region; another region finds it
	records   []replication.Record
	from      []int // the number of each record's event in the publish
	streams   []*keeper
	keys      []string // of each record's event, for another region
}

// wanted are the streams that want to keep each event.
func (n *Node) wanted(ns string, evs []event.Event) [][]*keeper {
	wanted := make([][]*keeper, len(evs))
	var found []*routing.Stream
	for i := range evs {
		found = n.table.MatchStreams(ns, &evs[i], found[:0])
		for _, s := range found {
			wanted[i] = append(wanted[i], s.Keeper.(*keeper))
		}
	}
	return wanted
}

// capture keeps events in the streams that want them, and returns when that is
// decided. All are kept where they should be, or the error says what is known:
// with replication.ErrUnknown, some may be.
func (n *Node) capture(ctx context.Context, evs []event.Event, wanted [][]*keeper) ([]Position, error) {
	var batches []*captured
	at := map[string]*captured{}
	for i := range evs {
		if len(wanted[i]) == 0 {
			continue
		}
		// The publish may be over, and its memory used again, before the last try is.
		data := slices.Clone(evs[i].Bytes())
		key, dedup := evs[i].Key(), dedupKey(&evs[i])
		for _, k := range wanted[i] {
			c, err := n.batchFor(at, k, key)
			if err != nil {
				return nil, err
			}
			if len(c.records) == 0 {
				batches = append(batches, c)
			}
			w := k.stream.Dedup
			c.records = append(c.records, replication.Record{
				Log: replication.LogID(k.stream.UUID), Key: dedup, Data: data,
				Window: replication.Window{Age: w.Age, Events: int(w.Events)},
			})
			c.from, c.streams, c.keys = append(c.from, i), append(c.streams, k), append(c.keys, key)
		}
	}
	if len(batches) == 0 {
		return nil, nil
	}
	positions := make([][]Position, len(batches))
	errs := make([]error, len(batches))
	var wg sync.WaitGroup
	for i, c := range batches {
		if i == len(batches)-1 { // this goroutine has nothing else to do
			positions[i], errs[i] = n.keep(ctx, c)
			break
		}
		wg.Go(func() { positions[i], errs[i] = n.keep(ctx, c) })
	}
	wg.Wait()
	all := slices.Concat(positions...)
	n.count.streams.note(all, errs)
	slices.SortStableFunc(all, func(a, b Position) int { return a.Event - b.Event })
	if err := errors.Join(errs...); err != nil {
		if len(all) > 0 && !errors.Is(err, replication.ErrUnknown) {
			err = fmt.Errorf("%w: %w", replication.ErrUnknown, err)
		}
		return all, fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	return all, nil
}

// dedupKey is what an event is known by in a stream: a hash of its source and id.
func dedupKey(ev *event.Event) (k replication.Key) {
	var room [256]byte
	b := binary.AppendUvarint(room[:0], uint64(len(ev.Source())))
	sum := sha256.Sum256(append(append(b, ev.Source()...), ev.ID()...))
	copy(k[:], sum[:])
	return k
}

// batchFor is where the next record of a stream goes.
func (n *Node) batchFor(at map[string]*captured, k *keeper, key string) (*captured, error) {
	c := &captured{region: n.self.Region}
	if len(k.partitions) > 0 {
		c.partition = k.partitions[placement.Partition([]byte(key), len(k.partitions))]
	} else if len(k.regions) == 1 {
		c.region = k.regions[0] // its home: what cannot get there waits
	} else if c.region = n.nearest(k.regions); c.region == "" {
		return nil, fmt.Errorf("%w: stream %s is kept in %s, and no way leads there now", ErrNotKept, k.stream.Name, strings.Join(k.regions, ", "))
	}
	name := fmt.Sprintf("%s/%d", c.region, c.partition)
	if c.region != n.self.Region { // each stream waits by itself if it must
		name += k.stream.UUID.String()
	}
	if at[name] == nil {
		at[name] = c
	}
	return at[name], nil
}

// nearest is the region of a list that is the cheapest to reach, or "".
func (n *Node) nearest(regions []string) (best string) {
	cost := 0
	for _, r := range regions {
		if hop := n.graph.Hop(r, 0); hop.Next != "" && (best == "" || hop.Route.Cost < cost) {
			best, cost = r, hop.Route.Cost
		}
	}
	return best
}

// keep has records kept, in this region or another.
func (n *Node) keep(ctx context.Context, c *captured) ([]Position, error) {
	if c.region != n.self.Region {
		return n.keepAbroad(ctx, c)
	}
	m := n.streams.member.Load()
	if m == nil {
		return nil, errNoStreams
	}
	n.count.streams.appends.Add(1)
	results, err := m.Append(ctx, c.partition, c.records)
	if err != nil {
		return nil, err
	}
	positions := make([]Position, len(results))
	for i, r := range results {
		positions[i] = Position{
			Event: c.from[i], Stream: c.streams[i].stream.Name, Region: c.region, Partition: c.partition,
			Offset: r.Offset, Duplicate: r.Duplicate,
		}
	}
	return positions, nil
}

// keepCounters are the counters of StreamStats.
type keepCounters struct {
	appends, kept, duplicates, unknown atomic.Uint64
}

// note counts what came of a publish.
func (c *keepCounters) note(positions []Position, errs []error) {
	var duplicates uint64
	for _, p := range positions {
		if p.Duplicate {
			duplicates++
		}
	}
	c.kept.Add(uint64(len(positions)) - duplicates)
	c.duplicates.Add(duplicates)
	for _, err := range errs {
		if errors.Is(err, ErrUnknown) {
			c.unknown.Add(1)
		}
	}
}
