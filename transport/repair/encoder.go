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
)

// Way is how a packet is to be sent.
type Way int

const (
	AsIs     Way = iota // without Append
	Bare                // as large as its parity would be, outside of the numbers
	Numbered            // in a group, if there is one
)

// Encoder makes the packets to one peer.
type Encoder struct {
	tag     uint32
	next    uint32 // number
	ladder  ladder
	conns   conns
	times   [keptTimes]sentAt
	meter   meter
	trips   trips
	last    report
	heard   bool  // a report
	counted int64 // packets, by the peer
	lost    int64 // of them
	guarded bool  // the group is

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
	return &Encoder{tag: tag, next: first, ladder: newLadder(now), conns: conns{}, meter: newMeter(now)}
}

// Way is how packets of one of QUIC's connections are to be sent: one packet, or
// several of cut bytes each, but for the last. cut is 0 where QUIC does not say
// it. All packets of a connection go the same way, but for those with which QUIC
// tries a size: were some held until others before them are repaired and some not,
// QUIC would take those that are overtaken for lost.
//
// A try goes with all that repair would add. So what QUIC then settles on can be
// repaired, whatever the path; only a connection that had settled before is left
// as it is, if its packets have no room.
func (e *Encoder) Way(packets []byte, cut int) Way {
	settled, tries := e.conns.look(packets, cut, &e.ladder)
	switch size := len(packets); {
	case tries && size <= MaxInner && !e.ladder.fits(size):
		return Bare
	case e.ladder.fits(settled):
		return Numbered
	}
	return AsIs
}

// Probe adds a packet to dst that only tries whether its size passes, if it is
// time for one. It is to be called again until it adds none.
func (e *Encoder) Probe(dst []byte, now time.Duration) []byte {
	size := e.ladder.next(now)
	if size == 0 {
		return dst
	}
	dst = appendHead(dst, kindPadding, e.tag, 0)
	return append(dst, zeros[:size-numberHead]...)
}

// Append adds a packet with its header to dst. way is what Way said; for
// Numbered, there should be Room for it, or it goes without parity.
func (e *Encoder) Append(dst, packet []byte, way Way, now time.Duration) []byte {
	if way == Bare {
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

var zeros [MaxPacket]byte

// Report takes a report of the peer, for which IsReport holds.
func (e *Encoder) Report(b []byte, now time.Duration) {
	r, ok := readReport(b)
	if !ok || r.largest > MaxPacket {
		return
	}
	e.ladder.came(int(r.largest), now)
	if t := &e.times[r.echo/stride%keptTimes]; t.kept && t.number == r.echo {
		e.trips.add(now-t.at, now)
		t.kept = false
	}
	// Steps that make no sense are from one decoder of the peer's to its next one,
	// or to a report that was overtaken.
	numbers, lost := r.numbers-e.last.numbers, int32(r.lost-e.last.lost)
	if e.heard && numbers < 1<<20 && lost > -maxGroup && int64(lost) <= int64(numbers) {
		e.meter.add(float64(numbers), float64(lost), now)
		e.counted, e.lost = e.counted+int64(numbers), e.lost+int64(lost)
	}
	e.last, e.heard = r, true
}

// Counted is how many of the numbered packets the peer has counted until now, and
// how many of them the network has lost, repaired or not.
func (e *Encoder) Counted() (packets, lost uint64) {
	return uint64(e.counted), uint64(max(0, e.lost))
}
