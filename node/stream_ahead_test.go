package node

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication"
)

// farLog is a log that is a round trip away, with records of some sizes.
type farLog struct {
	t        *testing.T
	trip     time.Duration
	end      int64
	size     func(offset int64) int
	keep     func(offset int64) bool // nil keeps all
	old      bool                    // it does not heed where a question ends
	fails    func(*blockAsk) error   // or nil
	asked    atomic.Int64
	at, most atomic.Int64 // questions at a time
	looked   atomic.Int64 // records
}

func (l *farLog) ask(ctx context.Context, q *blockAsk) (replication.Block, error) {
	l.asked.Add(1)
	l.most.Store(max(l.most.Load(), l.at.Add(1)))
	defer l.at.Add(-1)
	select {
	case <-time.After(l.trip): // simulated
	case <-ctx.Done():
		return replication.Block{}, ctx.Err()
	}
	if l.fails != nil {
		if err := l.fails(q); err != nil {
			return replication.Block{}, err
		}
	}
	b := replication.Block{From: q.Offset, Next: q.Offset, End: l.end}
	for size := 0; b.Next < l.end && (l.old || q.Until == 0 || b.Next < q.Until); b.Next++ {
		l.looked.Add(1)
		if l.keep != nil && !l.keep(b.Next) {
			continue
		}
		if size += l.size(b.Next); size > q.Bytes && len(b.List) > 0 {
			break
		}
		b.List = append(b.List, replication.BlockRecord{Offset: b.Next, Data: make([]byte, l.size(b.Next))})
	}
	return b, nil
}

// readWhole reads a log to its end, as a reader's fetcher does, and returns how long
// that took.
func (l *farLog) readWhole(slots int, pause time.Duration) time.Duration {
	l.t.Helper()
	var wg sync.WaitGroup
	a := &readAhead{ask: l.ask, slots: someSlots(slots), wg: &wg}
	began, want := time.Now(), int64(0)
	q := &blockAsk{Read: replication.Read{Bytes: replication.BlockBytes}}
	for q.Offset < l.end {
		b, err := a.next(l.t.Context(), q, math.MaxInt64)
		if err != nil {
			time.Sleep(time.Second) // simulated
			continue
		}
		if b.From != q.Offset || b.Next <= q.Offset {
			l.t.Fatalf("a block from %d to %d, want one from %d", b.From, b.Next, q.Offset)
		}
		for _, rec := range b.List {
			for ; l.keep != nil && !l.keep(want); want++ {
			}
			if rec.Offset != want || len(rec.Data) != l.size(want) {
				l.t.Fatalf("record %d, want %d", rec.Offset, want)
			}
			want++
		}
		q.Offset = b.Next
		time.Sleep(pause) // simulated
	}
	took := time.Since(began)
	for ; l.keep != nil && want < l.end && !l.keep(want); want++ {
	}
	if want != l.end {
		l.t.Errorf("read up to %d, want %d", want, l.end)
	}
	a.drop()
	wg.Wait()
	if n := len(a.slots.kept) + len(a.slots.asked); n > 0 {
		l.t.Errorf("%d places are still taken", n)
	}
	return took
}

func someSlots(n int) *aheadSlots {
	return &aheadSlots{make(chan struct{}, n), make(chan struct{}, n)}
}

func kib(n int) func(int64) int { return func(int64) int { return n << 10 } }

func TestWhatIsFarIsReadAhead(t *testing.T) {
	for name, c := range map[string]struct {
		log   *farLog
		slots int
		trips int // at most
	}{
		"Alike":          {&farLog{end: 65536, size: kib(1)}, 100, 30}, // 86 blocks
		"Large":          {&farLog{end: 256, size: kib(256)}, 100, 26},
		"OfAllSizes":     {&farLog{end: 4096, size: func(at int64) int { return int(at * 7919 % 45000) }}, 100, 30},
		"SmallThenLarge": {&farLog{end: 8192, size: func(at int64) int { return 256 << (8 * (at / 6144)) }}, 100, 60},
		"LargeThenSmall": {&farLog{end: 65536, size: func(at int64) int { return 256 << (10 - min(10, at/64*10)) }}, 100, 60},
		"FewAreWanted":   {&farLog{end: 1 << 20, size: kib(1), keep: func(at int64) bool { return at%16 == 0 }}, 100, 30},
		"OfOldNodes":     {&farLog{end: 65536, size: kib(1), old: true}, 100, 30},
		"WithoutRoom":    {&farLog{end: 65536, size: kib(1)}, 0, 87},
		"OneAtATime":     {&farLog{end: 65536, size: kib(1)}, 1, 130},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := c.log
				l.t, l.trip = t, 80*time.Millisecond
				took := l.readWhole(c.slots, 0)
				if took > time.Duration(c.trips)*l.trip {
					t.Errorf("it took %.1f round trips, want %d at most", float64(took)/float64(l.trip), c.trips)
				}
				if most := l.most.Load(); most > 2*maxAhead { // with those that were given up a moment ago
					t.Errorf("%d questions at a time", most)
				}
				if l.keep == nil && !l.old && l.looked.Load() > 2*l.end {
					t.Errorf("%d records were looked at for %d", l.looked.Load(), l.end)
				}
			})
		})
	}
}

// A reader that takes its time has no more than it needs lying ready.
func TestASlowReaderHasLittleAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &farLog{t: t, trip: 80 * time.Millisecond, end: 65536, size: kib(1)}
		l.readWhole(100, time.Second)
		if most := l.most.Load(); most > 2 {
			t.Errorf("%d questions at a time", most)
		}
	})
}

// A reader that was quick and is slow gives back what it does not need.
func TestAReaderThatBecomesSlowHasLessAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		l := &farLog{t: t, trip: 80 * time.Millisecond, end: 65536, size: kib(1)}
		a := &readAhead{ask: l.ask, slots: someSlots(10), wg: &wg}
		q := &blockAsk{Read: replication.Read{Bytes: replication.BlockBytes}}
		read := func(blocks int, pause time.Duration) {
			for range blocks {
				b, err := a.next(t.Context(), q, math.MaxInt64)
				if err != nil {
					t.Fatal(err)
				}
				q.Offset = b.Next
				time.Sleep(pause) // simulated
			}
		}
		read(40, 0)
		if n := len(a.slots.kept); n != maxAhead {
			t.Errorf("%d blocks are ahead of who waits for them, want %d", n, maxAhead)
		}
		read(20, time.Second)
		if n := len(a.slots.kept); n > 1 {
			t.Errorf("%d blocks are ahead of a slow reader", n)
		}
		a.drop()
		wg.Wait()
	})
}

// On a link that is full, more questions at a time would only wait for each other, and
// none would be answered in time.
func TestAFullLinkIsNotAskedForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var link sync.Mutex // held by nobody across a wait: it guards free
		free := time.Now()
		l := &farLog{t: t, trip: 80 * time.Millisecond, end: 16384, size: kib(1)}
		ask := func(ctx context.Context, q *blockAsk) (replication.Block, error) {
			b, err := l.ask(ctx, q)
			link.Lock()
			if now := time.Now(); free.Before(now) {
				free = now
			}
			free = free.Add(time.Duration(blockSize(&b)) * time.Second / (160 << 10)) // bytes a second
			due := free
			link.Unlock()
			select {
			case <-time.After(time.Until(due)): // simulated
				return b, err
			case <-time.After(aheadWait):
				return replication.Block{}, context.DeadlineExceeded
			}
		}
		var wg sync.WaitGroup
		a := &readAhead{ask: ask, slots: someSlots(100), wg: &wg}
		q := &blockAsk{Read: replication.Read{Bytes: replication.BlockBytes}}
		failed := 0
		for q.Offset < l.end {
			b, err := a.next(t.Context(), q, math.MaxInt64)
			if err != nil {
				failed++
				continue
			}
			q.Offset = b.Next
		}
		a.drop()
		wg.Wait()
		if failed > 0 {
			t.Errorf("%d questions were not answered in time", failed)
		}
	})
}

// What fails is asked for again, and nothing is left out.
func TestReadingAheadGoesOnAfterFailures(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			l := &farLog{t: t, trip: 80 * time.Millisecond, end: 2000, size: func(at int64) int { return int(at*7919%65536) + 1 }}
			l.fails = func(*blockAsk) error {
				mu.Lock()
				defer mu.Unlock()
				if rng.IntN(10) == 0 {
					return errors.New("out of reach")
				}
				return nil
			}
			l.readWhole(1+rng.IntN(20), time.Duration(rng.IntN(200))*time.Millisecond)
		})
	}
}

// Who follows the end of a log asks for no more than comes.
func TestNothingIsReadAheadAtTheEndOfALog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		l := &farLog{t: t, trip: time.Millisecond, end: 0, size: kib(1)}
		a := &readAhead{ask: l.ask, slots: someSlots(10), wg: &wg}
		q := &blockAsk{Read: replication.Read{Bytes: replication.BlockBytes}}
		for range 100 {
			l.end += 3
			b, err := a.next(t.Context(), q, math.MaxInt64)
			if err != nil {
				t.Fatal(err)
			}
			q.Offset = b.Next
		}
		a.drop()
		wg.Wait()
		if n := l.asked.Load(); n != 100 {
			t.Errorf("%d questions for 100 blocks", n)
		}
	})
}

// A reader that has stopped gives back what was read ahead for it, and loses nothing.
func TestAReaderThatHasStoppedGivesBackWhatIsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		far := &farLog{t: t, trip: 80 * time.Millisecond, end: 10_000, size: func(int64) int { return 1 << 10 }}
		var wg sync.WaitGroup
		slots := newAheadSlots()
		r, l := &StreamReader{ctx: ctx}, &logReader{more: make(chan struct{}, 1)}
		a := &readAhead{ask: far.ask, slots: slots, wg: &wg}
		q := &blockAsk{Read: replication.Read{Bytes: replication.BlockBytes}}
		read := func() {
			t.Helper()
			b, err := a.next(ctx, q, math.MaxInt64)
			if err != nil || b.From != q.Offset || b.Next == q.Offset {
				t.Fatalf("from %d to %d: %v", b.From, b.Next, err)
			}
			q.Offset = b.Next
		}
		await := func(more time.Duration) (waited time.Duration, kept int) {
			began := time.Now()
			time.AfterFunc(more, func() { l.more <- struct{}{} })
			r.awaitMore(l, a)
			return time.Since(began), len(slots.kept)
		}
		for range 4 {
			read()
		}
		if waited, kept := await(aheadKept - 1); waited != aheadKept-1 || kept == 0 {
			t.Errorf("a reader that pauses has %d answers after %v", kept, waited)
		}
		if waited, kept := await(time.Hour); waited != time.Hour || kept > 0 {
			t.Errorf("a reader that has stopped has %d answers after %v", kept, waited)
		}
		for range 4 {
			read()
		}
		if len(slots.kept) == 0 {
			t.Error("nothing is read ahead for a reader that goes on")
		}
		cancel()
		if waited, _ := await(time.Hour); waited > 0 {
			t.Errorf("a reader that is closed is waited for: %v", waited)
		}
		<-l.more // simulated: an hour later
		a.drop()
		wg.Wait()
	})
}
