package repair

import (
	"encoding/binary"
	"time"
)

// parity takes a parity packet of a group, and repairs the group if it can be now.
func (d *Decoder) parity(first uint32, count, index int, code, note []byte, now time.Duration) {
	end := first + uint32(count)
	if !d.begun || count < 1 || count > maxGroup || index >= maxParity || int32(end-d.high) > maxGroup {
		return
	}
	d.extend(end, true, now)
	if d.known(first) && d.holes(first, count) > 0 && d.hold(first, count, index, code) {
		d.rebuild(first, count, note)
	}
	d.advance(now)
}

// holes is how many numbers are missing.
func (d *Decoder) holes(first uint32, count int) (n int) {
	for number := first; number != first+uint32(count); number++ {
		if d.slot(number).state == missing {
			n++
		}
	}
	return n
}

// hold remembers a parity packet in place of the oldest one. It reports false if
// it was there already.
func (d *Decoder) hold(first uint32, count, index int, code []byte) bool {
	for i := range d.parities {
		if p := &d.parities[i]; p.size > 0 && p.first == first && p.index == index {
			return false
		}
	}
	d.open()
	i := d.oldest
	d.oldest = (i + 1) % len(d.parities)
	d.drop(i)
	d.parities[i] = parity{first: first, count: count, index: index, size: copy(d.code(i), code)}
	d.waiting++
	return true
}

func (d *Decoder) drop(i int) {
	if d.parities[i].size > 0 {
		d.parities[i].size = 0
		d.waiting--
	}
}

// complete repairs the group of a number that has come behind parity of it.
func (d *Decoder) complete(number uint32, note []byte) {
	for i := range d.parities {
		switch p := d.parities[i]; {
		case p.size == 0:
		case !d.known(p.first):
			d.drop(i)
		case number-p.first < uint32(p.count):
			d.rebuild(p.first, p.count, note)
			return
		}
	}
}

// rebuild makes up for what is missing of a group, if there is parity enough. The
// packets that it makes get the note of the packet that came last.
func (d *Decoder) rebuild(first uint32, count int, note []byte) {
	var (
		rows, columns [maxParity]int
		codes         [maxParity][]byte
		n, have       int
	)
	for j := range count {
		if d.slot(first+uint32(j)).state != missing {
			continue
		}
		if n == maxParity {
			return
		}
		columns[n] = j
		n++
	}
	size := 0
	for i := range d.parities {
		p := &d.parities[i]
		if p.size == 0 || p.first != first || p.count != count || size != 0 && p.size != size {
			continue
		}
		size = p.size
		if have < n {
			rows[have], codes[have] = p.index, d.code(i)[:size]
			have++
		}
	}
	if have < n {
		return
	}
	defer d.forget(first)
	if n == 0 {
		return
	}
	for j := range count {
		s := d.slot(first + uint32(j))
		if s.state == missing {
			continue
		}
		if s.size == 0 || s.size > size {
			return // it was not sent as one of this group
		}
		shard := d.shard(first + uint32(j))[:s.size]
		for i := range n {
			addTo(codes[i], rows[i], j, shard)
		}
	}
	solve(codes[:n], rows[:n], columns[:n])
	for i, j := range columns[:n] {
		d.fill(first+uint32(j), codes[i], note)
	}
}

// fill gives a number the packet that was made for it, if it can be one.
func (d *Decoder) fill(number uint32, shard, note []byte) {
	size := lengthSize + int(binary.BigEndian.Uint16(shard))
	if size == lengthSize || size > len(shard) {
		return
	}
	s := d.slot(number)
	s.state, s.size = rebuilt, copy(d.shard(number), shard[:size])
	s.note = copy(d.note(number), note)
	d.rebuilt++
}

// forget drops the parity packets of a group.
func (d *Decoder) forget(first uint32) {
	for i := range d.parities {
		if d.parities[i].first == first {
			d.drop(i)
		}
	}
}
