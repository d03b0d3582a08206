package node

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skeinmesh/skein/replication"
)

// Where reading begins.
type startKind uint8

const (
	atEarliest startKind = iota
	atLatest
	atTime
	atOffset
	atCursor
)

// starting is where reading begins, as its reader said.
type starting struct {
	kind  startKind
	at    int64           // offset, or time in nanoseconds since 1970
	named map[string]spot // of a cursor: by log, or by region for logs that were not known
}

// spot is a place in a log.
type spot struct {
	at    int64
	timed bool // at is a time
}

// parseStart reads where to begin.
func parseStart(from string) (starting, error) {
	switch from {
	case "", "earliest":
		return starting{}, nil
	case "latest":
		return starting{kind: atLatest}, nil
	}
	if at, err := time.Parse(time.RFC3339Nano, from); err == nil {
		return starting{kind: atTime, at: at.UnixNano()}, nil
	}
	if at, err := strconv.ParseInt(from, 10, 64); err == nil && at >= 0 {
		return starting{kind: atOffset, at: at}, nil
	}
	named, err := parseCursor(from)
	return starting{kind: atCursor, named: named}, err
}

// parseCursor reads a cursor:
//
//	cursor: place , place …
//	place:  region/partition:offset | region/partition:@time | region:@time
//
// A time is of a log of which nothing is read yet, in nanoseconds since 1970; of a
// region, if its logs could not be asked for.
func parseCursor(cursor string) (map[string]spot, error) {
	named := map[string]spot{}
	for part := range strings.SplitSeq(cursor, ",") {
		log, offset, ok := strings.Cut(part, ":")
		offset, timed := strings.CutPrefix(offset, "@")
		n, err := strconv.ParseInt(offset, 10, 64)
		if !ok || err != nil || n < 0 && !timed || log == "" || !strings.Contains(log, "/") && !timed {
			return nil, fmt.Errorf("%w %.80q: want earliest, latest, an offset, a time like 2006-01-02T15:04:05Z, or a cursor like eu/0:17,us/3:4", ErrPosition, cursor)
		}
		named[log] = spot{n, timed}
	}
	return named, nil
}

// regions are those that a cursor names.
func (s *starting) regions() (list []string) {
	for log := range s.named {
		region, _, _ := strings.Cut(log, "/")
		list = append(list, region)
	}
	return list
}

// Whether a log was there when reading began.
type seen uint8

const (
	seenThen    seen = iota
	seenNewer        // it was not: all of it has come since
	seenUnasked      // nobody knows: its region was out of reach
)

// clockMargin is how far the clock of a region's leader may be behind this node's
// without a reader missing what it keeps: rather something too old than a loss.
const clockMargin = 5 * time.Second

// latestAbsent is the time from which a region is read that was out of reach when
// reading began with the latest.
func latestAbsent(began time.Time) int64 { return began.Add(-clockMargin).UnixNano() }

// place sets a log where it is to be read from. Logs that are newer than the reader,
// and those that a cursor does not name, which are newer than it, are read from the
// beginning, unless a time says otherwise.
func (s *starting) place(l *logReader, e logEnd, began time.Time, then seen) {
	switch s.kind {
	case atEarliest:
		l.at(e.Start)
	case atLatest:
		switch then {
		case seenThen:
			l.at(e.Next)
		case seenNewer:
			l.at(e.Start)
		case seenUnasked:
			l.from(latestAbsent(began))
		}
	case atTime:
		l.from(s.at)
	case atOffset:
		l.at(s.at)
		if then != seenThen { // the offset was of the one log that there was
			l.at(e.Start)
		}
	case atCursor:
		region, _, _ := strings.Cut(l.name(), "/")
		to, named := s.named[l.name()]
		if !named {
			to, named = s.named[region]
		}
		switch {
		case !named:
			l.at(e.Start)
		case to.timed:
			l.from(to.at)
		default:
			l.at(to.at)
		}
	}
	l.behind = l.next < e.Next
}

// ambiguous says why an offset is not enough.
func (s *starting) ambiguous(r *StreamReader) error {
	return fmt.Errorf("%w: offset %d: stream %s has %d logs, each with offsets of its own: say earliest, latest, a time, or a cursor like %s",
		ErrPosition, s.at, r.stream.Name, len(r.logs), r.Cursor())
}

// at sets where a log is read from.
func (l *logReader) at(offset int64) {
	l.ask.From, l.ask.Offset, l.next = replication.FromOffset, offset, offset
}

// from sets the time that a log is read from.
func (l *logReader) from(nanoseconds int64) {
	l.ask.From, l.ask.Time, l.next, l.since = replication.FromTime, nanoseconds, -1, nanoseconds
}

func (l *logReader) name() string { return fmt.Sprintf("%s/%d", l.region, l.ask.Partition) }

// Cursor says how far the reader is: ReadStream goes on from there, also in regions
// that were missing all the time.
func (r *StreamReader) Cursor() string {
	var parts []string
	for _, l := range r.logs {
		if l.next < 0 {
			parts = append(parts, fmt.Sprintf("%s:@%d", l.name(), l.since))
			continue
		}
		parts = append(parts, fmt.Sprintf("%s:%d", l.name(), l.next))
	}
	for region := range r.absent {
		parts = append(parts, r.start.absent(region, r.began)...)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// absent is the place of a region whose logs are not known.
func (s *starting) absent(region string, began time.Time) (parts []string) {
	switch s.kind {
	case atEarliest:
		return []string{fmt.Sprintf("%s:@%d", region, math.MinInt64)}
	case atLatest:
		return []string{fmt.Sprintf("%s:@%d", region, latestAbsent(began))}
	case atTime:
		return []string{fmt.Sprintf("%s:@%d", region, s.at)}
	}
	for log, to := range s.named {
		if of, _, _ := strings.Cut(log, "/"); of == region && to.timed {
			parts = append(parts, fmt.Sprintf("%s:@%d", log, to.at))
		} else if of == region {
			parts = append(parts, fmt.Sprintf("%s:%d", log, to.at))
		}
	}
	return parts
}

// End says where a reader that does not follow ends, for StreamRead.Until.
func (r *StreamReader) End() string {
	if r.q.Follow {
		return ""
	}
	parts := []string{}
	for _, l := range r.logs {
		if !l.left {
			parts = append(parts, fmt.Sprintf("%s:%d", l.name(), l.end))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
