package node

import (
	"context"
	"errors"
	"time"

	"github.com/skeinmesh/skein/replication"
)

// fetchAll fetches a log's records as they come, until the reader is closed. A
// region that cannot be asked is asked again: what it keeps does not go away.
func (r *StreamReader) fetchAll(l *logReader) {
	ask := l.ask
	for pause := fetchPause; r.ctx.Err() == nil; {
		records, err := r.fetchFrom(r.ctx, l.region, ask, readWait)
		f := fetched{log: l, records: records}
		var trimmed *replication.TrimmedError
		switch {
		case errors.As(err, &trimmed):
			f.err, f.records.Offset = r.passed(l, ask.Offset, trimmed.Start), trimmed.Start
			ask.From, ask.Offset = replication.FromOffset, trimmed.Start // and go on with what is left
		case err != nil:
			r.n.log.Debug("a stream's reader waits", "stream", r.stream.Name, "region", l.region, "err", err)
			r.pause(pause)
			pause = min(2*pause, fetchPauseMax)
			continue
		case len(records.List) == 0:
			pause = fetchPause
			continue
		default:
			ask.From, ask.Offset = replication.FromOffset, records.Next()
		}
		pause = fetchPause
		select {
		case r.came <- f:
		case <-r.ctx.Done():
		}
	}
}

// watch looks for logs that are made while the reader follows: of regions that
// begin to keep the stream.
func (r *StreamReader) watch(known map[string]bool) {
	for r.ctx.Err() == nil {
		r.pause(watchEvery)
		for _, region := range r.n.keepers(&r.stream) {
			ctx, cancel := context.WithTimeout(r.ctx, DefaultWait)
			logs, err := r.n.logsOf(ctx, region, r.stream.UUID)
			cancel()
			if err != nil {
				continue // it is asked again
			}
			for _, found := range logs {
				l := r.log(region, logEnd{Partition: found.Partition, Start: found.Start})
				if known[l.name()] {
					continue
				}
				known[l.name()] = true
				select {
				case r.came <- fetched{log: l, first: true}:
					r.wg.Go(func() { r.fetchAll(l) })
				case <-r.ctx.Done():
				}
			}
		}
	}
}

// pause waits, or until the reader is closed.
func (r *StreamReader) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.ctx.Done():
	}
}

const (
	fetchPause    = 100 * time.Millisecond
	fetchPauseMax = 5 * time.Second
	watchEvery    = 10 * time.Second
)

// nextToCome hands out what comes, log by log.
func (r *StreamReader) nextToCome(ctx context.Context) (StreamEvent, error) {
	for {
		if r.at != nil && len(r.at.got) > 0 {
			return r.hand(r.at)
		}
		select {
		case f := <-r.came:
			if f.first {
				r.logs = append(r.logs, f.log)
				continue
			}
			f.log.got, f.log.next = f.records.List, f.records.Offset
			if f.err != nil {
				return StreamEvent{}, f.err
			}
			r.at = f.log
		case <-ctx.Done():
			return StreamEvent{}, ctx.Err()
		case <-r.ctx.Done():
			return StreamEvent{}, ErrClosed
		}
	}
}
