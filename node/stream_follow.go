package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/skeinmesh/skein/replication"
)

// fetched is what a reader's goroutines hand to it: a block of a log, why a log
// cannot be read now, or the logs of a region.
type fetched struct {
	log     *logReader
	block   replication.Block
	trimmed *TrimmedError // retention has passed what was before the block
	lost    error         // the log cannot be read now
	at      time.Time

	region string // that has answered what logs it has
	logs   []*logReader
}

const (
	fetchPause    = 100 * time.Millisecond
	fetchPauseMax = 5 * time.Second
	// lostAfter is how long a log fails to be read before its region is missing. A
	// partition has a new leader by then, and another way to the region is found.
	lostAfter = 3 * time.Second
)

// fetch fetches a log's records until the reader is closed, or has what it wants. A
// region that cannot be asked is asked again: what it keeps does not go away.
func (r *StreamReader) fetch(l *logReader) {
	ask := blockAsk{Read: l.ask, Filter: r.filter}
	ask.Wait = readWait
	if !r.q.Follow {
		ask.Until = l.end
	}
	ahead, limit := r.aheadOf(l)
	defer ahead.drop()
	var failing time.Time
	told := false
	for pause := fetchPause; r.ctx.Err() == nil; {
		if !r.q.Follow && ask.From == replication.FromOffset && ask.Offset >= l.end {
			return
		}
		f := fetched{log: l}
		var err error
		f.block, err = ahead.next(r.ctx, &ask, limit)
		f.at = time.Now()
		moved := ask.From != replication.FromOffset || f.block.Next > ask.Offset
		var trimmed *replication.TrimmedError
		switch {
		case errors.As(err, &trimmed):
			f.trimmed = r.passed(l, ask.Offset, trimmed.Start)
			f.block = replication.Block{From: trimmed.Start, Next: trimmed.Start, End: trimmed.Start + 1}
			err, moved = nil, true
		case err == nil && !moved && !r.q.Follow:
			err = fmt.Errorf("%w: no replica of %s that answers has offset %d", ErrNoLeader, l.name(), ask.Offset)
		}
		if err != nil {
			if failing.IsZero() {
				failing = f.at
			}
			if !told && f.at.Sub(failing) >= lostAfter {
				told = true
				r.n.log.Debug("a log cannot be read now", "stream", r.stream.Name, "log", l.name(), "err", err)
				if r.send(fetched{log: l, lost: err}); !r.q.Follow {
					return
				}
			}
			r.pause(pause)
			pause = min(2*pause, fetchPauseMax)
			continue
		}
		pause, failing = fetchPause, time.Time{}
		if !moved && !told {
			continue
		}
		told = false
		ask.From, ask.Offset = replication.FromOffset, f.block.Next
		r.awaitMore(l, ahead)
		r.send(f)
	}
}

// awaitMore waits until the reader wants a log's next block, or is closed. A reader that
// has stopped gives back what was read ahead for it.
func (r *StreamReader) awaitMore(l *logReader, ahead *readAhead) {
	stopped := time.NewTimer(aheadKept)
	defer stopped.Stop()
	for {
		select {
		case <-l.more:
			return
		case <-stopped.C:
			ahead.drop()
		case <-r.ctx.Done():
			return
		}
	}
}

// aheadOf is how a log's blocks are got, and where reading ends.
func (r *StreamReader) aheadOf(l *logReader) (a *readAhead, limit int64) {
	a = &readAhead{wg: &r.wg, ask: func(ctx context.Context, q *blockAsk) (replication.Block, error) {
		return r.n.block(ctx, l.region, q)
	}}
	if l.region != r.n.self.Region {
		a.slots = r.n.streams.ahead
	}
	if r.q.Follow {
		return a, math.MaxInt64
	}
	return a, l.end
}

// send hands something to the reader.
func (r *StreamReader) send(f fetched) {
	select {
	case r.came <- f:
	case <-r.ctx.Done():
	}
}

// note notes what was handed to the reader.
func (r *StreamReader) note(f *fetched) {
	l := f.log
	switch {
	case l == nil:
		r.logs = append(r.logs, f.logs...)
		delete(r.absent, f.region)
	case f.lost != nil:
		l.lost = f.lost
		switch {
		case r.q.Follow:
		case r.q.Partial:
			l.left = true
		default:
			r.err = &MissingError{Stream: r.stream.Name, Regions: r.Missing(), Err: f.lost}
			return
		}
	default:
		back := l.lost != nil
		l.lost = nil
		r.fill(l, f)
		if f.trimmed != nil {
			r.tell = append(r.tell, f.trimmed)
		}
		if !back {
			return
		}
	}
	r.missed()
}

// fill takes what came for a log, up to where reading ends.
func (r *StreamReader) fill(l *logReader, f *fetched) {
	l.got, l.next, l.after, l.came = f.block.List, f.block.From, f.block.Next, f.at
	l.behind = f.block.Next < f.block.End
	if !r.q.Follow {
		for n := len(l.got); n > 0 && l.got[n-1].Offset >= l.end; n-- {
			l.got = l.got[:n-1]
		}
		l.after = max(l.next, min(l.after, l.end))
	}
	if r.at = l; len(l.got) == 0 {
		l.empty()
	}
}

// pause waits, or until the reader is closed.
func (r *StreamReader) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.ctx.Done():
	}
}
