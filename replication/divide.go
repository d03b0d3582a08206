package replication

import (
	"errors"
	"fmt"
	"sync"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
)

// divide makes of an append those that go to the leader, in order: a question to another
// node has only so much room.
func (c *appendCall) divide() []*appendCall {
	var parts []*appendCall
	from, bytes := 0, 0
	for i := range c.records {
		size := recordSize(&c.records[i])
		if i > from && (i-from == appendRecords || bytes+size > appendBytes) {
			parts = append(parts, &appendCall{c.ctx, c.until, c.records[from:i], nil})
			from, bytes = i, 0
		}
		bytes += size
	}
	if from == 0 {
		return []*appendCall{c}
	}
	parts = append(parts, &appendCall{c.ctx, c.until, c.records[from:], nil})
	whole := &divided{of: c, left: len(parts), results: make([]partition.Appended, len(c.records))}
	at := 0
	for _, part := range parts {
		results := whole.results[at : at+len(part.records)]
		part.done = func(got []partition.Appended, err error) { whole.settle(results, got, err) }
		at += len(part.records)
	}
	return parts
}

// divided is an append whose parts are on their way.
type divided struct {
	of *appendCall

	mu      sync.Mutex // guards the fields below
	left    int        // parts without an outcome
	results []partition.Appended
	kept    bool // a part was
	err     error
}

// settle notes a part's outcome. The last tells that of all: if some are kept and others
// are not, that is unknown of each.
func (d *divided) settle(results, got []partition.Appended, err error) {
	d.mu.Lock()
	copy(results, got)
	d.kept = d.kept || err == nil
	d.err = errors.Join(d.err, err)
	d.left--
	last := d.left == 0
	d.mu.Unlock()
	switch {
	case !last:
	case d.err == nil:
		d.of.done(d.results, nil)
	case d.kept:
		d.of.done(nil, fmt.Errorf("%w: some of the records are kept: %w", multiraft.ErrUnknown, d.err))
	default:
		d.of.done(nil, d.err)
	}
}
