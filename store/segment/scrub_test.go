package segment_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
)

// scrub goes once through a log.
func scrub(t testing.TB, l *segment.Log) (found []segment.Finding) {
	t.Helper()
	err := segment.Scrub(t.Context(), slices.Values([]*segment.Log{l}), 1<<40, func(f segment.Finding) { found = append(found, f) })
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheScrubberFindsWhatIsDamagedOnDisk(t *testing.T) {
	for name, c := range map[string]struct {
		hurt func(*storetest.Disk) error
		file int // of the manifest; -1 is none
		want error
	}{
		"nothing":            {func(*storetest.Disk) error { return nil }, -1, nil},
		"a bit of a head":    {func(d *storetest.Disk) error { return d.Flip(filePath("/log", 0), 60*8) }, 0, store.ErrCorrupt},
		"a bit of data":      {func(d *storetest.Disk) error { return d.Flip(filePath("/log", 14), 150*8) }, 1, store.ErrCorrupt},
		"a header":           {func(d *storetest.Disk) error { return d.Flip(filePath("/log", 14), 20*8) }, 1, store.ErrCorrupt},
		"the last file":      {func(d *storetest.Disk) error { return d.Flip(filePath("/log", 28), 1500*8) }, 2, store.ErrCorrupt},
		"a file's end":       {func(d *storetest.Disk) error { return d.Cut(filePath("/log", 0), 1000) }, 0, store.ErrCorrupt},
		"a file":             {func(d *storetest.Disk) error { return d.Remove(filePath("/log", 0)) }, 0, os.ErrNotExist},
		"what is not synced": {func(d *storetest.Disk) error { return d.Flip(filePath("/log", 28), (56+136*13)*8) }, -1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			disk, m := written(t, 40)
			l := open(t, config(disk), &m)
			appendTo(t, l, 2, 100)
			l.Trim(3) // of a file that is needed still
			if err := c.hurt(disk); err != nil {
				t.Fatal(err)
			}
			found := scrub(t, l)
			if c.file < 0 {
				if len(found) > 0 {
					t.Fatalf("found %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].File != m.Files[c.file] || found[0].Log != logID || !errors.Is(found[0].Err, c.want) || found[0].Repaired {
				t.Fatalf("found %+v, want %v of %+v", found, c.want, m.Files[c.file])
			}
		})
	}
}

func TestTheScrubberRepairsAnIndex(t *testing.T) {
	disk, m := written(t, 40)
	l := open(t, config(disk), &m)
	if err := disk.Flip(indexPath("/log", 14), 100); err != nil {
		t.Fatal(err)
	}
	if found := scrub(t, l); len(found) != 1 || !found[0].Repaired || !errors.Is(found[0].Err, store.ErrCorrupt) {
		t.Fatalf("found %+v", found)
	}
	if found := scrub(t, l); len(found) != 0 {
		t.Fatalf("after the repair found %+v", found)
	}
}

func TestTheScrubberKeepsToItsRateAndStopsWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(storetest.NewDisk())
		c.FileBytes = 1 << 20
		l := open(t, c, &segment.Manifest{})
		appendTo(t, l, 8000, 964) // 8 MB
		m := syncLog(t, l)
		logs := slices.Values([]*segment.Log{l})

		began := time.Now()
		if err := segment.Scrub(t.Context(), logs, 1<<20, func(f segment.Finding) { t.Error(f) }); err != nil {
			t.Fatal(err)
		}
		rate := float64(m.Bytes()) / time.Since(began).Seconds()
		if rate > 1.05*(1<<20) || rate < 0.9*(1<<20) {
			t.Fatalf("it read %.0f bytes a second, told to read %d", rate, 1<<20)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began = time.Now()
		if err := segment.Scrub(ctx, logs, 1<<20, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*time.Second {
			t.Fatalf("told to stop after 2 s it did after %v: %v", time.Since(began), err)
		}
	})
}
