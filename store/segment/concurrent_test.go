package segment_test

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
)

func TestReadersSeeOnlyWhatAppendsReturned(t *testing.T) {
	const total, size = 15_000, 100
	c := segment.Config{Files: segment.NewFiles(store.OS{}, 3, 20<<10), Dir: t.TempDir(), ID: logID, FileBytes: 200 << 10}
	l := open(t, c, &segment.Manifest{})
	var returned, done atomic.Int64 // offsets
	var wg sync.WaitGroup
	for i := range uint64(6) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(i, 1))
			buf := make([]byte, 2000)
			r := l.Reader(0)
			for l.Next() < total || r.Offset() < total {
				began := returned.Load()
				b, err := r.Read(buf)
				switch {
				case errors.Is(err, segment.ErrTrimmed):
					r = l.Reader(l.Start())
					continue
				case err != nil:
					t.Errorf("read at %d: %v", r.Offset(), err)
					done.Store(1)
					return
				case b.Len() == 0 && r.Offset() < began:
					t.Errorf("nothing to read at %d, and %d were appended before", r.Offset(), began)
				}
				for offset, got := range b.Records() {
					if offset != b.First() && offset != b.Next()-1 {
						continue
					}
					if want := numbered(offset, 1, size)[0]; !same(got, want) {
						t.Errorf("record %d is not what was appended", offset)
					}
				}
				if b.Next() > l.Next() {
					t.Errorf("read to %d, the log ends at %d", b.Next(), l.Next())
				}
				if rng.IntN(20) == 0 {
					at := l.Start() + rng.Int64N(l.Next()-l.Start()+1)
					if offset, err := l.OffsetAt(at * 10); err != nil || offset < at {
						t.Errorf("record %d's time is found at %d: %v", at, offset, err)
					}
					r = l.Reader(at)
				}
				if b.Len() == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	wg.Go(func() {
		for l.Next() < total {
			m := l.Manifest()
			if err := l.Sync(); err != nil {
				t.Error(err)
				return
			}
			if err := l.Release(m.Start); err != nil {
				t.Error(err)
				return
			}
			l.Trim(m.Next - 7_000)
			for _, f := range scrub(t, l) {
				t.Errorf("the scrubber found %+v", f)
			}
		}
	})
	for l.Next() < total && done.Load() == 0 {
		appendTo(t, l, int(min(50, total-l.Next())), size)
		returned.Store(l.Next())
		runtime.Gosched()
	}
	wg.Wait()
	if n := c.Files.Open(); n > 3 {
		t.Fatalf("%d files are open, 3 may be", n)
	}
}

func TestReadersOutliveTruncations(t *testing.T) {
	c := segment.Config{Files: segment.NewFiles(store.OS{}, 3, 2000), Dir: t.TempDir(), ID: logID, FileBytes: 5000}
	l := open(t, c, &segment.Manifest{})
	appendTo(t, l, 100, 100)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			buf := make([]byte, 900)
			for r := l.Reader(0); !stop.Load(); {
				b, err := r.Read(buf)
				if errors.Is(err, segment.ErrAhead) || err == nil && b.Len() == 0 {
					r = l.Reader(0)
					continue
				}
				if err != nil {
					t.Errorf("read at %d: %v", r.Offset(), err)
					return
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 80 {
		if err := l.TruncateTo(l.Next() - rng.Int64N(min(60, l.Next()))); err != nil {
			t.Fatal(err)
		}
		// Not what was there before.
		records := numbered(int64(i)*1000, 1+rng.IntN(60), 90+rng.IntN(30))
		if _, err := l.Append(records); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	wg.Wait()
}
