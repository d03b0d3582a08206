package queue

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/transport/event"
)

// newEvent makes an event with data of the given size.
func newEvent(t testing.TB, id int, size ...int) event.Event {
	t.Helper()
	var b event.Builder
	b.SetString("id", strconv.Itoa(id)).SetString("source", "/s").SetString("type", "t")
	for _, n := range size {
		b.SetData(event.BinaryData, make([]byte, n))
	}
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// push spoils the event's bytes afterwards, as who reads frames into one
// buffer does.
func push(q *Queue, ev event.Event) {
	q.Push(&ev)
	clear(ev.Bytes())
}

func TestEventsComeOutInOrderAndEachLossIsCountedInItsPlace(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		limit := rapid.IntRange(1, 20_000).Draw(r, "limit")
		q := New(limit, NewPool())
		pushed, next := 0, 0
		buf := make([]Item, 7)
		pad := rapid.IntRange(0, 3000).Draw(r, "pad")
		var held []Item // of the last Pop
		var ids []string
		pop := func(most int) int {
			for i, it := range held {
				if it.Event.ID() != ids[i] {
					r.Fatalf("event %s turned into %q before the next Pop", ids[i], it.Event.ID())
				}
			}
			n := q.Pop(buf[:most])
			held, ids = held[:0], ids[:0]
			for _, it := range buf[:n] {
				if it.Gap == nil {
					held, ids = append(held, it), append(ids, strings.Clone(it.Event.ID()))
				}
			}
			for _, it := range buf[:n] {
				if it.Gap != nil {
					if it.Gap.Count == 0 || it.Gap.Cause != Overflow && it.Gap.Cause != "missed" || it.Gap.To.Before(it.Gap.From) {
						r.Fatalf("gap %+v", *it.Gap)
					}
					next += int(it.Gap.Count)
					continue
				}
				if it.Event.ID() != fmt.Sprint(next) {
					r.Fatalf("event %s, want %d", it.Event.ID(), next)
				}
				next++
			}
			return n
		}
		for range rapid.IntRange(0, 100).Draw(r, "steps") {
			switch what := rapid.IntRange(0, 7).Draw(r, "what"); {
			case what == 0:
				lost := rapid.IntRange(1, 3).Draw(r, "lost")
				q.PushGap(Gap{Count: uint64(lost), Cause: "missed", Origin: "o", From: time.Now(), To: time.Now()})
				pushed += lost
			case what < 6:
				push(q, newEvent(t, pushed, pushed*7919%(pad+1)))
				pushed++
				if q.bytes > limit && q.count > 1 {
					r.Fatalf("%d bytes in %d events, %d are allowed", q.bytes, q.count, limit)
				}
			default:
				pop(rapid.IntRange(0, len(buf)).Draw(r, "most"))
			}
		}
		for pop(len(buf)) > 0 {
		}
		if next != pushed || q.bytes != 0 || q.count != 0 {
			r.Fatalf("%d of %d accounted for; %d bytes, %d events left", next, pushed, q.bytes, q.count)
		}
	})
}

func TestAGapThatStandsForALossOfUnknownSizeTellsNoCount(t *testing.T) {
	known, unknown := Gap{Count: 3, Cause: "reset", Origin: "o"}, Gap{Cause: "reset", Origin: "o"}
	for _, gaps := range [][]Gap{{known, unknown}, {unknown, known}, {unknown, known, known}} {
		q, buf := New(1000, NewPool()), make([]Item, 4)
		for _, g := range gaps {
			q.PushGap(g)
		}
		if n := q.Pop(buf); n != 1 || buf[0].Gap.Count != 0 {
			t.Errorf("%v became %d items, the first %+v", gaps, n, buf[0].Gap)
		}
		q = New(3*eventOverhead, NewPool()) // the same when the subscriber is too slow to hear of them
		for i, g := range gaps {
			q.PushGap(g)
			push(q, newEvent(t, i))
		}
		for i := range 3 {
			push(q, newEvent(t, i))
		}
		if n := q.Pop(buf); n < 1 || buf[0].Gap == nil || buf[0].Gap.Count != 0 {
			t.Errorf("%v in a full queue became %d items, the first %+v", gaps, n, buf[0])
		}
	}
}

func TestGapsThatGoWithTheOldestKeepTheirCause(t *testing.T) {
	q, buf := New(3*eventOverhead, NewPool()), make([]Item, 3)
	causes := []Cause{"missed", "expired", Overflow, "origin_lost"}
	for i := range 200 { // more origins than are told apart
		g := Gap{Count: 1, Cause: causes[i%len(causes)], Origin: fmt.Sprint("n", i%40)}
		q.PushGap(g)
		push(q, newEvent(t, i))
	}
	lost, gaps := map[Cause]uint64{}, 0
	for {
		n := q.Pop(buf)
		if n == 0 {
			break
		}
		for _, it := range buf[:n] {
			if it.Gap == nil {
				lost[Overflow]++ // it came
			} else {
				lost[it.Gap.Cause] += it.Gap.Count
				gaps++
			}
		}
	}
	if lost["missed"] != 50 || lost["expired"] != 50 || lost["origin_lost"] != 50 || lost[Overflow] != 250 || gaps > 20 {
		t.Errorf("%d gaps: %v", gaps, lost)
	}
}

func TestReadyWakesWhoeverWaits(t *testing.T) {
	q := New(1<<20, NewPool())
	const events = 20_000
	var wg sync.WaitGroup
	for p := range 4 {
		wg.Go(func() {
			for i := range events / 4 {
				push(q, newEvent(t, p*events+i))
			}
		})
	}
	got, buf := 0, make([]Item, 64)
	for got < events {
		n := q.Pop(buf)
		for _, it := range buf[:n] {
			if it.Gap != nil {
				got += int(it.Gap.Count)
			} else {
				got++
			}
		}
		if n == 0 {
			<-q.Ready()
		}
	}
	wg.Wait()
}

func TestAClosedQueueIsDoneAndTakesNothing(t *testing.T) {
	q := New(1000, NewPool())
	push(q, newEvent(t, 1))
	q.Close()
	q.Close()
	push(q, newEvent(t, 2))
	if n := q.Pop(make([]Item, 4)); n != 0 {
		t.Errorf("%d items in a closed queue", n)
	}
	select {
	case <-q.Done():
	default:
		t.Error("a closed queue is not done")
	}
}

func BenchmarkPushPop(b *testing.B) {
	q, ev, buf := New(1<<20, NewPool()), newEvent(b, 1), make([]Item, 64)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		q.Push(&ev)
		if i++; i%64 == 0 {
			q.Pop(buf)
		}
	}
}

func TestAQueueHoldsLittleMoreThanItCounts(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	q, before := New(8<<20, NewPool()), heap()
	for i := range 2000 {
		frame := make([]byte, 0, 64<<10) // each event came in a large frame
		ev := newEvent(t, i, 200)
		ev, _ = ev.CopyTo(frame)
		q.Push(&ev)
	}
	if held := heap() - before; held > 2*uint64(q.bytes) {
		t.Errorf("a queue that counts %d bytes holds %d", q.bytes, held)
	}
	runtime.KeepAlive(q)
}

func TestASubscriberThatKeepsUpCostsNoGarbage(t *testing.T) {
	q, ev, buf := New(1<<20, NewPool()), newEvent(t, 1, 200), make([]Item, 64)
	if n := testing.AllocsPerRun(100, func() {
		for range 64 {
			q.Push(&ev)
		}
		q.Pop(buf)
	}); n > 2 { // under the race detector a sync.Pool forgets some
		t.Errorf("%v allocations for 64 events", n)
	}
}
