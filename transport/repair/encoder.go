package repair

import (
	"encoding/binary"
	"time"
)

// GroupTime is how long a group may wait for more packets before its parity is
// due.
const GroupTime = 5 * time.Millisecond

const (
	fullGroup = 48  // packets from which on a group ends at the end of a train
	stride    = 16  // of numbers whose time is kept, and which are echoed
	keptTimes = 512 // of them

	firstSize = 1280                   // of QUIC's packets: these pass, and a few bytes more are likely to
	doubtful  = time.Second            // without news, they are not
	maxTries  = 32                     // packets of a size that may not pass, before they go as they are
	tryAgain  = 250 * time.Millisecond // with one of them
)

// Way is how a packet is to be sent.
type Way int

const (
	AsIs     Way = iota // without Append
	Bare                // outside of the numbers
	Numbered            // in a group, if there is one
)

// Encoder makes the packets to one peer.
type Encoder struct {
	tag     uint32
	next    uint32        // number
	assumed int           // bytes of a packet that is taken to come
	proved  int           // bytes of the largest packet that came
	missed  time.Duration // when one larger than that was sent first; 0 if none was
	tries   int           // packets larger than that since
	tried   time.Duration // when the last of them was sent
	times   [keptTimes]sentAt
	meter   meter
	trips   trips
	last    report
	heard   bool // a report
	guarded bool // the group is

	first   uint32        // number of the group
	count   int           // of its packets
	began   time.Duration // the group
	longest int
	shards  []byte // maxGroup of maxShard bytes; nil until there is loss
	sizes   [maxGroup]int
}

// sentAt is when a number was sent.
type sentAt struct {
	number uint32
	at     time.Duration
	kept   bool
}

// NewEncoder makes an encoder for packets with a tag, whose numbers begin with
// first: any number, but one that differs from one encoder for a peer to the next.
func NewEncoder(tag, first uint32, now time.Duration) *Encoder {
	return &Encoder{tag: tag, next: first, assumed: firstSize + Overhead, meter: newMeter(now)}
}

// Way is how a packet of size bytes, or several packets of which that is the
// longest, is to be sent.
func (e *Encoder) Way(size int, now time.Duration) Way {
	if e.missed > 0 && now-e.missed > doubtful {
		e.assumed = 0
	}
	switch {
	case size+Overhead <= max(e.proved, e.assumed):
		return Numbered
	case size > MaxInner || e.tries >= maxTries && now-e.tried < tryAgain:
		return AsIs
	}
	return Bare
}

// Append adds a packet with its header to dst. way is what Way said; for
// Numbered, there should be Room for it, or it goes without parity.
func (e *Encoder) Append(dst, packet []byte, way Way, now time.Duration) []byte {
	if way == Bare {
		e.tries, e.tried = e.tries+1, now
		dst = appendHead(dst, kindBare, e.tag, 0)
		dst = append(dst, 0, 0, 0, 0)
		return append(dst, packet...)
	}
	if e.count == 0 {
		e.guarded = e.meter.loss() > 0 && !e.trips.queued()
	}
	kind := byte(kindNumbered)
	if e.guarded && e.Room() > 0 {
		kind = kindGuarded
		e.keep(packet, now)
	}
	if e.missed == 0 && numberHead+len(packet) > e.proved {
		e.missed = now
	}
	if e.next%stride == 0 {
		e.times[e.next/stride%keptTimes] = sentAt{e.next, now, true}
	}
	dst = appendHead(dst, kind, e.tag, e.next)
	e.next++
	return append(dst, packet...)
}

// keep adds a packet to the group.
func (e *Encoder) keep(packet []byte, now time.Duration) {
	if e.shards == nil {
		e.shards = make([]byte, maxGroup*maxShard)
	}
	if e.count == 0 {
		e.first, e.began, e.longest = e.next, now, 0
	}
	shard := e.shards[e.count*maxShard:][:lengthSize+len(packet)]
	binary.BigEndian.PutUint16(shard, uint16(len(packet)))
	copy(shard[lengthSize:], packet)
	e.sizes[e.count] = len(shard)
	e.longest = max(e.longest, len(shard))
	e.count++
}

// Room is how many more packets the group can have. When there are more to be
// sent together, Parity has to be called first.
func (e *Encoder) Room() int { return maxGroup - e.count }

// Due is when Parity is to be called, and whether at all.
func (e *Encoder) Due() (time.Duration, bool) { return e.began + GroupTime, e.count > 0 }

// Full reports whether the group has enough packets for Parity to be called.
func (e *Encoder) Full() bool { return e.count >= fullGroup }

// Parity ends the group. It adds its parity packets to dst, all of size bytes;
// there may be none.
func (e *Encoder) Parity(dst []byte) (parity []byte, size int) {
	if e.count == 0 {
		return dst, 0
	}
	n := parities(e.count, e.meter.loss())
	for row := range n {
		dst = appendHead(dst, kindParity, e.tag, e.first)
		dst = append(dst, byte(e.count), byte(row))
		start := len(dst)
		dst = append(dst, zeros[:e.longest]...)
		for i := range e.count {
			addTo(dst[start:], row, i, e.shards[i*maxShard:][:e.sizes[i]])
		}
	}
	size = parityHead + e.longest
	e.count = 0
	return dst, size
}

var zeros [maxShard]byte

// Report takes a report of the peer, for which IsReport holds.
func (e *Encoder) Report(b []byte, now time.Duration) {
	r, ok := readReport(b)
	if !ok || r.largest > MaxPacket {
		return
	}
	if int(r.largest) > e.proved {
		e.proved, e.tries, e.missed = int(r.largest), 0, 0
	}
	if t := &e.times[r.echo/stride%keptTimes]; t.kept && t.number == r.echo {
		e.trips.add(now-t.at, now)
		t.kept = false
	}
	// Steps that make no sense are from one decoder of the peer's to its next one,
	// or to a report that was overtaken.
	numbers, lost := r.numbers-e.last.numbers, int32(r.lost-e.last.lost)
	if e.heard && numbers < 1<<20 && lost > -maxGroup && int64(lost) <= int64(numbers) {
		e.meter.add(float64(numbers), float64(lost), now)
	}
	e.last, e.heard = r, true
}

// Loss is the part of packets that the network loses, 0 to 1.
func (e *Encoder) Loss() float64 { return e.meter.loss() }
