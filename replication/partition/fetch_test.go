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
			config.Files = segment.NewFiles(disk, 4)
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
