package segment_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
)

// fetch fetches what is missing of a file, in chunks of 500 bytes, at most so
// many.
func fetch(t testing.TB, from *segment.Log, s *segment.Staged, want segment.FileInfo, chunks int) {
	t.Helper()
	buf := make([]byte, 500)
	for range chunks {
		n, err := from.ReadChunk(want, s.Have(), buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		if _, err := s.Write(buf[:n]); err != nil {
			t.Fatal(err)
		}
	}
}

// fetchAll fetches and finishes one file.
func fetchAll(t testing.TB, from *segment.Log, c segment.Config, want segment.FileInfo, seed bool) {
	t.Helper()
	s, err := segment.Stage(c, want)
	if err != nil {
		t.Fatal(err)
	}
	if seed {
		if err := s.Seed(); err != nil {
			t.Fatal(err)
		}
	}
	fetch(t, from, s, want, 1000)
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
}

func TestALogIsFetchedFromAReplicaAndGoesOn(t *testing.T) {
	leader := open(t, config(storetest.NewDisk()), &segment.Manifest{})
	disk := storetest.NewDisk()
	c := config(disk)
	behind := open(t, c, &segment.Manifest{})
	appendTo(t, leader, 60, 100)
	appendTo(t, behind, 20, 100)
	leader.Trim(5)
	m := syncLog(t, leader)
	appendTo(t, leader, 50, 100) // goes on meanwhile

	missing, err := segment.Missing(c, m)
	if err != nil || !slices.Equal(missing, m.Files[1:]) {
		t.Fatalf("missing are %+v (%v), of %+v", missing, err, m.Files)
	}
	// The end of the log's own file is not whole; it is not taken over.
	own := filePath("/log", missing[0].First)
	disk.Put(own, append(disk.Bytes(own), make([]byte, 50)...))
	// The first is begun, the power fails, and it goes on.
	s, err := segment.Stage(c, missing[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Seed(); err != nil {
		t.Fatal(err)
	}
	if have := s.Have(); have != 56+6*136 {
		t.Fatalf("six records of the file were there already; %d bytes are", have)
	}
	fetch(t, leader, s, missing[0], 1)
	if err := s.Finish(); err == nil {
		t.Fatal("a file that is not whole was finished")
	}
	disk.Kill()
	disk.Start()
	s, err = segment.Stage(c, missing[0])
	if err != nil {
		t.Fatal(err)
	}
	if have := s.Have(); have != 56+6*136+500 {
		t.Fatalf("fetching goes on at %d", have)
	}
	fetch(t, leader, s, missing[0], 1000)
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	for _, want := range missing[1:] {
		if _, err := segment.Open(c, &m); err == nil {
			t.Fatal("opened with files missing")
		}
		fetchAll(t, leader, c, want, true)
	}
	if missing, err := segment.Missing(c, m); len(missing) > 0 || err != nil {
		t.Fatalf("all was fetched, and missing are %v, %v", missing, err)
	}

	// The power fails at any moment of putting them in place.
	for seed, opened := uint64(0), false; !opened; seed++ {
		image := disk.Clone()
		image.CrashAfter(int(seed)+1, rand.New(rand.NewPCG(seed, 1)))
		l, err := segment.Open(config(image), &m)
		if opened = err == nil; opened {
			l.Close()
			image.Crash(rand.New(rand.NewPCG(seed, 1)))
		}
		image.Start()
		l = open(t, config(image), &m)
		if next, err := readFrom(t, l, 5, 100); next != 60 || err != nil {
			t.Fatal(next, err)
		}
		appendTo(t, l, 50, 100)
		if a, b := l.Manifest(), leader.Manifest(); !slices.Equal(a.Files, b.Files) {
			t.Fatalf("the files are\n%+v, the leader's are\n%+v", a.Files, b.Files)
		}
		if err := segment.ClearStaging(config(image)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFetchedFileIsCheckedBeforeItIsUsed(t *testing.T) {
	leader := open(t, config(storetest.NewDisk()), &segment.Manifest{})
	appendTo(t, leader, 40, 100)
	m := syncLog(t, leader)
	want := m.Files[0]
	for at := int64(0); at < want.Bytes; at += 11 {
		disk := storetest.NewDisk()
		s, err := segment.Stage(config(disk), want)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, want.Bytes)
		if _, err := leader.ReadChunk(want, 0, buf); err != nil {
			t.Fatal(err)
		}
		buf[at] ^= 4
		if _, err := s.Write(buf); err != nil {
			t.Fatal(err)
		}
		if err := s.Finish(); !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrNewer) {
			t.Fatalf("byte %d was changed on the way: %v", at, err)
		}
		if missing, err := segment.Missing(config(disk), m); err != nil || len(missing) != len(m.Files) {
			t.Fatalf("a damaged file counts as fetched: %v", err)
		}
	}
	// Sound, but of another history.
	other := open(t, config(storetest.NewDisk()), &segment.Manifest{})
	records := numbered(0, 40, 100)
	records[3].Data[0] ^= 1
	if _, err := other.Append(records); err != nil {
		t.Fatal(err)
	}
	if _, err := other.ReadChunk(want, 0, make([]byte, 10)); !errors.Is(err, segment.ErrNoFile) {
		t.Fatalf("a file with another hash was served: %v", err)
	}
	s, err := segment.Stage(config(storetest.NewDisk()), want)
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, other, s, other.Files()[0], 100)
	if err := s.Finish(); !errors.Is(err, store.ErrCorrupt) {
		t.Fatal(err)
	}
	if _, err := leader.ReadChunk(segment.FileInfo{First: 3}, 0, make([]byte, 10)); !errors.Is(err, segment.ErrNoFile) {
		t.Fatal(err)
	}
}

func TestADamagedFileIsReplacedByAFetchedOneWhileTheLogIsRead(t *testing.T) {
	leader := open(t, config(storetest.NewDisk()), &segment.Manifest{})
	appendTo(t, leader, 40, 100)
	disk, m := written(t, 40)
	c := config(disk)
	l := open(t, c, &m)
	if err := disk.Flip(filePath("/log", 14), 8000); err != nil {
		t.Fatal(err)
	}
	if _, err := readFrom(t, l, 0, 100); !errors.Is(err, store.ErrCorrupt) {
		t.Fatal(err)
	}
	want := m.Files[1]
	if err := l.Install(want); !errors.Is(err, segment.ErrNoFile) {
		t.Fatalf("installed what was not fetched: %v", err)
	}
	fetchAll(t, leader, c, want, false)
	if err := l.Install(want); err != nil {
		t.Fatal(err)
	}
	if next, err := readFrom(t, l, 0, 100); next != 40 || err != nil {
		t.Fatal(next, err)
	}
	if err := l.Install(m.Files[2]); !errors.Is(err, segment.ErrNoFile) {
		t.Fatalf("the file that is written was replaced: %v", err)
	}
	disk.Crash(rand.New(rand.NewPCG(1, 1)))
	disk.Start()
	if next, err := readFrom(t, open(t, config(disk), &m), 0, 100); next != 40 || err != nil {
		t.Fatal(next, err)
	}
}

func TestAManifestOfALaterVersionIsRefused(t *testing.T) {
	_, m := written(t, 20)
	b := m.AppendTo(nil)
	b[0]++
	if _, _, err := segment.ParseManifest(b); !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), "version 2, this program knows 1") {
		t.Errorf("%v", err)
	}
}

// What was fetched of the file that is still written is not fetched again because it
// has grown: each of a thousand small logs has such a file.
func TestAFileThatHasGrownIsFetchedOnFromWhereItWas(t *testing.T) {
	leader := open(t, config(storetest.NewDisk()), &segment.Manifest{})
	appendTo(t, leader, 5, 100)
	c := config(storetest.NewDisk())
	before := syncLog(t, leader).Files[0]
	fetchAll(t, leader, c, before, true)
	appendTo(t, leader, 5, 100)
	m := syncLog(t, leader)
	want := m.Files[0]

	s, err := segment.Stage(c, want)
	if err != nil {
		t.Fatal(err)
	}
	if s.Have() != before.Bytes || want.Bytes <= before.Bytes {
		t.Errorf("fetching goes on at %d of %d, %d were there", s.Have(), want.Bytes, before.Bytes)
	}
	fetch(t, leader, s, want, 1000)
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	if missing, err := segment.Missing(c, m); len(missing) > 0 || err != nil {
		t.Fatalf("missing are %v, %v", missing, err)
	}
	if next, err := readFrom(t, open(t, c, &m), 0, 100); next != 10 || err != nil {
		t.Fatal(next, err)
	}
}

// What was in the staging place and is of another history costs an attempt, no more.
func TestAStagedFileOfAnotherHistoryIsNotGoneOnWithForEver(t *testing.T) {
	leader := open(t, config(storetest.NewDisk()), &segment.Manifest{})
	appendTo(t, leader, 10, 100)
	want := syncLog(t, leader).Files[0]
	other := open(t, config(storetest.NewDisk()), &segment.Manifest{})
	appendTo(t, other, 5, 99)
	c := config(storetest.NewDisk())
	fetchAll(t, other, c, syncLog(t, other).Files[0], false)

	s, err := segment.Stage(c, want)
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, leader, s, want, 1000)
	if err := s.Finish(); !errors.Is(err, store.ErrCorrupt) {
		t.Fatalf("it was taken: %v", err)
	}
	fetchAll(t, leader, c, want, false)
}

// Who syncs a few bytes on the same disk waits for no more than a little of what is
// fetched.
func TestWhatIsFetchedGoesToTheDiskLittleByLittle(t *testing.T) {
	const megabyte = 1 << 20
	large := func(disk store.FS) segment.Config {
		return segment.Config{Files: segment.NewFiles(disk, 4, 0), Dir: "/log", FileBytes: 64 * megabyte}
	}
	leader := open(t, large(storetest.NewDisk()), &segment.Manifest{})
	appendTo(t, leader, 9, megabyte)
	want := syncLog(t, leader).Files[0]
	disk := storetest.NewDisk()
	c := large(disk)
	s, err := segment.Stage(c, want)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	buf := make([]byte, megabyte/4)
	synced, unsynced := disk.Counts().Syncs, 0
	for s.Have() < want.Bytes {
		n, err := leader.ReadChunk(want, s.Have(), buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(buf[:n]); err != nil {
			t.Fatal(err)
		}
		unsynced += n
		if now := disk.Counts().Syncs; now > synced {
			synced, unsynced = now, 0
		}
		if unsynced > 2*megabyte {
			t.Fatalf("%d bytes are on their way to the disk at once", unsynced)
		}
	}

	disk.FailSync(1, errors.New("the disk is broken"))
	if err := s.Finish(); err == nil {
		t.Fatal("a sync that failed is not told")
	}
	if s, err = segment.Stage(c, want); err != nil || s.Have() != 0 {
		t.Errorf("of what is perhaps not on the disk, %d bytes are used (%v)", s.Have(), err)
	}
}
