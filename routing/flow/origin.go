package flow

import (
	"errors"
	"slices"
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

// DefaultTTL is how long an event is kept unacknowledged, and MaxTTL how long it may
// be: receivers rely on that.
const (
	DefaultTTL = 10 * time.Minute
	MaxTTL     = time.Hour
)

// fillFraction is the part of the TTL for which a segment takes events. They are
// lost together, when the last has been kept for the TTL: none is kept for more
// than that and this part of it.
const fillFraction = 4

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
	// TTL is how long an event is kept unacknowledged, and up to a quarter longer; 0
	// means the default. It is at most MaxTTL.
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
	told   time.Time // when the last acknowledgement came that was news

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
		f = &outflow{id: ID{o.cfg.Self, o.cfg.Boot, t.name, lane}, target: t, buffer: buffer{fill: o.cfg.TTL / fillFraction, next: 1}, cursor: 1}
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

// age is for how many seconds all before the first unacknowledged event has been
// known to be acknowledged.
func (f *outflow) age(now time.Time) uint64 {
	if f.acked == 0 {
		return 0
	}
	return uint64(now.Sub(f.told) / time.Second)
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
	before := f.acked
	if f.buffer.ack(&o.spares, p.Upto); f.acked > before {
		f.told = now
	}
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

// Doubt says that events may have been published that a region wanted, and that
// were given no number, since what it wants was not known: a gap of unknown size
// stands for them.
func (o *Origin) Doubt(region string, lane uint8) {
	f := o.flow(region, lane)
	f.doubt()
	o.cfg.Budget.account(f)
	o.wake(f)
}

// expire loses the oldest segments, which were not acknowledged in time.
func (o *Origin) expire(now time.Time, f *outflow) {
	for i := f.oldest(); i >= 0 && o.stale(now, f.segs[i]); i = f.oldest() {
		f.lose(&o.spares, Expired)
		o.stats.Lost++
	}
	o.cfg.Budget.account(f)
}

// stale reports whether a segment's events have been kept for too long.
func (o *Origin) stale(now time.Time, s *segment) bool {
	return !s.gap() && now.Sub(s.touched) > o.cfg.TTL
}

// Tick does what time demands; call it a few times each second.
func (o *Origin) Tick(now time.Time) {
	for _, t := range o.regions {
		for _, f := range t.lanes {
			if f == nil {
				continue
			}
			if len(f.segs) > 0 {
				o.expire(now, f)
			}
			open := f.acked+1 < f.next || now.Sub(f.used) < markFor
			if open && (f.cursor == f.next || !f.open()) && now.Sub(f.sent) >= markEvery {
				f.mark = true
				o.wake(f)
			}
		}
	}
}

// Stats says what the origin has done.
func (o *Origin) Stats() OriginStats { return o.stats }

// Pending lists the regions that have not acknowledged all, in any order.
func (o *Origin) Pending() (regions []string) {
	for name, t := range o.regions {
		if slices.ContainsFunc(t.lanes, func(f *outflow) bool { return f != nil && f.acked+1 < f.next }) {
			regions = append(regions, name)
		}
	}
	return regions
}
