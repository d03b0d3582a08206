package away

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
)

var home = ID{7}

// region is where records go, when it can be reached.
type region struct {
	mu   sync.Mutex // guards the fields below
	down bool
	got  []string
}

var errDown = errors.New("no way leads there")

func (r *region) send(_ context.Context, _ ID, records []segment.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return errDown
	}
	for _, rec := range records {
		r.got = append(r.got, string(rec.Data))
	}
	return nil
}

func (r *region) set(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// arrived is what has come, without what came twice in a row of batches.
func (r *region) arrived() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(r.got), func(s string) bool {
		was := seen[s]
		seen[s] = true
		return was
	})
}

func open(t *testing.T, disk store.FS, r *region, most int64) *Outbox {
	t.Helper()
	o, err := Open(Config{FS: disk, Dir: "outbox", Files: segment.NewFiles(disk, 8), Send: r.send, MaxBytes: most})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// waiting is how many records wait.
func waiting(o *Outbox) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if b := o.boxes[home]; b != nil {
		return b.log.Next() - b.sent
	}
	return 0
}

func records(from, to int) (list []segment.Record) {
	for n := from; n < to; n++ {
		list = append(list, segment.Record{Time: int64(n), Data: fmt.Append(nil, n)})
	}
	return list
}

func wanted(to int) (list []string) {
	for n := range to {
		list = append(list, fmt.Sprint(n))
	}
	return list
}

func TestWhatWaitsGoesOutInOrderWhenTheWayIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &region{down: true}
		o := open(t, storetest.NewDisk(), r, 0)
		defer o.Close()
		for n := range 50 {
			if err := o.Put(home, records(10*n, 10*n+10)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // simulated
		if n := waiting(o); n != 500 {
			t.Errorf("%d records wait", n)
		}
		r.set(false)
		time.Sleep(2 * pauseMax) // simulated
		if got := r.arrived(); !slices.Equal(got, wanted(500)) {
			t.Errorf("%d records arrived: %v", len(got), got)
		}
		if n := waiting(o); n != 0 {
			t.Errorf("%d records still wait", n)
		}
	})
}

// What Put has taken survives a power loss, whenever it comes.
func TestWhatWaitsSurvivesACrash(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			disk, r := storetest.NewDisk(), &region{down: true}
			o := open(t, disk, r, 0)
			taken := 0
			for range 6 {
				disk.CrashAfter(1+rng.IntN(60), rng)
				r.set(rng.IntN(2) == 0)
				for range 20 {
					if o.Put(home, records(taken, taken+3)) != nil {
						break
					}
					taken += 3
					time.Sleep(20 * time.Millisecond) // simulated
				}
				disk.Crash(rng)
				o.Close()
				disk.Start()
				o = open(t, disk, r, 0)
				if left := waiting(o); left > 0 { // one more may be there whose Put failed
					taken = max(taken, int(o.boxes[home].log.Next()))
				}
			}
			r.set(false)
			time.Sleep(3 * pauseMax) // simulated
			got := r.arrived()
			if !slices.Equal(got, wanted(len(got))) || len(got) < taken {
				t.Errorf("seed %d: %d of %d records arrived: %v", seed, len(got), taken, got)
			}
			o.Close()
		})
	}
}

func TestAFullOutboxRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &region{down: true}
		o := open(t, storetest.NewDisk(), r, 1000)
		defer o.Close()
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ {
			err = o.Put(home, records(n, n+1))
		}
		if !errors.Is(err, ErrFull) || n < 10 {
			t.Errorf("after %d records: %v", n, err)
		}
		r.set(false)
		time.Sleep(3 * pauseMax) // simulated
		if got := r.arrived(); !slices.Equal(got, wanted(n-1)) {
			t.Errorf("%d of %d records arrived", len(got), n-1)
		}
	})
}
