package flow

import (
	"slices"
	"time"

	"github.com/skeinmesh/skein/transport/event"
)

// Sizes of segments in bytes: small while a flow holds little. An event that is
// larger has a segment to itself.
const (
	smallSegment = 4 << 10
	largeSegment = 64 << 10
	spareMax     = 64 // segments kept for reuse, of each size
	gapOverhead  = 128
)

// segment is a stretch of a flow's numbers, first to last: records one after the
// other, or a gap.
type segment struct {
	first, last uint64
	buf         []byte    // records; nil in a gap
	off         int       // where the record of first begins
	opened      time.Time // when its first event came, and
	touched     time.Time // its last
	cause       Cause     // of a gap
	labels      Labels    // of a gap
}

func (s *segment) gap() bool { return s.buf == nil }

// bytes is what the segment counts.
func (s *segment) bytes() int {
	if s.gap() {
		return gapOverhead
	}
	return len(s.buf) - s.off
}

// offset is where the record of number n begins, which the segment holds.
func (s *segment) offset(n uint64) int {
	rest := s.buf[s.off:]
	for at := s.first; at < n; at++ {
		_, _, rest, _ = cutRecord(rest)
	}
	return len(s.buf) - len(rest)
}

// skip forgets all before number n, which the segment holds.
func (s *segment) skip(n uint64) {
	s.off = s.offset(n)
	s.first = n
}

// spares are segments to be used again.
type spares struct{ small, large []*segment }

func (p *spares) get(size, held int) *segment {
	list, full := &p.small, smallSegment
	if size > smallSegment || held >= smallSegment {
		list, full = &p.large, largeSegment
	}
	if size > largeSegment {
		return &segment{buf: make([]byte, 0, size)}
	}
	if n := len(*list); n > 0 {
		s := (*list)[n-1]
		*list = (*list)[:n-1]
		return s
	}
	return &segment{buf: make([]byte, 0, full)}
}

func (p *spares) put(s *segment) {
	list := &p.small
	switch cap(s.buf) {
	case smallSegment:
	case largeSegment:
		list = &p.large
	default:
		return
	}
	if len(*list) < spareMax {
		*s = segment{buf: s.buf[:0]}
		*list = append(*list, s)
	}
}

// buffer holds the numbers of one flow that are not acknowledged, without holes.
type buffer struct {
	fill  time.Duration // for how long a segment takes events
	segs  []*segment    // the oldest first
	acked uint64
	next  uint64 // the number of the next event
	bytes int
}

// append gives an event the next number.
func (b *buffer) append(now time.Time, p *spares, namespace string, envelope []byte) {
	size := recordSize(namespace, envelope)
	var s *segment
	if n := len(b.segs); n > 0 {
		s = b.segs[n-1]
	}
	if s == nil || s.gap() || cap(s.buf)-len(s.buf) < size || now.Sub(s.opened) >= b.fill {
		s = p.get(size, b.bytes)
		s.first, s.opened = b.next, now
		b.segs = append(b.segs, s)
	}
	before := len(s.buf)
	s.buf = appendRecord(s.buf, namespace, envelope)
	s.last, s.touched = b.next, now
	b.bytes += len(s.buf) - before
	b.next++
}

// refuse gives the next number to a gap, in which an event is lost at once.
func (b *buffer) refuse(cause Cause, namespace, typ string) {
	var g *segment
	if n := len(b.segs); n > 0 && b.segs[n-1].gap() {
		g = b.segs[n-1]
	} else {
		g = b.insertGap(n, b.next, cause)
	}
	g.last = b.next
	g.labels.add(namespace, typ)
	b.next++
}

// doubt gives the next number to a gap that stands for any number of events.
func (b *buffer) doubt() {
	g := b.insertGap(len(b.segs), b.next, Reset)
	g.last, g.labels = b.next, Labels{Any: true}
	b.next++
}

func (b *buffer) insertGap(at int, first uint64, cause Cause) *segment {
	g := &segment{first: first, last: first - 1, cause: cause}
	b.segs = slices.Insert(b.segs, at, g)
	b.bytes += gapOverhead
	return g
}

// oldest is the index of the oldest segment with events that are not
// acknowledged, which are then all that it holds; -1 when there is none.
func (b *buffer) oldest() int {
	for i, s := range b.segs {
		if s.gap() {
			continue
		}
		if s.first <= b.acked {
			b.bytes -= s.bytes()
			s.skip(b.acked + 1)
			b.bytes += s.bytes()
		}
		return i
	}
	return -1
}

// lose turns the oldest event into a gap. Neighbouring gaps become one, with the
// cause of the older. It reports false when there is no event.
func (b *buffer) lose(p *spares, cause Cause) bool {
	i := b.oldest()
	if i < 0 {
		return false
	}
	s := b.segs[i]
	var g *segment
	if i > 0 {
		g = b.segs[i-1]
	} else {
		g = b.insertGap(0, s.first, cause)
		i++
	}
	namespace, envelope, rest, _ := cutRecord(s.buf[s.off:])
	var ev event.Event
	if ev.Scan(envelope) == nil {
		g.labels.add(namespace, ev.Type())
	} else {
		g.labels = Labels{Any: true}
	}
	off := len(s.buf) - len(rest)
	b.bytes -= off - s.off
	s.off = off
	g.last = s.first
	s.first++
	if s.first <= s.last {
		return true
	}
	p.put(s)
	b.segs = slices.Delete(b.segs, i, i+1)
	if i < len(b.segs) && b.segs[i].gap() {
		g.last = b.segs[i].last
		g.labels.merge(b.segs[i].labels)
		b.segs = slices.Delete(b.segs, i, i+1)
		b.bytes -= gapOverhead
	}
	return true
}

// ack forgets everything up to a number.
func (b *buffer) ack(p *spares, upto uint64) {
	b.acked = max(b.acked, min(upto, b.next-1))
	n := 0
	for n < len(b.segs) && b.segs[n].last <= b.acked {
		b.bytes -= b.segs[n].bytes()
		if !b.segs[n].gap() {
			p.put(b.segs[n])
		}
		n++
	}
	if n > 0 {
		b.segs = slices.Delete(b.segs, 0, n)
	}
}

// find is the segment that holds a number, which is not acknowledged.
func (b *buffer) find(n uint64) *segment {
	i, _ := slices.BinarySearchFunc(b.segs, n, func(s *segment, n uint64) int {
		if s.last < n {
			return -1
		}
		return 1
	})
	return b.segs[i]
}
