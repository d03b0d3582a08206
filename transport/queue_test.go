package transport

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/skeinmesh/skein/transport/wire"
)

// content lists what waits in a queue: "m<n>" for a mark, "<slice>:<body>" for a
// record.
func (q *laneQueue) content(t *testing.T) (list []string) {
	t.Helper()
	for _, b := range q.batches[q.at:] {
		if b.mark {
			list = append(list, "m"+string(b.buf))
			continue
		}
		_, rest, err := wire.ReadBatch(b.frame()[1+lengthRoom:])
		if err != nil {
			t.Fatal(err)
		}
		at, count := int32(batchHead), 0
		for _, p := range b.parts {
			for ; at < p.end; count++ {
				rec, n, err := wire.ReadRecord(rest)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, fmt.Sprintf("%d:%s", p.slice, rec.Body[:5]))
				rest, at = rest[n:], at+int32(n)
			}
		}
		if len(rest) > 0 || int(at) != len(b.buf) || count != b.count {
			t.Fatalf("a batch of %d events has %d, and %d bytes more", b.count, count, len(rest))
		}
	}
	return list
}

func TestASliceThatMovesTakesAlongWhatWaits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		all := &backlog{}
		pool := newBatchPool()
		from, to := newLaneQueue(all, pool), newLaneQueue(all, pool)
		n := 0
		fill := func(q *laneQueue, records int) {
			for range records {
				body := append(fmt.Appendf(nil, "%05d", n), make([]byte, random.IntN(2000))...)
				if _, err := q.append(uint8(random.IntN(3)), &wire.Record{How: wire.Deliver, Body: body}, 1, 1<<30); err != nil {
					t.Fatal(err)
				}
				n++
			}
		}
		fill(from, random.IntN(300))
		from.mark([]byte("0"))
		fill(from, random.IntN(300))
		fill(to, random.IntN(100))
		from.next() // the writer has it
		before, beforeTo, size := from.content(t), to.content(t), all.size.Load()
		const slice = 1
		at := slices.Index(before, "m0") + 1 // 0 if the writer has that as well
		from.pass(slice, to, []byte("1"), []byte("2"))

		of := func(list []string, wanted bool) (out []string) {
			for _, s := range list {
				if s[0] != 'm' && (s[0] == '0'+slice) == wanted {
					out = append(out, s)
				}
			}
			return out
		}
		want := slices.Concat(of(before[:at], false), []string{"m0"}[:min(at, 1)], []string{"m1"}, of(before[at:], false))
		if got := from.content(t); !slices.Equal(got, want) {
			t.Fatalf("left are\n%v, want\n%v", got, want)
		}
		want = slices.Concat(beforeTo, []string{"m2"}, of(before, true))
		if got := to.content(t); !slices.Equal(got, want) {
			t.Fatalf("the other has\n%v, want\n%v", got, want)
		}
		if all.size.Load() != size {
			t.Fatalf("%d bytes wait, %d did", all.size.Load(), size)
		}
		for _, q := range []*laneQueue{from, to} {
			for b, _, _ := q.next(); b != nil; b, _, _ = q.next() {
				size -= int64(max(0, len(b.buf)-batchHead)) * int64(map[bool]int{false: 1}[b.mark])
				q.sent(b)
			}
		}
		if all.size.Load() != size {
			t.Fatalf("%d bytes wait in empty queues, %d are with the writer", all.size.Load(), size)
		}
	}
}

func TestASliceThatMovesMakesNoBatchThatIsTooLargeToRead(t *testing.T) {
	const largest = 1 << 20 // of a record, as Config.MaxFrame has it
	random := rand.New(rand.NewPCG(2, 1))
	for range 20 {
		all, pool := &backlog{}, newBatchPool()
		from, to := newLaneQueue(all, pool), newLaneQueue(all, pool)
		offer := func(q *laneQueue, slice uint8, size int) {
			if _, err := q.append(slice, &wire.Record{How: wire.Deliver, Body: make([]byte, size)}, 1, 1<<30); err != nil {
				t.Fatal(err)
			}
		}
		for range 30 {
			for range random.IntN(100) {
				offer(from, uint8(random.IntN(2)), 1+random.IntN(2000))
				offer(to, uint8(random.IntN(2)), 1+random.IntN(2000))
			}
			offer(from, uint8(random.IntN(2)), largest-wire.RecordRoom-64)
		}
		from.pass(1, to, []byte("1"), []byte("2"))
		for _, q := range []*laneQueue{from, to} {
			for b, _, _ := q.next(); b != nil; b, _, _ = q.next() {
				if body := len(b.buf) - 1 - lengthRoom; body > largest+batchSize {
					t.Fatalf("a batch of %d bytes, readers take %d", body, largest+batchSize)
				}
			}
		}
	}
}
