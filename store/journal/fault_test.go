package journal

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

func TestAFailedSyncFailsTheJournalForGood(t *testing.T) {
	disk := storetest.NewDisk()
	j := open(t, small(disk))
	g := j.Group(id(1))
	if err := g.Append(storetest.Entries(1, 5, 1)); err != nil {
		t.Fatal(err)
	}
	disk.FailSync(1, syscall.EIO)
	err := g.Append(storetest.Entries(6, 6, 1))
	if !errors.Is(err, store.ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("the append whose sync failed: %v, want ErrFailed and why", err)
	}
	syncs := disk.Counts().Syncs
	for _, err := range []error{
		g.Append(storetest.Entries(6, 6, 1)), g.DeleteRange(1, 2), g.SetValues(store.Value{Key: "k"}),
		j.Group(id(2)).Append(storetest.Entries(1, 1, 1)), j.Err(),
	} {
		if !errors.Is(err, store.ErrFailed) {
			t.Errorf("after that: %v, want ErrFailed", err)
		}
	}
	storetest.CheckLog(t, g, storetest.Entries(1, 5, 1)) // reads go on
	if err := j.Close(); !errors.Is(err, store.ErrFailed) {
		t.Errorf("close: %v, want ErrFailed", err)
	}
	if now := disk.Counts().Syncs; now != syncs {
		t.Errorf("%d more syncs after one failed", now-syncs)
	}
	disk.Crash(rand.New(rand.NewPCG(1, 1)))
	disk.Start()
	storetest.CheckLog(t, open(t, small(disk)).Group(id(1)), storetest.Entries(1, 5, 1))
}

func TestAFailedSyncFailsAllWhoWait(t *testing.T) {
	disk := storetest.NewDisk()
	j := open(t, small(disk))
	release := disk.Hang()
	disk.FailSync(1, syscall.EIO)
	errs := make([]error, 10)
	var all sync.WaitGroup
	for n := range errs {
		all.Go(func() { errs[n] = j.Group(id(n)).Append(storetest.Entries(1, 3, 1)) })
	}
	release()
	all.Wait()
	for n, err := range errs {
		if !errors.Is(err, store.ErrFailed) {
			t.Errorf("group %d: %v, want ErrFailed", n, err)
		}
	}
}

func TestAFullDiskRefusesAndRecovers(t *testing.T) {
	disk := storetest.NewDisk()
	j := open(t, small(disk))
	g, vote := j.Group(id(1)), j.Group(id(2))
	disk.Limit(disk.Used())
	var want []store.Entry
	for i := uint64(1); ; i++ {
		e := store.Entry{Index: i, Data: make([]byte, 1500)}
		if err := g.Append([]store.Entry{e}); err != nil {
			if !errors.Is(err, store.ErrFull) {
				t.Fatalf("a full disk: %v", err)
			}
			break
		}
		want = append(want, e)
	}
	if len(want) == 0 {
		t.Fatal("nothing fits into what was reserved")
	}
	storetest.CheckLog(t, g, want)
	if err := vote.SetValues(store.Uint64Value("term", 2)); err != nil {
		t.Errorf("a vote finds no room in what was reserved: %v", err)
	}
	// A full disk can be opened and read.
	j.Close()
	disk.Limit(disk.Used())
	j = open(t, small(disk))
	g = j.Group(id(1))
	storetest.CheckLog(t, g, want)
	if err := g.Append(storetest.Entries(uint64(len(want)+1), uint64(len(want)+1), 1)); !errors.Is(err, store.ErrFull) {
		t.Fatalf("a full disk after opening: %v", err)
	}
	if s := j.Stats(); s.Full == 0 {
		t.Errorf("%+v: refusals are not counted", s)
	}
	disk.Limit(0)
	want = append(want, storetest.Entry(uint64(len(want)+1), 1))
	if err := g.Append(want[len(want)-1:]); err != nil {
		t.Fatalf("there is room again: %v", err)
	}
	j.Close()
	j = open(t, small(disk))
	storetest.CheckLog(t, j.Group(id(1)), want)
	if n, err := store.Uint64(j.Group(id(2)), "term"); n != 2 || err != nil {
		t.Errorf("term %d, %v", n, err)
	}
}

// What is small goes on when what is large finds no room, though they come at
// once.
func TestAVoteFindsRoomOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := storetest.NewDisk()
		j := open(t, small(disk))
		disk.Limit(disk.Used())
		release := disk.Hang()
		var all sync.WaitGroup
		all.Go(func() {
			if err := j.Group(id(1)).Append(storetest.Entries(1, 1, 1)); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait() // the writer is busy with that
		all.Go(func() {
			if err := j.Group(id(2)).Append([]store.Entry{{Index: 1, Data: make([]byte, 20_000)}}); !errors.Is(err, store.ErrFull) {
				t.Errorf("20 kB where 16 are reserved: %v, want ErrFull", err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if err := j.Group(id(3)).SetValues(store.Uint64Value("term", 2)); err != nil {
				t.Errorf("a vote: %v", err)
			}
		})
		synctest.Wait()
		release()
		all.Wait()
		j.Close()
	})
}

// A disk that promised room and has none leaves half a round. It is never read,
// and what is written afterwards is whole.
func TestHalfARoundIsNeverRead(t *testing.T) {
	for n := range 8 {
		disk := storetest.NewDisk()
		j := open(t, small(disk))
		g := j.Group(id(1))
		if err := g.Append(storetest.Entries(1, 3, 1)); err != nil {
			t.Fatal(err)
		}
		disk.FailWrite(1, syscall.ENOSPC)
		if err := g.Append([]store.Entry{{Index: 4, Data: bytes.Repeat([]byte("x"), 3000)}}); !errors.Is(err, store.ErrFull) {
			t.Fatalf("half a round: %v, want ErrFull", err)
		}
		storetest.CheckLog(t, g, storetest.Entries(1, 3, 1))
		if n%2 == 0 {
			if err := g.Append(storetest.Entries(4, 4, 2)); err != nil {
				t.Fatal(err)
			}
		}
		if n%4 < 2 {
			disk.Crash(rand.New(rand.NewPCG(uint64(n), 7)))
		}
		j.Close()
		disk.Start()
		want := storetest.Entries(1, 3, 1)
		if n%2 == 0 {
			want = append(want, storetest.Entry(4, 2))
		}
		storetest.CheckLog(t, open(t, small(disk)).Group(id(1)), want)
	}
}

func TestAHungDiskShowsHowLongChangesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := storetest.NewDisk()
		j := open(t, small(disk))
		if p := j.Pending(); p != 0 {
			t.Fatalf("an idle journal waits for %v", p)
		}
		time.Sleep(time.Second) // past the mark
		release := disk.Hang()
		var all sync.WaitGroup
		all.Go(func() {
			if err := j.Group(id(1)).Append(storetest.Entries(1, 1, 1)); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(2 * time.Second)
		all.Go(func() {
			if err := j.Group(id(2)).Append(storetest.Entries(1, 1, 1)); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(3 * time.Second)
		if p := j.Pending(); p != 5*time.Second {
			t.Errorf("pending for %v, want 5s", p)
		}
		if s := j.Stats(); s.Pending != 5*time.Second {
			t.Errorf("stats: pending for %v, want 5s", s.Pending)
		}
		release()
		all.Wait()
		synctest.Wait()
		if p := j.Pending(); p != 0 {
			t.Errorf("pending for %v when all is written", p)
		}
		j.Close()
	})
}

func TestAnIdleJournalMarksItsLastRoundOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := storetest.NewDisk()
		cfg := small(disk)
		cfg.MarkAfter = 50 * time.Millisecond
		j := open(t, cfg)
		if err := j.Group(id(1)).Append(storetest.Entries(1, 1, 1)); err != nil {
			t.Fatal(err)
		}
		before := disk.Counts().Syncs
		time.Sleep(49 * time.Millisecond)
		if now := disk.Counts().Syncs; now != before {
			t.Errorf("%d syncs within MarkAfter", now-before)
		}
		time.Sleep(time.Hour)
		if now := disk.Counts().Syncs; now != before+1 {
			t.Errorf("%d syncs in an idle hour, want 1", now-before)
		}
		// Now even a lost sector of the last change is found.
		disk.Kill()
		j.Close()
		disk.Start()
		file := path.Join(cfg.Dir, fileName(1))
		data := disk.Bytes(file)
		at := bytes.Index(data, []byte("entry 1 of term 1")) &^ (sectorSize - 1)
		clear(data[at:][:sectorSize])
		disk.Put(file, data)
		j = open(t, cfg)
		if err := j.Group(id(1)).Err(); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("an entry that was synced is gone: %v", err)
		}
		j.Close()
	})
}

func TestAForeignOrNewerDirectoryIsRefusedUntouched(t *testing.T) {
	disk := storetest.NewDisk()
	cfg := small(disk)
	open(t, cfg).Close()
	file := path.Join(cfg.Dir, fileName(1))
	ours := disk.Bytes(file)
	newer := bytes.Clone(ours)
	h, err := readHeader(ours[:sectorSize])
	if err != nil {
		t.Fatal(err)
	}
	h.version++
	copy(newer, h.put(nil))
	for _, test := range []struct {
		name       string
		mesh, node string
		data       []byte
		want       error
		says       string
	}{
		{"another node", "mesh", "other", ours, store.ErrForeign, `"node"`},
		{"another mesh", "other", "node", ours, store.ErrForeign, `"mesh"`},
		{"a newer format", "mesh", "node", newer, store.ErrNewer, "format 2"},
		{"no journal at all", "mesh", "node", bytes.Repeat([]byte("text "), 1000), store.ErrCorrupt, "no header"},
	} {
		disk.Put(file, test.data)
		cfg.Mesh, cfg.Node = test.mesh, test.node
		before := disk.Counts()
		j, err := Open(cfg)
		if err == nil {
			j.Close()
		}
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %v that says %q", test.name, err, test.want, test.says)
		}
		names, _ := disk.List(cfg.Dir)
		if !bytes.Equal(disk.Bytes(file), test.data) || len(names) != 1 || disk.Counts() != before {
			t.Errorf("%s: the directory was touched", test.name)
		}
	}
}

// A round can be in a file whole although writing it failed. The next segment
// says that it is not part of the journal.
func TestWhatLiesBehindTheEndOfASegmentIsNeverRead(t *testing.T) {
	disk := storetest.NewDisk()
	cfg := small(disk)
	j := open(t, cfg)
	g := j.Group(id(1))
	if err := g.Append(storetest.Entries(1, 3, 1)); err != nil {
		t.Fatal(err)
	}
	j.Close()
	again := open(t, cfg) // goes on in a second segment
	again.Close()

	e := storetest.Entry(4, 1)
	h := entryHead(id(1), 4, &e)
	m := member{id(1), 4, 1}
	round := m.append(make([]byte, headSize))
	round = appendRecord(round, &h, e.Data, nil, j.salt)
	file := path.Join(cfg.Dir, fileName(1))
	disk.Put(file, append(disk.Bytes(file), sealRound(round, j.w.number+1, 1, 1, kindPlain, j.salt)...))

	if report, err := Verify(disk, cfg.Dir); err != nil || report.Err() != nil {
		t.Errorf("%v, %v", err, report.Err())
	}
	storetest.CheckLog(t, open(t, cfg).Group(id(1)), storetest.Entries(1, 3, 1))
}
