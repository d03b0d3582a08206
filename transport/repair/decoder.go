package repair

import (
	"encoding/binary"
	"time"
)

const (
	// HoldTime is how long packets wait at most for one before them.
	HoldTime = 15 * time.Millisecond

	maxHeld = 192     // packets that wait
	window  = 512     // numbers that are remembered: those that wait, and a group before them
	farOff  = 256     // ahead of the last number: a packet there begins anew, as does
	longAgo = 1 << 20 // behind it: what is between is late
	maxNote = 128     // bytes that are kept with a packet

	reportEvery = 50 * time.Millisecond
	noEcho      = 1 // in place of a number that is a multiple of stride
)

// slot is what is known of a number.
type slot struct {
	state   state
	guarded bool // it is worth waiting for its repair
	handed  bool // up, or it does not have to be
	size    int  // of its shard, which is kept; 0 if it is not
	note    int
	noticed time.Duration // when it was missing first
}

type state uint8

const (
	missing state = iota
	arrived
	rebuilt
)

// parity is a parity packet whose group is not complete.
type parity struct {
	first        uint32
	count, index int
	size         int // of the shard; 0 when there is no packet
}

// Decoder gets the packets of one peer. A note is kept with each packet: what the
// kernel tells of it.
//
// Numbers before ready are settled: they are here or given up. Those from out up
// to it have to be handed up still, those from ready up to high wait.
type Decoder struct {
	begun            bool
	low              uint32 // the first number that is known
	start            uint32 // the first that is handed up in order, and counted
	out, ready, high uint32
	slots            [window]slot
	shards           []byte // of the slots, maxShard bytes each; nil until some are to be kept
	notes            []byte

	parities [maxGroup]parity // a ring
	codes    []byte           // of them, maxShard bytes each
	oldest   int
	waiting  int // of parities

	told   report        // the next one, but for its echo
	fresh  bool          // the last packet is one to echo
	larger bool          // one has come whose size is to be reported
	toldAt time.Duration // when the last one was made

	rebuilt, givenUp uint64
}

func (d *Decoder) slot(number uint32) *slot { return &d.slots[number%window] }

func (d *Decoder) shard(number uint32) []byte {
	return d.shards[number%window*maxShard:][:maxShard]
}

func (d *Decoder) note(number uint32) []byte { return d.notes[number%window*maxNote:][:maxNote] }

func (d *Decoder) code(p int) []byte { return d.codes[p*maxShard:][:maxShard] }

// before reports whether number a comes before b; they wrap around.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// known reports whether number has a slot that is its own.
func (d *Decoder) known(number uint32) bool {
	return !before(number, d.low) && before(number, d.high) && d.high-number <= window
}

// Take takes a packet with its header, and returns the packet within, or nil
// if it is not to be handed up now. What Next returns comes behind it.
func (d *Decoder) Take(b, note []byte, now time.Duration) []byte {
	inner := Strip(b)
	d.fresh, d.larger = false, d.larger || int(d.told.largest) < len(b)
	switch {
	case len(b) > MaxPacket:
		return inner
	case inner != nil:
		d.told.largest = max(d.told.largest, uint16(len(b)))
		if b[0] == kindBare {
			d.larger = true // until the report has come, too
			return inner
		}
		return d.number(binary.BigEndian.Uint32(b[5:]), b[0] == kindGuarded, inner, note, now)
	case len(b) > 0 && b[0] == kindPadding:
		d.told.largest = max(d.told.largest, uint16(len(b)))
		d.larger = true
	case len(b) > parityHead+lengthSize && b[0] == kindParity:
		d.told.largest = max(d.told.largest, uint16(len(b)))
		d.parity(binary.BigEndian.Uint32(b[5:]), int(b[9]), int(b[10]), b[parityHead:], note, now)
	}
	return nil
}

func (d *Decoder) number(number uint32, guarded bool, packet, note []byte, now time.Duration) []byte {
	if off := int32(number - d.high); !d.begun || off > farOff || off < -longAgo {
		d.begin(number)
	}
	if number%stride == 0 && !before(number, d.high) {
		d.told.echo, d.fresh = number, true
	}
	d.extend(number+1, guarded, now)
	if !d.known(number) {
		return packet // too late to tell whether it came before
	}
	s := d.slot(number)
	switch {
	case s.state == arrived:
		return nil // once more
	case s.state == rebuilt:
		s.state = arrived
		d.notLost(number)
		return nil // late, and repaired
	}
	s.state = arrived
	if before(number, d.ready) {
		d.notLost(number)
		s.handed = true
	} else if number == d.ready && d.out == d.ready {
		s.handed = true
	}
	if guarded || !s.handed {
		d.keep(number, packet, note)
	}
	if s.handed && number == d.ready {
		d.settle()
		d.out = d.ready
	}
	if d.waiting > 0 {
		d.complete(number, note)
	}
	d.advance(now)
	if s.handed {
		return packet
	}
	return nil
}

// begin forgets what was, and what waits with it: the peer has begun anew.
func (d *Decoder) begin(number uint32) {
	d.begun, d.start = true, number
	d.low, d.high = number-maxHeld, number-maxHeld
	d.extend(number, false, 0) // this one may have overtaken others
	d.out, d.ready = number, number
	for i := range d.parities {
		d.parities[i].size = 0
	}
	d.waiting = 0
}

// extend makes numbers up to end known. They are missing so far.
func (d *Decoder) extend(end uint32, guarded bool, now time.Duration) {
	for ; before(d.high, end); d.high++ {
		*d.slot(d.high) = slot{guarded: guarded, noticed: now}
	}
}

// keep remembers a packet, for others of its group or until it is handed up.
func (d *Decoder) keep(number uint32, packet, note []byte) {
	if lengthSize+len(packet) > maxShard {
		return // larger than any that an Encoder sends
	}
	d.open()
	s, shard := d.slot(number), d.shard(number)
	binary.BigEndian.PutUint16(shard, uint16(len(packet)))
	s.size = lengthSize + copy(shard[lengthSize:], packet)
	s.note = copy(d.note(number), note)
}

// open makes room for what is kept.
func (d *Decoder) open() {
	if d.shards == nil {
		d.shards, d.notes = make([]byte, window*maxShard), make([]byte, window*maxNote)
		d.codes = make([]byte, len(d.parities)*maxShard)
	}
}

// settle counts the number that is ready next and goes on to the one after.
func (d *Decoder) settle() {
	d.told.numbers++
	if d.slot(d.ready).state != arrived {
		d.told.lost++
	}
	d.ready++
}

// notLost corrects what settle has counted.
func (d *Decoder) notLost(number uint32) {
	if before(number, d.ready) && !before(number, d.start) {
		d.told.lost--
	}
}

// advance settles the numbers that need not wait any longer.
func (d *Decoder) advance(now time.Duration) {
	for d.ready != d.high {
		if s := d.slot(d.ready); s.state == missing {
			if s.guarded && now-s.noticed < HoldTime && d.high-d.ready <= maxHeld {
				return
			}
			d.givenUp++
		}
		d.settle()
	}
}

// Next copies the next packet that is to be handed up into packet, and its note.
func (d *Decoder) Next(packet, note []byte) (size, noteSize int, ok bool) {
	if d.high-d.out > window {
		d.out = d.high - window // Next was not called for too long
	}
	for d.out != d.ready {
		number := d.out
		d.out++
		if s := d.slot(number); s.state != missing && !s.handed && s.size > 0 {
			s.handed = true
			return copy(packet, d.shard(number)[lengthSize:s.size]), copy(note, d.note(number)[:s.note]), true
		}
	}
	return 0, 0, false
}

// Deadline is when Expire is to be called, and whether at all.
func (d *Decoder) Deadline() (time.Duration, bool) {
	if d.ready == d.high {
		return 0, false
	}
	return d.slot(d.ready).noticed + HoldTime, true
}

// Expire gives up what was waited for too long; Next has what follows.
func (d *Decoder) Expire(now time.Duration) { d.advance(now) }

// Pending reports whether Next has packets, or will have.
func (d *Decoder) Pending() bool { return d.out != d.high }

// Report adds a report to dst when it is time for one, with the tag that the
// peer asked for. It is to be called after Take.
func (d *Decoder) Report(dst []byte, tag uint32, now time.Duration) []byte {
	if !d.fresh && !d.larger || now-d.toldAt < reportEvery && d.toldAt != 0 {
		return dst
	}
	if !d.fresh {
		d.told.echo = noEcho
	}
	d.fresh, d.larger, d.toldAt = false, false, now
	return d.told.append(dst, tag)
}

// Rebuilt is how many packets were repaired, and GivenUp how many could not be.
func (d *Decoder) Rebuilt() uint64 { return d.rebuilt }
func (d *Decoder) GivenUp() uint64 { return d.givenUp }
