package repair

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const testTag = 0xfeedbeef

// flight is a packet on its way.
type flight struct {
	at    time.Duration
	b     []byte
	group int
}

// sender makes packets, each unlike all others, and groups of them.
type sender struct {
	random *rand.Rand
	e      *Encoder
	now    time.Duration
	sent   [][]byte
	out    []flight
	groups int
}

func newSender(seed uint64) *sender {
	random := rand.New(rand.NewPCG(seed, 1))
	return &sender{random: random, e: NewEncoder(testTag, random.Uint32(), 0)}
}

func (s *sender) packet() []byte {
	b := make([]byte, 8+s.random.IntN(1200))
	binary.BigEndian.PutUint32(b, 1<<31+uint32(len(s.sent)))
	for i := 4; i < len(b); i++ {
		b[i] = byte(s.random.Uint32())
	}
	s.sent = append(s.sent, b)
	return b
}

func (s *sender) end() (parities int) {
	b, size := s.e.Parity(nil)
	for ; len(b) > 0; b = b[size:] {
		s.out = append(s.out, flight{s.now, b[:size], s.groups})
		parities++
	}
	s.groups++
	return parities
}

// group sends a group, which ends because it is full or because it is time. It
// returns how many parity packets it has.
func (s *sender) group() int {
	for range 1 + s.random.IntN(fullGroup) {
		if due, open := s.e.Due(); open && s.now >= due {
			break
		}
		p := s.packet()
		s.out = append(s.out, flight{s.now, s.e.Append(nil, p, Numbered, s.now), s.groups})
		s.now += time.Duration(s.random.IntN(int(300 * time.Microsecond)))
	}
	return s.end()
}

// deliver gives the packets to a decoder in the order of their times, and
// returns what it hands up.
func deliver(d *Decoder, packets []flight) (got [][]byte) {
	slices.SortStableFunc(packets, func(a, b flight) int { return int(a.at - b.at) })
	buf := make([]byte, MaxPacket)
	next := func() {
		for {
			n, _, ok := d.Next(buf, nil)
			if !ok {
				return
			}
			got = append(got, bytes.Clone(buf[:n]))
		}
	}
	expire := func(until time.Duration) {
		for {
			at, waits := d.Deadline()
			if !waits || at > until {
				return
			}
			d.Expire(at)
			next()
		}
	}
	for _, p := range packets {
		expire(p.at)
		if b := d.Take(bytes.Clone(p.b), nil, p.at); b != nil {
			got = append(got, bytes.Clone(b))
		}
		next()
	}
	expire(time.Hour)
	return got
}

func TestAllThatParityCanReplaceArrivesOnceAndInOrder(t *testing.T) {
	lost := 0
	for seed := range uint64(300) {
		s, d := newSender(seed), &Decoder{}
		var came []flight
		// The first packet tells where the numbers begin.
		first := s.packet()
		came = append(came, flight{0, s.e.Append(nil, first, Numbered, 0), 0})
		s.end()
		for range 20 {
			s.out = nil
			drop := s.random.IntN(s.group() + 1)
			s.random.Shuffle(len(s.out), func(i, j int) {
				if s.random.IntN(4) == 0 {
					s.out[i], s.out[j] = s.out[j], s.out[i]
				}
			})
			for i, p := range s.out {
				if i < drop {
					continue
				}
				p.at += time.Duration(s.random.IntN(int(4 * time.Millisecond)))
				came = append(came, p)
				if s.random.IntN(20) == 0 {
					p.at += time.Duration(s.random.IntN(int(20 * time.Millisecond)))
					came = append(came, p)
				}
			}
			lost += drop
		}
		got := deliver(d, came)
		if len(got) != len(s.sent) {
			t.Fatalf("seed %d: %d packets came, of %d", seed, len(got), len(s.sent))
		}
		for i := range got {
			if !bytes.Equal(got[i], s.sent[i]) {
				t.Fatalf("seed %d: packet %d is another one (%x…)", seed, i, got[i][:4])
			}
		}
	}
	if lost < 5_000 {
		t.Errorf("only %d packets were dropped", lost)
	}
}

func TestNoPacketIsInventedOrHandedUpTwiceWhateverTheNetworkDoes(t *testing.T) {
	for seed := range uint64(200) {
		s, d := newSender(seed), &Decoder{}
		loss := s.random.Float64() / 2
		var came []flight
		for range 40 {
			s.group()
			s.now += time.Duration(s.random.IntN(int(10 * time.Millisecond)))
		}
		for _, p := range s.out {
			for s.random.Float64() >= loss {
				late := p
				late.at += time.Duration(s.random.IntN(int(30 * time.Millisecond)))
				came = append(came, late)
				if s.random.IntN(3) > 0 {
					break
				}
			}
		}
		sent := map[string]bool{}
		for _, p := range s.sent {
			sent[string(p)] = true
		}
		for i, p := range deliver(d, came) {
			if !sent[string(p)] {
				t.Fatalf("seed %d, loss %.2f: packet %d was handed up twice, or never sent", seed, loss, i)
			}
			delete(sent, string(p))
		}
		if d.Pending() {
			t.Fatalf("seed %d: packets were held for ever", seed)
		}
	}
}

func TestParityFollowsTheLossThatIsReported(t *testing.T) {
	for _, loss := range []float64{0, 0.001, 0.01, 0.1} {
		t.Run(fmt.Sprint(loss), func(t *testing.T) {
			s, d := newSender(1), &Decoder{}
			var data, parity, whole int
			for i := range 3000 {
				s.out = nil
				n := s.group()
				if i > 2600 {
					data, parity = data+len(s.out)-n, parity+n
				}
				s.now += 2 * time.Millisecond
				for _, p := range s.out {
					if s.random.Float64() < loss {
						continue
					}
					d.Take(p.b, nil, p.at)
					for {
						if _, _, ok := d.Next(make([]byte, MaxPacket), nil); !ok {
							break
						}
					}
					if r := d.Report(nil, testTag, p.at); r != nil {
						s.e.Report(r, p.at+time.Millisecond)
					}
				}
				d.Expire(s.now)
				whole = len(s.sent)
			}
			share, failed := float64(parity)/float64(data), float64(d.GivenUp())/float64(whole)
			t.Logf("measured %.4f, %.1f %% parity, %.6f not repaired", s.e.meter.loss(), 100*share, failed)
			switch {
			case loss == 0 && share > 0, share > 0.25:
				t.Errorf("%.1f %% parity", 100*share)
			case loss > 0 && loss < mostLoss && (failed > loss/50 || share == 0):
				t.Errorf("%.6f of the packets were lost for good", failed)
			}
		})
	}
}

func TestWhileAQueueGrowsNothingIsRepaired(t *testing.T) {
	e := NewEncoder(testTag, 0, 0)
	now, numbers := time.Duration(0), uint32(0)
	kind := func() byte {
		b := e.Append(nil, make([]byte, 100), Numbered, now)
		e.Parity(nil)
		return b[0]
	}
	report := func(trip time.Duration) {
		for {
			number := binary.BigEndian.Uint32(e.Append(nil, make([]byte, 100), Numbered, now)[5:])
			e.Parity(nil)
			if numbers++; number%stride == 0 {
				now += trip
				e.Report(report{echo: number, numbers: numbers, lost: numbers / 100, largest: 200}.append(nil, testTag), now)
				return
			}
		}
	}
	for range 100 {
		report(80 * time.Millisecond)
	}
	if kind() != kindGuarded {
		t.Error("no parity at 1 % loss")
	}
	for range 20 {
		report(200 * time.Millisecond)
	}
	if kind() != kindNumbered {
		t.Error("parity although packets wait in a queue")
	}
	for range 20 {
		report(80 * time.Millisecond)
	}
	if kind() != kindGuarded {
		t.Error("no parity after the queue is gone")
	}
}

func TestAPacketCostsNoAllocation(t *testing.T) {
	e, d := NewEncoder(testTag, 0, 0), &Decoder{}
	packet, buf, out := make([]byte, 1200), make([]byte, 0, 64<<10), make([]byte, MaxPacket)
	packet[0] = 0x40
	e.ladder.came(MaxPacket, 0)
	now := time.Duration(0)
	group := func() {
		for i := range fullGroup {
			now += 10 * time.Microsecond
			if buf = e.Append(buf[:0], packet, e.Way(packet, 1200), now); i == 7 {
				continue // lost
			}
			d.Take(buf, nil, now)
		}
		var size int
		buf, size = e.Parity(buf[:0])
		for rest := buf; len(rest) > 0; rest = rest[size:] {
			d.Take(rest[:size], nil, now)
		}
		for ok := true; ok; _, _, ok = d.Next(out, nil) {
		}
	}
	group()
	if n := testing.AllocsPerRun(100, group); n > 0 {
		t.Errorf("%.1f allocations for %d packets", n, fullGroup)
	}
	if d.Rebuilt() == 0 {
		t.Error("nothing was lost")
	}
}

// FuzzDecoder is for bytes of strangers who know the tag: 2 bytes of length
// before each packet.
func FuzzDecoder(f *testing.F) {
	s := newSender(1)
	for range 3 {
		s.group()
	}
	var seed []byte
	for i, p := range s.out {
		if i%9 != 4 {
			seed = append(binary.BigEndian.AppendUint16(seed, uint16(len(p.b))), p.b...)
		}
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, in []byte) {
		d, e, out, now := &Decoder{}, NewEncoder(testTag, 0, 0), make([]byte, MaxPacket), time.Duration(0)
		for len(in) >= 2 {
			n := min(int(binary.BigEndian.Uint16(in)), len(in)-2)
			b := in[2 : 2+n]
			in = in[2+n:]
			now += time.Duration(n) * time.Microsecond
			if len(b) == 0 || !Is(b[0]) {
				continue
			}
			if _, ok := Tag(b); !ok {
				continue
			}
			e.Report(b, now)
			e.Way(b, n%1500)
			if p := e.Probe(nil, now); len(p) > MaxPacket {
				t.Fatalf("padding of %d bytes", len(p))
			}
			d.Take(b, nil, now)
			d.Report(nil, testTag, now)
			if n%3 == 0 {
				continue // the reader is late
			}
			for {
				if n, _, ok := d.Next(out, nil); !ok {
					break
				} else if n == 0 || n > MaxPacket {
					t.Fatalf("packet of %d bytes", n)
				}
			}
		}
		d.Expire(now + time.Hour)
		for ok := true; ok; _, _, ok = d.Next(out, nil) {
		}
		if d.Pending() {
			t.Fatal("packets are held for ever")
		}
	})
}

func BenchmarkGroup(b *testing.B) {
	for _, loss := range []float64{0.001, 0.01} {
		b.Run(fmt.Sprint(loss), func(b *testing.B) {
			e := NewEncoder(testTag, 0, 0)
			e.meter = meter{numbers: 10_000, lost: 10_000 * loss}
			packet, buf := make([]byte, 1350), []byte(nil)
			b.SetBytes(fullGroup * 1350)
			for b.Loop() {
				for range fullGroup {
					buf = e.Append(buf[:0], packet, Numbered, 0)
				}
				buf, _ = e.Parity(buf[:0])
			}
		})
	}
}
