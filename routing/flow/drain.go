package flow

import (
	"bytes"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// Drain hands out what is to be sent. send copies what it needs of the frame;
// it returns false when there is no room, and is then asked again at the next
// Drain.
func (o *Origin) Drain(now time.Time, send func(to peer.ID, f *Frame) bool) {
	ready := o.ready
	o.ready = o.ready[:0]
	for _, f := range ready {
		f.queued = false
		if !o.drain(now, f, send) {
			o.wake(f)
		}
	}
}

func (o *Origin) drain(now time.Time, f *outflow, send func(to peer.ID, f *Frame) bool) bool {
	for f.path.Next != "" && f.due() {
		o.fill(now, f)
		o.share(now, f)
		if !send(f.path.Next, &o.frame) {
			return false
		}
		o.passed(now, f, o.frame.Upto)
		for i, g := range o.sharing {
			o.passed(now, g, o.others[i].Prev+o.frame.Upto-o.frame.Prev)
		}
	}
	return true
}

// fill makes the frame that is next.
func (o *Origin) fill(now time.Time, f *outflow) {
	o.frame = Frame{Kind: Mark, Flow: f.id, Base: f.acked + 1, Age: f.age(now), Prev: f.cursor - 1, Upto: f.cursor - 1}
	if f.cursor == f.next || !f.open() {
		return
	}
	s := f.find(f.cursor)
	if o.stale(now, s) { // this node was stopped for long: who has had it may not remember
		o.expire(now, f)
		s = f.find(f.cursor)
	}
	o.frame.Upto = s.last
	if s.gap() {
		o.frame.Kind, o.frame.Cause, o.frame.Labels = Lost, s.cause, s.labels
		f.at = nil
		return
	}
	off := f.where(s)
	f.at = s
	f.atNum, f.atOff = f.cursor, off
	o.frame.Kind = Events
	o.run[0] = Run{Count: s.last - f.cursor + 1, Records: s.buf[off:]}
	o.frame.Runs = o.run[:]
}

// share adds the flows to o.frame that have the same events to send to the same
// node: often those to regions behind another one.
func (o *Origin) share(now time.Time, f *outflow) {
	o.sharing, o.others = o.sharing[:0], o.others[:0]
	if !f.path.Shared || o.frame.Kind != Events || len(o.run[0].Records) > largeSegment {
		return
	}
	for _, t := range o.regions {
		lane := int(f.id.Lane)
		if lane >= len(t.lanes) || t.lanes[lane] == nil || t.lanes[lane] == f || len(o.sharing) == MaxOthers {
			continue
		}
		g := t.lanes[lane]
		if g.path.Next != f.path.Next || g.cursor == g.next || !g.open() {
			continue
		}
		s := g.find(g.cursor)
		if s.gap() || o.stale(now, s) {
			continue
		}
		off := g.where(s)
		if records := s.buf[off:]; bytes.Equal(records, o.run[0].Records) {
			g.at, g.atNum, g.atOff = s, g.cursor, off
			o.sharing = append(o.sharing, g)
			o.others = append(o.others, Claim{Region: t.name, Base: g.acked + 1, Age: g.age(now), Prev: g.cursor - 1})
		}
	}
	o.frame.Others = o.others
}

// where is the place of the record of the cursor's number in its segment.
func (f *outflow) where(s *segment) int {
	switch {
	case f.cursor == s.first:
		return s.off
	case f.at == s && f.atNum == f.cursor:
		return f.atOff
	}
	return s.offset(f.cursor)
}

// passed notes that a frame is on its way: up to a number of a flow.
func (o *Origin) passed(now time.Time, f *outflow, upto uint64) {
	f.sent, f.mark = now, false
	if o.frame.Kind == Events {
		f.add(now, upto, len(o.run[0].Records))
		f.atNum, f.atOff = upto+1, len(f.at.buf)
	}
	f.cursor = upto + 1
}
