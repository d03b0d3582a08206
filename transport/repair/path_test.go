package repair

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

const (
	tick    = 20 * time.Millisecond
	oneWay  = 40 * time.Millisecond
	search  = 12 * time.Second // within which all sizes are settled
	lasting = 15 * time.Second
)

// path carries the packets of some QUIC connections to a peer, and drops those
// above limit bytes, and others at random.
type path struct {
	t      *testing.T
	random *rand.Rand
	limit  int
	loss   float64
	cuts   bool // QUIC says the sizes that it has settled on
	e      *Encoder
	d      Decoder
	now    time.Duration
	later  map[time.Duration][]func()
	conns  []*quicConn

	padding int            // packets that tried a size
	late    int            // packets of QUIC's and parity above the limit, since search
	dropped map[string]int // packets of a kind above the limit
	ways    map[Way]int    // of full packets, since search
}

// quicConn is a connection that finds its packet size as quic-go v0.65 does.
type quicConn struct {
	id        uint32
	size, max int
	lost      []int // sizes, in order; the last is the one that surely is too large
	wasLost   bool
	tryAt     time.Duration
	old       bool // it had settled before the peers agreed to repair
}

func (c *quicConn) done() bool { return c.max-c.size <= 21 }

// try is the next size that the connection tries.
func (c *quicConn) try() int {
	if c.wasLost {
		return (c.size + c.lost[0]) / 2
	}
	return (c.size + c.max) / 2
}

func (c *quicConn) tried(size int, came bool) {
	if c.wasLost = !came; came {
		c.size = size
		for len(c.lost) > 1 && c.lost[0] <= size {
			c.lost = c.lost[1:]
		}
		return
	}
	for i, l := range c.lost {
		if size < l {
			c.lost = append(c.lost[:i], append([]int{size}, c.lost[i:]...)...)
			break
		}
	}
	c.lost = c.lost[:min(len(c.lost), 3)]
	c.max = c.lost[len(c.lost)-1]
}

func (p *path) after(d time.Duration, f func()) { p.later[p.now+d] = append(p.later[p.now+d], f) }

// carry has the peer take a packet that passes. It reports whether it did.
func (p *path) carry(b []byte, kind string) bool {
	if len(b) > p.limit {
		p.dropped[kind]++
		if p.now >= search && kind != "padding" {
			p.late++
		}
		return false
	}
	if p.random.Float64() < p.loss {
		return false
	}
	b = append([]byte(nil), b...)
	p.after(oneWay, func() {
		if !Is(b[0]) {
			return
		}
		p.d.Take(b, nil, p.now)
		buf := make([]byte, MaxPacket)
		for ok := true; ok; _, _, ok = p.d.Next(buf, nil) {
		}
		if r := p.d.Report(nil, testTag, p.now); r != nil && p.random.Float64() >= p.loss {
			p.after(oneWay, func() { p.e.Report(r, p.now) })
		}
	})
	return true
}

// send sends packets of one connection, all of size bytes, as transport does.
func (p *path) send(c *quicConn, size, n, cut int, kind string) (way Way, came bool) {
	for b := p.e.Probe(nil, p.now); b != nil; b = p.e.Probe(nil, p.now) {
		p.padding++
		p.carry(b, "padding")
	}
	if size > MaxInner {
		return AsIs, false
	}
	one := make([]byte, size)
	one[0] = 0x40
	binary.BigEndian.PutUint32(one[1:], c.id)
	var all []byte
	for range n {
		all = append(all, one...)
	}
	if !p.cuts && n > 1 {
		p.t.Fatal("who would cut it?")
	}
	way = p.e.Way(all, cut)
	if way == Numbered && p.e.Room() < n {
		p.parity()
	}
	for range n {
		b := one
		if way != AsIs {
			b = p.e.Append(nil, one, way, p.now)
		}
		came = p.carry(b, kind)
	}
	if p.e.Full() {
		p.parity()
	}
	return way, came
}

func (p *path) parity() {
	b, size := p.e.Parity(nil)
	for ; len(b) > 0; b = b[size:] {
		p.carry(b[:size], "parity")
	}
}

func (p *path) run() {
	for ; p.now < lasting; p.now += tick {
		for _, f := range p.later[p.now] {
			f()
		}
		delete(p.later, p.now)
		for _, c := range p.conns {
			p.serve(c)
		}
		if due, open := p.e.Due(); open && p.now >= due {
			p.parity()
		}
		p.d.Expire(p.now)
	}
}

// serve has a connection send what it has to send now.
func (p *path) serve(c *quicConn) {
	if p.now >= c.tryAt && !c.done() {
		c.tryAt = p.now + 10*oneWay
		size := c.try()
		_, came := p.send(c, size, 1, 0, "try")
		p.after(3*oneWay, func() { c.tried(size, came) })
	}
	cut, n := 0, 1
	if p.cuts {
		cut, n = c.size, 3
	}
	kind := "full"
	if c.old {
		kind = "old"
	}
	small, _ := p.send(c, 60, 1, cut, kind)
	full, _ := p.send(c, c.size, n, cut, kind)
	ack, _ := p.send(c, 40, 1, 0, kind)
	if p.now < search {
		return
	}
	if small != full || ack != full {
		p.t.Fatalf("packets of 60, %d and 40 bytes of one connection go ways %v, %v, %v", c.size, small, full, ack)
	}
	if !c.old {
		p.ways[full]++
	}
}

func newPath(t *testing.T, limit int, loss float64, cuts bool) *path {
	p := &path{
		t: t, random: rand.New(rand.NewPCG(uint64(limit), 1)), limit: limit, loss: loss, cuts: cuts,
		e: NewEncoder(testTag, 1, 0), later: map[time.Duration][]func(){}, dropped: map[string]int{}, ways: map[Way]int{},
	}
	for i := range 6 {
		c := &quicConn{id: 7 + uint32(i), size: 1280, max: 1452, lost: []int{1452}, tryAt: 10*oneWay + time.Duration(i)*time.Second}
		if limit < 1280 {
			c.size = 1200
		}
		if c.old = i == 0; c.old { // and it is as large as passes
			c.size, c.max = min(limit, MaxInner), min(limit, MaxInner)
		}
		p.conns = append(p.conns, c)
	}
	return p
}

// TestOnAPathOfAnyWidthNothingIsLostForItsSize is for all that MTUs from 1280
// (over IPv6) to 1500 (over IPv4) leave for UDP's payload.
func TestOnAPathOfAnyWidthNothingIsLostForItsSize(t *testing.T) {
	step := 13
	if testing.Short() {
		step = 41
	}
	for limit := 1280 - 48; limit <= 1500-28; limit += step {
		for _, loss := range []float64{0, 0.01} {
			for _, cuts := range []bool{true, false} {
				t.Run(fmt.Sprintf("%d bytes, %.2f lost, cuts %v", limit, loss, cuts), func(t *testing.T) {
					p := newPath(t, limit, loss, cuts)
					p.run()
					p.check()
				})
			}
		}
	}
}

func (p *path) check() {
	t := p.t
	if p.late > 0 || p.dropped["full"] > 0 || p.dropped["parity"] > 0 || p.cuts && p.dropped["old"] > 0 || p.dropped["old"] > 1 {
		t.Errorf("lost for their size: %v", p.dropped)
	}
	if tries := 10 * len(p.conns); p.dropped["try"] > tries || p.padding > 200 {
		t.Errorf("%d packets of padding, of QUIC's tries were lost %v", p.padding, p.dropped)
	}
	room := min(p.limit, MaxPacket) - Overhead
	for _, c := range p.conns[1:] {
		if !c.done() || c.size > max(1280, room) || p.loss == 0 && c.size < room-21 {
			t.Errorf("QUIC settled on %d bytes, there is room for %d", c.size, room)
		}
	}
	if fits := p.conns[1].size <= room; fits && p.ways[AsIs]+p.ways[Bare] > 0 || !fits && p.ways[Numbered]+p.ways[Bare] > 0 {
		t.Errorf("full packets go ways %v, there is room for %d bytes", p.ways, room)
	}
	if p.limit >= MaxPacket && p.loss == 0 && p.padding > mostRungs+1 {
		t.Errorf("%d packets of padding on a path where all pass", p.padding)
	}
}

func TestALadderFindsAnyLimitToTheByteInThreeRounds(t *testing.T) {
	for limit := leastPacket; limit <= 1500; limit++ {
		l := newLadder(0)
		sent := 0
		for now := time.Duration(0); now < 800*time.Millisecond; now += tick {
			for size := l.next(now); size > 0; size = l.next(now) {
				if sent++; size <= limit {
					l.came(size, now)
				}
			}
		}
		if l.proved != min(limit, MaxPacket) || sent > 3*mostRungs+2 {
			t.Fatalf("%d bytes pass, %d are found to, with %d packets", limit, l.proved, sent)
		}
	}
}

func TestALadderSearchesAgainLessAndLessOften(t *testing.T) {
	const limit = 1372
	l, sent := newLadder(0), map[time.Duration]int{}
	for now := time.Duration(0); now < 10*time.Minute; now += tick {
		for size := l.next(now); size > 0; size = l.next(now) {
			if sent[now/time.Minute]++; size <= limit {
				l.came(size, now)
			}
		}
	}
	if l.proved != limit {
		t.Errorf("it found %d bytes", l.proved)
	}
	for minute := time.Duration(2); minute < 10; minute++ {
		if n := sent[minute]; n == 0 || n > 4*mostRungs {
			t.Errorf("%d packets in minute %d", n, minute)
		}
	}
	for now := 10 * time.Minute; now < 12*time.Minute; now += tick {
		for size := l.next(now); size > 0; size = l.next(now) {
			l.came(size, now)
		}
	}
	if l.proved != MaxPacket {
		t.Errorf("the path is wide now, and %d bytes are found to pass", l.proved)
	}
	if l.next(time.Hour) != 0 {
		t.Error("it searches though all sizes pass")
	}
}

func TestALadderWaitsForAPeerThatAgreesLate(t *testing.T) {
	l, sent := newLadder(0), 0
	for now := time.Duration(0); now < time.Minute; now += tick {
		for size := l.next(now); size > 0; size = l.next(now) {
			if sent++; now > 5*time.Second && size <= 1432 {
				l.came(size, now)
			}
		}
	}
	if l.proved != 1432 || sent > 200 {
		t.Errorf("%d bytes found, with %d packets", l.proved, sent)
	}
}
