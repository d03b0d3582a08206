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
	"github.com/skeinmesh/skein/replication/meta"
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
	// Routed says that the event is on its way to the partition, and may be lost: it
	// has no offset yet.
	Routed bool `json:"routed,omitempty"`
}

// String is the position as people and headers write it.
func (p Position) String() string {
	if p.Waiting {
		return fmt.Sprintf("%s@%s;waiting", p.Stream, p.Region)
	}
	if p.Routed {
		return fmt.Sprintf("%s@%s/%d;routed", p.Stream, p.Region, p.Partition)
	}
	s := fmt.Sprintf("%s@%s/%d/%d", p.Stream, p.Region, p.Partition, p.Offset)
	if p.Duplicate {
		s += ";duplicate"
	}
	return s
}

// captured is some events of a publish for one partition, here or in another
// region, and what came of them.
type captured struct {
	region    string
	partition uint32 // of this region; another region finds it
	records   []replication.Record
	from      []int // the number of each record's event in the publish
	streams   []*keeper
	keys      []string // of each record's event, for another region

	positions []Position // set with err before Keeping.left counts it
	err       error
	refused   error // the outcome, if it was there at once; of this region alone
}

// destination is where records of a publish go: a partition of this region or, as each
// stream waits by itself if it must, a stream in another.
type destination struct {
	region    string
	partition uint32
	stream    meta.ID
}

// Keeping is a publish under way: streams are keeping its events.
type Keeping struct {
	n   *Node
	ctx context.Context
	ns  string
	evs []event.Event
	how PublishOptions

	parts []*captured
	far   bool
	wg    sync.WaitGroup // of those that ask other regions
	left  atomic.Int32   // parts without an outcome
	done  chan struct{}  // closed when none is left; nil if there were none
}

// Settled is closed when streams have kept the events or have failed to, also where
// End does not wait for it. It is nil if no stream wants any of them.
func (k *Keeping) Settled() <-chan struct{} { return k.done }

// hurried reports whether nobody waits until the events are kept.
func (k *Keeping) hurried() bool { return k.how.Durability == Routed && !k.far }

// Far reports whether another region is asked to keep events. What is published
// meanwhile may overtake them.
func (k *Keeping) Far() bool { return k.far }

// finished notes that a part has its outcome.
func (k *Keeping) finished() {
	if k.left.Add(-1) > 0 {
		return
	}
	if k.hurried() { // nobody else will
		for _, c := range k.parts {
			k.n.count.streams.note(c.positions, []error{c.err})
			if c.err != nil {
				k.n.count.streams.lost.Add(uint64(len(c.records)))
			}
		}
	}
	close(k.done)
}

// capture begins to keep events in the streams that want them. The events' bytes
// must not change afterwards.
func (k *Keeping) capture() error {
	at := map[destination]*captured{}
	var found []*routing.Stream
	for i := range k.evs {
		ev := &k.evs[i]
		if found = k.n.table.MatchStreams(k.ns, ev, found[:0]); len(found) == 0 {
			continue
		}
		key, dedup := ev.Key(), dedupKey(ev)
		for _, s := range found {
			of, err := k.n.streams.assignedKeeper(k.ctx, s.Keeper.(*keeper))
			if err != nil {
				return err
			}
			to, err := k.n.destination(of, key)
			if err != nil {
				return err
			}
			c := at[to]
			if c == nil {
				c = &captured{region: to.region, partition: to.partition, records: make([]replication.Record, 0, len(k.evs)-i)}
				at[to], k.parts = c, append(k.parts, c)
			}
			w := of.stream.Dedup
			c.records = append(c.records, replication.Record{
				Log: replication.LogID(of.stream.UUID), Key: dedup, Data: ev.Bytes(),
				Window: replication.Window{Age: w.Age, Events: int(w.Events)},
			})
			c.from, c.streams = append(c.from, i), append(c.streams, of)
			if to.region != k.n.self.Region {
				c.keys = append(c.keys, key)
			}
		}
	}
	if len(k.parts) == 0 {
		return nil
	}
	k.left.Store(int32(len(k.parts)))
	k.done = make(chan struct{})
	k.far = slices.ContainsFunc(k.parts, func(c *captured) bool { return c.region != k.n.self.Region })
	ctx := k.ctx
	if k.hurried() {
		ctx = k.n.ctx // it goes on when the publisher is gone
	}
	for _, c := range k.parts {
		if c.region == k.n.self.Region {
			k.n.keep(ctx, c, k.finished)
			continue
		}
		k.wg.Go(func() {
			defer k.finished()
			c.positions, c.err = k.n.keepAbroad(k.ctx, c)
		})
	}
	return nil
}

// kept waits until it is decided what is kept. All are kept where they should be, or
// the error says what is known: with replication.ErrUnknown, some may be.
func (k *Keeping) kept() ([]Position, error) {
	if k.done == nil {
		return nil, nil
	}
	if k.hurried() {
		return k.routed()
	}
	select {
	case <-k.done:
	default:
		select {
		case <-k.done:
		case <-k.ctx.Done():
			k.wg.Wait()
			k.n.count.streams.unknown.Add(1)
			return nil, fmt.Errorf("%w: %w: %w", ErrNotKept, replication.ErrUnknown, context.Cause(k.ctx))
		}
	}
	var all []Position
	var errs []error
	for _, c := range k.parts {
		errs = append(errs, c.err)
		if all == nil {
			all = c.positions
		} else {
			all = append(all, c.positions...)
		}
	}
	k.n.count.streams.note(all, errs)
	if len(k.parts) > 1 {
		slices.SortStableFunc(all, func(a, b Position) int { return a.Event - b.Event })
	}
	if err := errors.Join(errs...); err != nil {
		if len(all) > 0 && !errors.Is(err, replication.ErrUnknown) {
			err = fmt.Errorf("%w: %w", replication.ErrUnknown, err)
		}
		return all, fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	return all, nil
}

// routed tells where the events are going that nobody waits for.
func (k *Keeping) routed() (all []Position, err error) {
	for _, c := range k.parts {
		err = errors.Join(err, c.refused)
		for i, s := range c.streams {
			all = append(all, Position{Event: c.from[i], Stream: s.stream.Name, Region: c.region, Partition: c.partition, Routed: true})
		}
	}
	slices.SortStableFunc(all, func(a, b Position) int { return a.Event - b.Event })
	if err != nil && len(k.parts) > 1 {
		err = fmt.Errorf("%w: %w", replication.ErrUnknown, err)
	}
	if err != nil {
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

// destination is where a stream's event with a key goes.
func (n *Node) destination(k *keeper, key string) (destination, error) {
	if len(k.partitions) > 0 {
		return destination{region: n.self.Region, partition: k.partitions[placement.Partition([]byte(key), len(k.partitions))]}, nil
	}
	to := destination{stream: k.stream.UUID}
	if len(k.regions) == 1 {
		to.region = k.regions[0] // its home: what cannot get there waits
	} else if to.region = n.nearest(k.regions); to.region == "" {
		return to, fmt.Errorf("%w: stream %s is kept in %s, and no way leads there now", ErrNotKept, k.stream.Name, strings.Join(k.regions, ", "))
	}
	return to, nil
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

// keep has records kept in this region, after those of the calls before, and calls
// done when the outcome is in c.
func (n *Node) keep(ctx context.Context, c *captured, done func()) {
	m := n.streams.member.Load()
	if m == nil {
		c.err, c.refused = errNoStreams, errNoStreams
		done()
		return
	}
	n.count.streams.appends.Add(1)
	err := m.AppendAsync(ctx, c.partition, c.records, func(results []replication.Appended, err error) {
		defer done()
		if c.err = err; err != nil {
			return
		}
		c.positions = make([]Position, len(results))
		for i, r := range results {
			c.positions[i] = Position{
				Event: c.from[i], Stream: c.streams[i].stream.Name, Region: c.region, Partition: c.partition,
				Offset: r.Offset, Duplicate: r.Duplicate,
			}
		}
	})
	if err != nil {
		c.err, c.refused = err, err
		done()
	}
}

// keepCounters are the counters of StreamStats.
type keepCounters struct {
	appends, kept, duplicates, unknown, lost atomic.Uint64
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
