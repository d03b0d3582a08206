package flow

import (
	"bytes"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/peer"
)

// Policy says what happens to an event for which there is no room.
type Policy uint8

const (
	DropOldest Policy = iota // the oldest events of the flow become a gap
	DropNewest               // the event itself becomes a gap
	Block                    // the event is not taken: ErrFull
)

// ErrFull says that an event was not taken: a Reply may make room.
var ErrFull = errors.New("flow: the buffer towards the region is full")

// DefaultTTL is how long an event is kept unacknowledged.
const DefaultTTL = 10 * time.Minute

// Intervals of marks.
const (
	markEvery = time.Second
	markFor   = 10 * time.Second // after the last event, once all is acknowledged
)

// OriginConfig is what an Origin must know.
type OriginConfig struct {
	Self   peer.ID
	Boot   uint64
	Budget *Budget // of what is kept, perhaps shared with other origins
	// TTL is how long an event is kept unacknowledged; 0 means the default.
	TTL time.Duration
	// Path says where a flow goes when it begins, and at each Reroute. Without
	// it, only SetPath says so.
	Path func(region string, lane uint8) Path
}

// Path is the next node towards a region, and which link to it, so that a link
// that was broken and is up again is another path. No Next is no path.
type Path struct {
	Next peer.ID
	Link uint64
	// Shared says that flows to other regions, on the same lane, have the same
	// next node: what is for several of them is sent there once.
	Shared bool
}

// OriginStats are what an Origin has done, and what it holds.
type OriginStats struct {
	Flows   int
	Lost    uint64 // events that became gaps
	Resends uint64 // times that a flow went back to send again
}

// Origin is the machine where events begin. Make it with NewOrigin.
type Origin struct {
	cfg     OriginConfig
	regions map[string]*target
	last    *target // the region of the last Publish, which is mostly the next one's
	ready   []*outflow
	spares  spares
	least   int // bytes of a window, and
	first   int // those it begins with
	stats   OriginStats
	frame   Frame      // the one that is being sent
	run     [1]Run     // of frame
	sharing []*outflow // those of frame's Others
	others  []Claim    // of frame
}

// target is a region that flows lead to.
type target struct {
	name  string
	pool  *atomic.Int64 // of the budget
	lanes []*outflow    // by lane; nil where nothing was published
}

// outflow is a flow as its origin sees it.
type outflow struct {
	buffer
	window
	id      ID
	target  *target
	counted int // bytes that the budget knows of
	common  int // those of them that are in the region's pool

	path   Path
	cursor uint64 // the next number to send
	queued bool   // in Origin.ready
	mark   bool   // a mark is due even though there is nothing to send
	used   time.Time
	sent   time.Time // last, anything

	at    *segment // where the cursor stood after the last send:
	atNum uint64   // its number
	atOff int      // and where it begins
}

// NewOrigin makes an origin without flows.
func NewOrigin(cfg OriginConfig) *Origin {
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	return &Origin{cfg: cfg, regions: map[string]*target{}, least: leastWindow, first: firstWindow}
}

// Publish gives an event its place in the flow to a region and keeps a copy
// until the region acknowledges it. The only error is ErrFull, with Block.
func (o *Origin) Publish(now time.Time, region string, lane uint8, namespace string, ev *event.Event, policy Policy) error {
	f := o.flow(region, lane)
	size := recordSize(namespace, ev.Bytes())
	room := o.room(f, size)
	if !room && policy == Block {
		return ErrFull
	}
	for !room && policy == DropOldest && f.lose(&o.spares, Overflow) {
		o.stats.Lost++
		o.cfg.Budget.account(f)
		room = o.cfg.Budget.fits(f, size)
	}
	if room {
		f.append(now, &o.spares, namespace, ev.Bytes())
	} else {
		f.refuse(Overflow, namespace, ev.Type())
		o.stats.Lost++
	}
	o.cfg.Budget.account(f)
	f.used = now
	o.wake(f)
	return nil
}

// Fits reports whether Publish would take an event with Block. One that would
// never fit is taken when the flow holds nothing else.
func (o *Origin) Fits(region string, lane uint8, namespace string, ev *event.Event) bool {
	return o.room(o.flow(region, lane), recordSize(namespace, ev.Bytes()))
}

func (o *Origin) room(f *outflow, size int) bool {
	b := o.cfg.Budget
	if b.fits(f, size) {
		return true
	}
	f.oldest() // lets go of what is acknowledged in the middle of a segment
	b.account(f)
	return b.fits(f, size) || f.bytes == 0 && size > b.most()
}

// flow is the flow to a region on a lane, which is made if need be.
func (o *Origin) flow(region string, lane uint8) *outflow {
	t := o.last
	if t == nil || t.name != region {
		if t = o.regions[region]; t == nil {
			t = &target{name: strings.Clone(region)}
			t.pool = o.cfg.Budget.pool(t.name)
			o.regions[t.name] = t
		}
		o.last = t
	}
	for int(lane) >= len(t.lanes) {
		t.lanes = append(t.lanes, nil)
	}
	f := t.lanes[lane]
	if f == nil {
		f = &outflow{id: ID{o.cfg.Self, o.cfg.Boot, t.name, lane}, target: t, buffer: buffer{next: 1}, cursor: 1}
		f.renew(o.least, o.first)
		t.lanes[lane] = f
		o.stats.Flows++
		if o.cfg.Path != nil {
			f.path = o.cfg.Path(t.name, lane)
		}
	}
	return f
}

// wake has Drain look at a flow.
func (o *Origin) wake(f *outflow) {
	if !f.queued && f.path.Next != "" && f.due() {
		f.queued = true
		o.ready = append(o.ready, f)
	}
}

// due reports whether there is something to send now.
func (f *outflow) due() bool { return f.mark || f.cursor < f.next && f.open() }

// SetPath says where a flow goes from now on. On a path other than before, it
// begins again at the first event that is not acknowledged.
func (o *Origin) SetPath(region string, lane uint8, p Path) {
	o.setPath(o.flow(region, lane), p)
}

// Reroute asks Path about every flow, since something has changed.
func (o *Origin) Reroute() {
	for _, t := range o.regions {
		for lane, f := range t.lanes {
			if f != nil {
				o.setPath(f, o.cfg.Path(t.name, uint8(lane)))
			}
		}
	}
}

func (o *Origin) setPath(f *outflow, p Path) {
	before := f.path
	f.path = p
	if before.Next == p.Next && before.Link == p.Link {
		return
	}
	f.renew(o.least, o.first)
	f.mark = f.next > 1 // the new entry node must hear of the flow even when nothing is left of it
	o.rewind(f, f.acked+1)
}

// rewind sends again from a number on.
func (o *Origin) rewind(f *outflow, to uint64) {
	if to < f.cursor {
		o.stats.Resends++
	}
	f.cursor, f.at = to, nil
	f.again()
	o.wake(f)
}

// Reply takes what an entry node says about a flow; what is said of others is
// ignored.
func (o *Origin) Reply(now time.Time, p *Reply) {
	if p.Flow.Origin != o.cfg.Self || p.Flow.Boot != o.cfg.Boot {
		return
	}
	t := o.regions[p.Flow.Region]
	if t == nil || int(p.Flow.Lane) >= len(t.lanes) || t.lanes[p.Flow.Lane] == nil {
		return
	}
	f := t.lanes[p.Flow.Lane]
	f.buffer.ack(&o.spares, p.Upto)
	o.cfg.Budget.account(f)
	f.window.ack(now, f.acked)
	f.cursor = max(f.cursor, f.acked+1)
	if p.Again > 0 && p.Again < f.cursor {
		f.mark = true // an entry node that lacks what others acknowledged learns so from Base
		f.halve()
		o.rewind(f, max(p.Again, f.acked+1))
	}
	o.wake(f)
}

// Forget gives up what a region has not acknowledged: it becomes a gap that the
// region hears of if it ever comes back.
func (o *Origin) Forget(region string) {
	t := o.regions[region]
	if t == nil {
		return
	}
	for _, f := range t.lanes {
		if f != nil {
			o.expire(f, Reset, func(*segment) bool { return true })
		}
	}
}

// expire loses the oldest segments for which old holds.
func (o *Origin) expire(f *outflow, cause Cause, old func(*segment) bool) {
	for i := f.oldest(); i >= 0 && old(f.segs[i]); i = f.oldest() {
		f.lose(&o.spares, cause)
		o.stats.Lost++
	}
	o.cfg.Budget.account(f)
}

// Tick does what time demands; call it a few times each second.
func (o *Origin) Tick(now time.Time) {
	for _, t := range o.regions {
		for _, f := range t.lanes {
			if f == nil {
				continue
			}
			if len(f.segs) > 0 {
				o.expire(f, Expired, func(s *segment) bool { return now.Sub(s.touched) > o.cfg.TTL })
			}
			open := f.acked+1 < f.next || now.Sub(f.used) < markFor
			if open && (f.cursor == f.next || !f.open()) && now.Sub(f.sent) >= markEvery {
				f.mark = true
				o.wake(f)
			}
		}
	}
}

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
		o.fill(f)
		o.share(f)
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
func (o *Origin) fill(f *outflow) {
	o.frame = Frame{Kind: Mark, Flow: f.id, Base: f.acked + 1, Prev: f.cursor - 1, Upto: f.cursor - 1}
	if f.cursor == f.next || !f.open() {
		return
	}
	s := f.find(f.cursor)
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
func (o *Origin) share(f *outflow) {
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
		if s.gap() {
			continue
		}
		off := g.where(s)
		if records := s.buf[off:]; bytes.Equal(records, o.run[0].Records) {
			g.at, g.atNum, g.atOff = s, g.cursor, off
			o.sharing = append(o.sharing, g)
			o.others = append(o.others, Claim{Region: t.name, Base: g.acked + 1, Prev: g.cursor - 1})
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

// Stats says what the origin has done.
func (o *Origin) Stats() OriginStats { return o.stats }

// Pending reports whether a flow to the region holds what is not acknowledged.
func (o *Origin) Pending(region string) bool {
	if t := o.regions[region]; t != nil {
		for _, f := range t.lanes {
			if f != nil && f.acked+1 < f.next {
				return true
			}
		}
	}
	return false
}
