package node

import (
	"context"
	"maps"
	"time"
)

// How often a reader that follows asks which logs a region has.
const (
	watchSoon  = time.Second      // one that is missing
	watchEvery = 10 * time.Second // one that may have others
	watchWhole = 5 * time.Minute  // one whose logs are all known
)

// watch looks for logs that the reader does not know: of regions that are absent,
// and of those that begin to keep the stream while it follows.
func (r *StreamReader) watch(w *watched) {
	for {
		if r.pause(watchSoon); r.ctx.Err() != nil {
			return
		}
		for _, region := range r.regions() {
			if !w.due(region, time.Now()) {
				continue
			}
			ctx, cancel := context.WithTimeout(r.ctx, endWait+DefaultWait)
			ends, err := r.n.endsOf(ctx, region, r.stream.UUID)
			cancel()
			if err != nil {
				continue // it is asked again
			}
			f, then := fetched{region: region}, seenNewer
			if w.absent[region] {
				then = seenUnasked
			}
			for _, e := range ends {
				l := r.log(region, e, w.logs)
				if !w.learn(l) {
					continue
				}
				r.start.place(l, e, r.began, then)
				f.logs = append(f.logs, l)
			}
			if len(f.logs) == 0 && !w.absent[region] {
				continue
			}
			delete(w.absent, region)
			r.send(f)
			for _, l := range f.logs {
				r.wg.Go(func() { r.fetch(l) })
			}
		}
	}
}

// watched is what a reader knows of the regions whose logs it reads.
type watched struct {
	absent map[string]bool            // could not be asked yet
	known  map[string]map[uint32]bool // whose logs are read
	logs   int                        // in all
	each   int                        // logs that a region has at most
	asked  map[string]time.Time
	began  time.Time
}

func (r *StreamReader) newWatched() *watched {
	w := &watched{
		absent: maps.Clone(r.absent), known: map[string]map[uint32]bool{}, each: r.stream.Partitions,
		asked: map[string]time.Time{}, began: r.began,
	}
	for _, l := range r.logs {
		w.learn(l)
	}
	return w
}

// learn notes a log. It reports whether it is new.
func (w *watched) learn(l *logReader) bool {
	of := w.known[l.region]
	if of[l.ask.Partition] {
		return false
	}
	if of == nil {
		of = map[uint32]bool{}
		w.known[l.region] = of
	}
	of[l.ask.Partition] = true
	w.logs++
	return true
}

// due reports whether a region is to be asked now which logs it has, and notes that it
// is. To answer takes its leaders a write to the disk each.
func (w *watched) due(region string, now time.Time) bool {
	every := watchEvery
	switch {
	case w.absent[region]:
		every = watchSoon
	case len(w.known[region]) >= w.each:
		every = watchWhole
	}
	last, ever := w.asked[region]
	if !ever {
		last = w.began
	}
	if now.Sub(last) < every {
		return false
	}
	w.asked[region] = now
	return true
}
