package replication

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
)

// divide makes of an append those that go to the leader, in order: a question to another
// node has only so much room. Once one of them is not kept, those after it are not sent
// any more: whoever repeats the append would have it behind them.
func (c *appendCall) divide() []*appendCall {
	var parts []*appendCall
	from, bytes := 0, 0
	for i := range c.records {
		size := recordSize(&c.records[i])
		if i > from && (i-from == appendRecords || bytes+size > appendBytes) {
			parts = append(parts, &appendCall{ctx: c.ctx, until: c.until, records: c.records[from:i]})
			from, bytes = i, 0
		}
		bytes += size
	}
	if from == 0 {
		return []*appendCall{c}
	}
	parts = append(parts, &appendCall{ctx: c.ctx, until: c.until, records: c.records[from:]})
	whole := &divided{of: c, left: len(parts), results: make([]partition.Appended, len(c.records))}
	at := 0
	for _, part := range parts {
		results := whole.results[at : at+len(part.records)]
		part.whole, part.done = whole, func(got []partition.Appended, err error) { whole.settle(results, got, err) }
		at += len(part.records)
	}
	return parts
}

var errHeadless = fmt.Errorf("%w: what comes before it is not kept", errTurn)

// divided is an append whose parts are on their way.
type divided struct {
	of *appendCall

	mu      sync.Mutex // guards the fields below
	left    int        // parts without an outcome
	results []partition.Appended
	kept    bool // a part was
	err     error
}

// broken reports whether a part was not kept.
func (d *divided) broken() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err != nil
}

// headless reports whether a call is a part of an append of which another is not kept.
func (c *appendCall) headless() bool { return c.whole != nil && c.whole.broken() }

// behead drops the calls of a batch that are headless, and reports whether any are left.
// None of it is on its way.
func (b *batch) behead() bool {
	if !slices.ContainsFunc(b.calls, (*appendCall).headless) {
		return true
	}
	err := b.unknown // of an attempt before
	if err == nil {
		err = errHeadless
	}
	b.records = nil
	b.calls = slices.DeleteFunc(b.calls, func(c *appendCall) bool {
		if c.headless() {
			c.done(nil, err)
			return true
		}
		b.records = append(b.records, c.records...)
		return false
	})
	return len(b.calls) > 0
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
