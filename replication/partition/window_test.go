package partition

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

// A window answers as a plain list of its records does, whatever comes twice, has no
// key, or is forgotten.
func TestAWindowKnowsTheNewestRecordOfEachKey(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		first := int64(1)<<32 - 50 // the low half of offsets begins anew on the way
		w := newWindow(first)
		type rec struct {
			offset, time int64
			key          Key
		}
		var list []rec
		limits := Window{Age: time.Second, Events: 1 + rng.IntN(300)}
		now, next := int64(0), first
		for range 5000 {
			now += rng.Int64N(int64(20 * time.Millisecond))
			start := first
			if rng.IntN(50) == 0 && len(list) > 0 {
				start = list[rng.IntN(len(list))].offset
			}
			w.limit(start, now, limits)
			for len(list) > 0 && (list[0].offset < start || len(list) > limits.Events || now-list[0].time > int64(limits.Age)) {
				list = list[1:]
			}
			var key Key
			binary.LittleEndian.PutUint64(key[:], rng.Uint64N(200)) // 0: no key
			want, known := int64(0), false
			for _, r := range list {
				if key != (Key{}) && r.key == key {
					want, known = r.offset, true
				}
			}
			if got, ok := w.find(key); ok != known || ok && got != want {
				t.Fatalf("seed %d: key %x is found at %d (%v), and is at %d (%v)", seed, key[:8], got, ok, want, known)
			}
			if known && rng.IntN(4) > 0 { // else it comes again, as it does without a window
				continue
			}
			w.add(next, now, key)
			list = append(list, rec{next, now, key})
			next++
		}
	}
}

func BenchmarkWindow(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	w := newWindow(0)
	limits := Window{Age: time.Hour, Events: 100_000}
	var key Key
	for n := range int64(b.N) {
		binary.LittleEndian.PutUint64(key[:], rng.Uint64())
		binary.LittleEndian.PutUint64(key[8:], rng.Uint64())
		w.limit(0, n, limits)
		if _, known := w.find(key); known {
			b.Fatal("a new key is known")
		}
		w.add(n, n, key)
	}
}
