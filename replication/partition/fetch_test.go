package partition

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/store/segment"
)

// What a replica has of a leader's snapshot already need not be on its disk when
// the snapshot comes, and must be when it is kept.
func TestWhatASnapshotNeedsIsOnTheDiskBeforeItIsKept(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3)
			c.rng = rand.New(rand.NewPCG(seed, 3))
			at, leader := c.leader()
			for n := 0; n < 100; n += 10 {
				if _, err := leader.Append(t.Context(), records(orders, n, n+10)); err != nil {
					t.Fatal(err)
				}
			}
			c.settled()
			if err := leader.Group().Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, data := leader.snaps.Latest()
			other := (at + 1) % 3
			follower, disk := c.nodes[other].part, c.nodes[other].disk
			if err := follower.prepare(t.Context(), leader.Group().Self(), data); err != nil {
				t.Fatal(err)
			}
			c.crash(other, true)

			kept, err := parseSnapshot(data)
			if err != nil {
				t.Fatal(err)
			}
			config := follower.config(kept.logs[0].id, kept.logs[0].birth)
			config.Files = segment.NewFiles(disk, 4, 0)
			l, err := segment.Open(config, &kept.logs[0].manifest)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			count := 0
			for r, buf := l.Reader(0), make([]byte, 4<<10); ; {
				b, err := r.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				if count += b.Len(); b.Len() == 0 {
					break
				}
			}
			if count != 100 {
				t.Errorf("%d of 100 records are there", count)
			}
		})
	}
}

// A snapshot and a repair may need the same file, which is fetched to one place.
func TestFilesAreFetchedForOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		_, p := c.leader()
		if _, err := p.Append(t.Context(), records(orders, 0, 10)); err != nil {
			t.Fatal(err)
		}
		if err := p.Group().Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, data := p.snaps.Latest()
		done, err := p.stage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.prepare(ctx, p.Group().Self(), data); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a snapshot was prepared meanwhile: %v", err)
		}
		if err := p.Repair(ctx, orders, segment.FileInfo{}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a file was repaired meanwhile: %v", err)
		}
		done()
		if err := p.prepare(t.Context(), p.Group().Self(), data); err != nil {
			t.Error(err)
		}
	})
}

// A replica that is fetched at a pace comes to follow a log that grows faster.
func TestAReplicaOvertakesALogThatGrowsFasterThanItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		at, leader := c.leader()
		late := (at + 1) % 3
		c.crash(late, false)
		c.pace = 30_000
		// A snapshot each second leaves fewer entries than come in two.
		const perSecond = 2 * trailing / 3
		n := 0
		grow := func() {
			for range perSecond {
				r := record(orders, n)
				r.Data = append(r.Data, make([]byte, 200)...)
				if _, err := leader.Append(t.Context(), []Record{r}); err != nil {
					t.Fatal(err)
				}
				n++
			}
			if err := leader.Group().Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 {
			grow()
		}
		c.start(late)
		began := time.Now()
		for leader.Group().Stats().Commit > c.nodes[late].part.Group().Stats().Applied+trailing {
			if time.Since(began) > 2*time.Minute {
				t.Fatalf("after %v it has %d entries of %d", time.Since(began), c.nodes[late].part.Group().Stats().Applied, leader.Group().Stats().Commit)
			}
			grow()
			time.Sleep(time.Second) // simulated
		}
	})
}

// The pace is doubled for what comes faster, and for nothing else: not because an
// attempt was cut, however often.
func TestThePaceIsDoubledOnlyForALogThatGrowsFaster(t *testing.T) {
	var h haste
	for _, step := range []struct {
		why     string
		from    int64 // what is kept, in bytes and records
		to      int64
		fetched int
		want    uint
	}{
		{"the first snapshot", 0, 1000, 100, 0},
		{"it was cut", 0, 1000, 0, 0},
		{"it was cut at once", 0, 1000, 500, 0},
		{"little has come meanwhile", 0, 1200, 400, 0},
		{"as much has come as was fetched", 0, 1600, 600, 1},
		{"as much has come and gone", 600, 2200, 600, 2},
		{"less has come", 600, 2300, 600, 2},
	} {
		if got := h.next(grownTo(step.from, step.to)); got != step.want {
			t.Errorf("%s: the pace is doubled %d times, want %d", step.why, got, step.want)
		}
		h.note(step.fetched)
	}
	h.over()
	if got := h.next(grownTo(600, 5000)); got != 0 {
		t.Errorf("after it has followed, the pace is doubled %d times", got)
	}
}

// grownTo is a snapshot of a log of records of one byte each.
func grownTo(from, to int64) *state {
	file := segment.FileInfo{First: from, Next: to, Bytes: to - from}
	return &state{logs: []kept{{id: orders, manifest: segment.Manifest{Start: from, Next: to, Files: []segment.FileInfo{file}}}}}
}
