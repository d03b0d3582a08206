package queue

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/transport/event"
)

func newEvent(t testing.TB, id int) event.Event {
	t.Helper()
	var b event.Builder
	ev, err := b.SetString("id", strconv.Itoa(id)).SetString("source", "/s").SetString("type", "t").Event()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestEventsComeOutInOrderAndEachLossIsCountedInItsPlace(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		limit := rapid.IntRange(1, 2000).Draw(r, "limit")
		q := New(limit)
		pushed, next := 0, 0
		buf := make([]Item, 7)
		pop := func(most int) int {
			n := q.Pop(buf[:most])
			for _, it := range buf[:n] {
				if it.Gap != nil {
					if it.Gap.Count == 0 || it.Gap.Cause != Overflow || it.Gap.To.Before(it.Gap.From) {
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
			if rapid.IntRange(0, 2).Draw(r, "what") > 0 {
				q.Push(newEvent(t, pushed))
				pushed++
				if q.bytes > limit && q.count > 1 {
					r.Fatalf("%d bytes in %d events, %d are allowed", q.bytes, q.count, limit)
				}
			} else {
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

func TestReadyWakesWhoeverWaits(t *testing.T) {
	q := New(1 << 20)
	const events = 20_000
	var wg sync.WaitGroup
	for p := range 4 {
		wg.Go(func() {
			for i := range events / 4 {
				q.Push(newEvent(t, p*events+i))
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
	q := New(1000)
	q.Push(newEvent(t, 1))
	q.Close()
	q.Close()
	q.Push(newEvent(t, 2))
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
	q, ev, buf := New(1<<20), newEvent(b, 1), make([]Item, 64)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		q.Push(ev)
		if i++; i%64 == 0 {
			q.Pop(buf)
		}
	}
}
