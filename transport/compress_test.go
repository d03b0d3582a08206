package transport

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/skeinmesh/skein/transport/wire"
)

// reading is an event as sensors send them by the million.
func reading(i int) string {
	return fmt.Sprintf(`{"device":"halle-3/boiler-%d","at":"2026-07-23T10:11:%02d.345Z","celsius":%d.5,"unit":"degree Celsius","state":"nominal"}`, i%20, i%60, 20+i%9)
}

// transfer sends n readings from a to b and is the link's figures afterwards.
func transfer(t *testing.T, a, b *node, n int) (st LinkStats, size int) {
	t.Helper()
	before := len(b.records)
	for i := range n {
		size += len(reading(i))
		if err := put(t, a, "b", deliver(reading(i))); err != nil {
			t.Fatal(err)
		}
	}
	b.wait("readings", func() bool { return len(b.records) == before+n })
	for i, got := range b.records[before:] {
		if want := "a " + reading(i)[:40]; got != want {
			t.Fatalf("record %d is %q, want %q", i, got, want)
		}
	}
	return a.Links()[0], size
}

func TestBatchesToAnotherRegionAreCompressed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, conns := newNetwork(t, latency, 2)
		a := open(t, conns[0], "a", func(c *Config) { c.Self.Region = "home" })
		b := open(t, conns[1], "b", func(c *Config) { c.Self.Region = "far" })
		linkUp(a, b)
		time.Sleep(5 * time.Second) // heartbeats tell how far
		st, size := transfer(t, a, b, 3000)
		if int(st.BytesOut) > size/3 {
			t.Errorf("%d bytes of readings took %d on the wire", size, st.BytesOut)
		}
		if all := st.BytesOut + st.Saved; int(all) < size || int(all) > size*11/10 {
			t.Errorf("%d bytes out and %d saved, of %d", st.BytesOut, st.Saved, size)
		}
		if got := b.Links()[0].BytesIn; got > st.BytesOut || got < st.BytesOut*9/10 {
			t.Errorf("%d bytes out, %d in", st.BytesOut, got)
		}
	})
}

func TestBatchesInsideARegionAreNotCompressed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, conns := newNetwork(t, latency, 2)
		home := func(c *Config) { c.Self.Region = "home" }
		a, b := open(t, conns[0], "a", home), open(t, conns[1], "b", home)
		linkUp(a, b)
		time.Sleep(5 * time.Second)
		if st, size := transfer(t, a, b, 3000); st.Saved != 0 || int(st.BytesOut) < size {
			t.Errorf("%d bytes out and %d saved, of %d", st.BytesOut, st.Saved, size)
		}
	})
}

// batchOf is a batch's frame with one record.
func batchOf(body []byte) []byte {
	b := newBatchPool().Get().(*batch)
	at := len(b.buf)
	b.buf = (&wire.Record{How: wire.Deliver, Body: body}).AppendTo(wire.BeginRecord(b.buf))
	wire.EndRecord(b.buf, at)
	b.count++
	return b.frame()
}

func TestWhatDoesNotShrinkIsTriedEverMoreRarely(t *testing.T) {
	var p packer
	noise := make([]byte, 30_000)
	random := rand.New(rand.NewPCG(1, 2))
	tries := 0
	for range 2000 {
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		if p.rest == 0 {
			tries++
		}
		frame := batchOf(noise)
		if out := p.pack(frame, farAway); &out[0] != &frame[0] {
			t.Fatal("noise is packed")
		}
	}
	if tries > 50 {
		t.Errorf("%d of 2000 batches of noise were tried", tries)
	}
	text := batchOf([]byte(strings.Repeat(reading(1), 100)))
	packed := false
	for range longestBreak + 1 {
		packed = len(p.pack(text, farAway)) < len(text)/2
	}
	if !packed {
		t.Error("what shrinks is not compressed any more")
	}
	if small := batchOf([]byte("short")); &p.pack(small, distant)[0] != &small[0] {
		t.Error("a small batch is packed")
	}
}

func TestAPackedBatchThatIsNoneIsRefused(t *testing.T) {
	var u unpacker
	good := s2.Encode(nil, []byte(strings.Repeat("x", 1000)))
	if out, err := u.unpack(wire.PackedBatch, good, 1000); err != nil || len(out) != 1000 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	if _, err := u.unpack(wire.PackedBatch, good, 999); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("one byte too many: %v", err)
	}
	for _, bad := range [][]byte{nil, good[:len(good)-1], {0xff, 0xff, 0xff, 0xff, 0xff}, {200, 1, 0xff, 0xff}} {
		if _, err := u.unpack(wire.PackedBatch, bad, 1000); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("% x: %v", bad, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(s2.Encode(nil, []byte(strings.Repeat("x", 1000))))
	f.Add([]byte{5, 16, 'h', 'e', 'l', 'l', 'o'})
	var p packer
	f.Add(bytes.Clone(p.add([]byte(strings.Repeat("x", 1000)))))
	f.Fuzz(func(t *testing.T, body []byte) {
		const limit = 64 << 10
		for _, kind := range []wire.Kind{wire.PackedBatch, wire.StreamBatch} {
			var u unpacker
			for range 2 {
				if out, err := u.unpack(kind, body, limit); err == nil && len(out) > limit {
					t.Errorf("%d bytes", len(out))
				}
			}
			u.close()
		}
	})
}

func TestADistantLaneRemembersWhatWentBefore(t *testing.T) {
	var p packer
	var u unpacker
	defer p.close()
	defer u.close()
	alone, together := 0, 0
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range 3000 {
		body := []byte(reading(i) + reading(i+1) + reading(i+2))
		switch {
		case i%100 == 50: // what cannot shrink comes between
			for k := range body {
				body[k] = byte(rng.Uint32())
			}
		case i%500 == 7: // and something big
			body = bytes.Repeat(body, 2000)
		}
		plain := batchOf(body)
		frame := p.pack(plain, distant)
		if i > 10 && i%50 != 0 && len(body) < 1000 {
			alone += len(s2.Encode(nil, plain))
			together += len(frame)
		}
		kind, packed := wire.Kind(frame[0]), frame[1+lengthRoom:]
		if kind == wire.Batch {
			continue
		}
		got, err := u.unpack(kind, packed, 1<<20)
		if err != nil || !bytes.Equal(got, plain[1+lengthRoom:]) {
			t.Fatalf("batch %d came back as %d bytes of %d, %v", i, len(got), len(plain), err)
		}
	}
	if together > alone/2 {
		t.Errorf("small batches take %d bytes, each by itself %d", together, alone)
	}
}

func TestAStreamOfBatchesThatIsNoneIsRefused(t *testing.T) {
	var p packer
	good := bytes.Clone(p.add([]byte(strings.Repeat("x", 1000))))
	for what, bad := range map[string][]byte{
		"nothing": nil, "cut": good[:len(good)-1], "too long": append(bytes.Clone(good), 1), "no zstd": []byte("\x10abcdefgh"),
	} {
		var u unpacker
		if _, err := u.unpack(wire.StreamBatch, bad, 1000); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
		u.close()
	}
	var u unpacker
	if _, err := u.unpack(wire.StreamBatch, good, 999); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("one byte too many: %v", err)
	}
}

func BenchmarkPack(b *testing.B) {
	for _, c := range []struct {
		name string
		body []byte
	}{{"readings", []byte(strings.Repeat(reading(1), 600))}, {"noise", func() []byte {
		noise := make([]byte, 60_000)
		for i := range noise {
			noise[i] = byte(rand.Uint32())
		}
		return noise
	}()}} {
		b.Run(c.name, func(b *testing.B) {
			var p packer
			frame := batchOf(c.body)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				p.pack(frame, farAway)
			}
		})
	}
}
