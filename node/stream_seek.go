package node

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/skeinmesh/skein/replication"
)

// at sets where a log is read from.
func (l *logReader) at(offset int64) {
	l.ask.From, l.ask.Offset, l.next = replication.FromOffset, offset, offset
}

// from sets the time that a log is read from.
func (l *logReader) from(nanoseconds int64) {
	l.ask.From, l.ask.Time, l.next, l.since = replication.FromTime, nanoseconds, -1, nanoseconds
}

// trimmed says which log begins later than it is to be read from.
func (r *StreamReader) trimmed(starts []int64) error {
	for i, l := range r.logs {
		if l.next >= 0 && l.next < starts[i] {
			return r.passed(l, l.next, starts[i])
		}
	}
	return nil
}

func (r *StreamReader) passed(l *logReader, offset, start int64) error {
	return &TrimmedError{Stream: r.stream.Name, Region: l.region, Partition: l.ask.Partition, Offset: offset, Start: start}
}

// seek sets the logs, which are at their starts, where they are to be read from.
func (r *StreamReader) seek(from string) error {
	switch from {
	case "", "earliest":
		return nil
	case "latest":
		for _, l := range r.logs {
			l.at(l.end)
		}
		return nil
	}
	if at, err := time.Parse(time.RFC3339Nano, from); err == nil {
		for _, l := range r.logs {
			l.from(at.UnixNano())
		}
		return nil
	}
	if at, err := strconv.ParseInt(from, 10, 64); err == nil && at >= 0 {
		if len(r.logs) > 1 {
			return fmt.Errorf("%w: offset %d: stream %s has %d logs, each with offsets of its own: say earliest, latest, a time, or a cursor like %s",
				ErrPosition, at, r.stream.Name, len(r.logs), r.Cursor())
		}
		for _, l := range r.logs {
			l.at(at)
		}
		return nil
	}
	return r.seekCursor(from)
}

// seekCursor sets the logs as a cursor says; logs that it does not name are read
// from the beginning: they are newer than the cursor.
func (r *StreamReader) seekCursor(cursor string) error {
	named := map[string]func(*logReader){}
	for part := range strings.SplitSeq(cursor, ",") {
		log, offset, ok := strings.Cut(part, ":")
		offset, timed := strings.CutPrefix(offset, "@")
		n, err := strconv.ParseInt(offset, 10, 64)
		if !ok || err != nil || n < 0 && !timed || !strings.Contains(log, "/") {
			return fmt.Errorf("%w %.80q: want earliest, latest, an offset, a time like 2006-01-02T15:04:05Z, or a cursor like eu/0:17,us/3:4", ErrPosition, cursor)
		}
		if named[log] = func(l *logReader) { l.at(n) }; timed {
			named[log] = func(l *logReader) { l.from(n) }
		}
	}
	for _, l := range r.logs {
		if set := named[l.name()]; set != nil {
			set(l)
		}
	}
	return nil
}

func (l *logReader) name() string { return fmt.Sprintf("%s/%d", l.region, l.ask.Partition) }

// Cursor says how far the reader is: ReadStream goes on from there.
func (r *StreamReader) Cursor() string {
	var parts []string
	for _, l := range r.logs {
		if l.next < 0 {
			parts = append(parts, fmt.Sprintf("%s:@%d", l.name(), l.since))
			continue
		}
		parts = append(parts, fmt.Sprintf("%s:%d", l.name(), l.next))
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
