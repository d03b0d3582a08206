package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/skeinmesh/skein/replication"
)

// Bounds of what is fetched of a log at once, in bytes. A reader holds two blocks of
// each log at most, and what is read ahead, see readAhead.
const (
	blockLeast  = 32 << 10
	readerBytes = 16 << 20
)

// regions are those that keep the stream, those that have and of which no node runs
// now, and those that where to begin speaks of.
func (r *StreamReader) regions() []string {
	list := append(r.n.keepers(&r.stream), r.start.regions()...)
	list = append(list, slices.DeleteFunc(r.n.regions.all(time.Now()), func(region string) bool { return !r.stream.KeptIn(region) })...)
	slices.Sort(list)
	return slices.Compact(list)
}

// open finds the logs, and where each is to be read from.
func (r *StreamReader) open(ctx context.Context) error {
	regions := r.regions()
	found, errs := make([][]logEnd, len(regions)), make([]error, len(regions))
	ctx, cancel := context.WithTimeout(ctx, endWait+DefaultWait)
	defer cancel()
	var wg sync.WaitGroup
	for i, region := range regions {
		wg.Go(func() { found[i], errs[i] = r.n.endsOf(ctx, region, r.stream.UUID) })
	}
	wg.Wait()
	var starts []int64
	for i, region := range regions {
		if errs[i] != nil {
			r.absent[region] = true
			continue
		}
		for _, e := range found[i] {
			l := r.log(region, e, len(r.logs))
			r.logs = append(r.logs, l)
			starts = append(starts, e.Start)
		}
	}
	if err := errors.Join(errs...); err != nil {
		if !r.q.Follow && !r.q.Partial || r.start.kind == atOffset {
			return &MissingError{Stream: r.stream.Name, Regions: r.Missing(), Err: err}
		}
		r.missing = r.Missing()
		r.tell = []error{&MissingError{Stream: r.stream.Name, Regions: r.missing, Err: err}}
	}
	if err := r.seek(starts); err != nil {
		return err
	}
	return r.limit()
}

// log is a log that is read from its beginning, beside others.
func (r *StreamReader) log(region string, e logEnd, others int) *logReader {
	l := &logReader{region: region, end: e.Next, more: make(chan struct{}, 1)}
	l.more <- struct{}{}
	l.ask = replication.Read{
		Partition: e.Partition, Log: r.stream.UUID,
		Bytes: max(blockLeast, min(replication.BlockBytes, readerBytes/(2*max(1, others)))),
	}
	l.at(e.Start)
	return l
}

// seek sets the logs where they are to be read from; starts are where they begin.
func (r *StreamReader) seek(starts []int64) error {
	if r.start.kind == atOffset && len(r.logs) != 1 {
		return r.start.ambiguous(r)
	}
	for i, l := range r.logs {
		r.start.place(l, logEnd{Start: starts[i], Next: l.end}, r.began, seenThen)
		if l.next < 0 && l.end == 0 && !r.q.Follow {
			l.at(0) // there is nothing of any time
		}
		if l.next >= 0 && l.next < starts[i] && !r.q.GoOn {
			return r.passed(l, l.next, starts[i])
		}
	}
	return nil
}

// limit has reading end where an earlier reader was to end; logs that it did not
// know are not read.
func (r *StreamReader) limit() error {
	if r.q.Follow || r.q.Until == "" {
		return nil
	}
	ends, err := parseCursor(r.q.Until)
	if err != nil {
		return err
	}
	for _, l := range r.logs {
		to, named := ends[l.name()]
		l.left = !named || to.timed
		l.end = to.at
		if l.left {
			l.end = 0
		}
	}
	return nil
}

func (r *StreamReader) passed(l *logReader, offset, start int64) *TrimmedError {
	return &TrimmedError{Stream: r.stream.Name, Region: l.region, Partition: l.ask.Partition, Offset: offset, Start: start}
}
