package segment_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
)

var logID = segment.ID{1, 2, 3}

func filePath(dir string, first int64) string { return path.Join(dir, fmt.Sprintf("%019d.seg", first)) }
func indexPath(dir string, first int64) string {
	return path.Join(dir, fmt.Sprintf("%019d.idx", first))
}

// config is a log on a disk, with files of a few records.
func config(disk store.FS) segment.Config {
	return segment.Config{Files: segment.NewFiles(disk, 8, 0), Dir: "/log", ID: logID, FileBytes: 2000}
}

func open(t testing.TB, c segment.Config, m *segment.Manifest) *segment.Log {
	t.Helper()
	l, err := segment.Open(c, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// numbered are records that can be told from all others.
func numbered(from int64, n, size int) []segment.Record {
	records := make([]segment.Record, n)
	for i := range records {
		offset := from + int64(i)
		data := make([]byte, size)
		for j := 0; j+8 <= size; j += 8 {
			binary.LittleEndian.PutUint64(data[j:], uint64(offset)*31+uint64(j))
		}
		records[i] = segment.Record{Time: offset * 10, Key: segment.Key{byte(offset), byte(offset >> 8), byte(offset >> 16)}, Data: data}
	}
	return records
}

func appendTo(t testing.TB, l *segment.Log, n, size int) {
	t.Helper()
	if _, err := l.Append(numbered(l.Next(), n, size)); err != nil {
		t.Fatal(err)
	}
}

func syncLog(t testing.TB, l *segment.Log) segment.Manifest {
	t.Helper()
	m := l.Manifest()
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	return m
}

// readFrom reads records until the end or an error. It fails the test if one is
// not what numbered made.
func readFrom(t testing.TB, l *segment.Log, from int64, size int) (next int64, err error) {
	t.Helper()
	reader, buf := l.Reader(from), make([]byte, 700)
	for {
		b, err := reader.Read(buf)
		if err != nil || b.Len() == 0 {
			return reader.Offset(), err
		}
		for offset, r := range b.Records() {
			if want := numbered(offset, 1, size)[0]; !same(r, want) {
				t.Fatalf("record %d is not what was appended", offset)
			}
		}
	}
}

func TestAFailedAppendLeavesTheLogAsItWas(t *testing.T) {
	for _, fault := range []struct {
		name  string
		fault func(*storetest.Disk, int)
		want  error
	}{
		{"a write fails", func(d *storetest.Disk, n int) { d.FailWrite(n, errBroken) }, errBroken},
		{"the disk is full", func(d *storetest.Disk, n int) { d.Limit(d.Used() + int64(n)*900) }, store.ErrFull},
	} {
		for n := 1; n <= 4; n++ {
			t.Run(fmt.Sprintf("%s, %d", fault.name, n), func(t *testing.T) {
				disk := storetest.NewDisk()
				l := open(t, config(disk), &segment.Manifest{})
				appendTo(t, l, 10, 100)
				before := l.Manifest()

				fault.fault(disk, n)
				if _, err := l.Append(numbered(10, 60, 100)); !errors.Is(err, fault.want) {
					t.Fatalf("append: %v, want %v", err, fault.want)
				}
				if next, err := readFrom(t, l, 0, 100); next != 10 || err != nil {
					t.Fatalf("after an append that failed the log was read to %d: %v", next, err)
				}
				if after := l.Manifest(); !slices.Equal(after.Files, before.Files) || after.Next != before.Next {
					t.Fatalf("the log is %+v, it was %+v", after, before)
				}

				disk.Limit(0)
				disk.FailWrite(0, nil)
				for range 9 {
					appendTo(t, l, 7, 100)
				}
				m := syncLog(t, l)
				disk.Kill()
				disk.Start()
				reopened := open(t, config(disk), &m)
				if next, err := readFrom(t, reopened, 0, 100); next != 73 || err != nil {
					t.Fatalf("reopened, the log was read to %d: %v", next, err)
				}
				if r, err := segment.Verify(disk, "/log", &m); err != nil || r.Tail != nil || r.Damage != nil {
					t.Fatalf("verify: %+v, %v", r, err)
				}
			})
		}
	}
}

func TestWhatAFailedAppendWroteIsNotInTheFile(t *testing.T) {
	disk := storetest.NewDisk()
	l := open(t, config(disk), &segment.Manifest{})
	appendTo(t, l, 10, 100)
	disk.FailWrite(1, errBroken)
	if _, err := l.Append(numbered(10, 4, 100)); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	appendTo(t, l, 1, 600) // begins the next file
	m := syncLog(t, l)
	if size := int64(len(disk.Bytes(filePath("/log", 0)))); size != m.Files[0].Bytes {
		t.Fatalf("the file has %d bytes, it should have %d", size, m.Files[0].Bytes)
	}
}

func TestOpenLeavesWhatTheManifestHasAndNothingElse(t *testing.T) {
	disk := storetest.NewDisk()
	l := open(t, config(disk), &segment.Manifest{})
	appendTo(t, l, 20, 100)
	m := syncLog(t, l)
	appendTo(t, l, 60, 100)
	syncLog(t, l)
	disk.Kill()
	disk.Start()
	l = open(t, config(disk), &m)
	if next, err := readFrom(t, l, 0, 100); next != 20 || err != nil {
		t.Fatal(next, err)
	}
	names, err := disk.List("/log")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"0000000000000000000.idx", "0000000000000000000.seg", "0000000000000000014.seg"}
	if !slices.Equal(names, want) {
		t.Fatalf("there are %v, there should be %v", names, want)
	}
	if size := int64(len(disk.Bytes(filePath("/log", 14)))); size != m.Files[1].Bytes {
		t.Fatalf("the last file has %d bytes, it should have %d", size, m.Files[1].Bytes)
	}
}

var errBroken = errors.New("broken")

func TestARecordThatIsTooLargeIsRefused(t *testing.T) {
	l := open(t, config(storetest.NewDisk()), &segment.Manifest{})
	if _, err := l.Append([]segment.Record{{}, {Data: make([]byte, segment.MaxData+1)}}); !errors.Is(err, store.ErrTooLarge) {
		t.Fatal(err)
	}
	if l.Next() != 0 {
		t.Fatal("the record before it was kept")
	}
	appendTo(t, l, 1, segment.MaxData)
	if next, err := readFrom(t, l, 0, segment.MaxData); next != 1 || err != nil {
		t.Fatal(next, err)
	}
}

func TestAFailedSyncFailsTheLogForGood(t *testing.T) {
	disk := storetest.NewDisk()
	l := open(t, config(disk), &segment.Manifest{})
	appendTo(t, l, 5, 100)
	disk.FailSync(1, errBroken)
	if err := l.Sync(); !errors.Is(err, store.ErrFailed) || !errors.Is(err, errBroken) {
		t.Fatalf("sync: %v", err)
	}
	if err := l.Sync(); !errors.Is(err, store.ErrFailed) {
		t.Fatalf("a second sync: %v", err)
	}
	if _, err := l.Append(numbered(5, 1, 100)); !errors.Is(err, store.ErrFailed) {
		t.Fatalf("append: %v", err)
	}
	if next, err := readFrom(t, l, 0, 100); next != 5 || err != nil {
		t.Fatalf("read to %d: %v", next, err)
	}
}

func TestSyncAllSyncsWhatIsDirtyAndNothingElse(t *testing.T) {
	disk := storetest.NewDisk()
	files := segment.NewFiles(disk, 3, 0)
	var logs []*segment.Log
	for i := range 50 {
		logs = append(logs, open(t, segment.Config{Files: files, Dir: fmt.Sprintf("/logs/%d", i), ID: logID}, &segment.Manifest{}))
		appendTo(t, logs[i], 1, 10)
	}
	if err := segment.SyncAll(logs, 4); err != nil {
		t.Fatal(err)
	}
	before := disk.Counts().Syncs
	appendTo(t, logs[7], 1, 10)
	appendTo(t, logs[33], 1, 10)
	if err := segment.SyncAll(logs, 4); err != nil {
		t.Fatal(err)
	}
	if n := disk.Counts().Syncs - before; n != 2 {
		t.Fatalf("two logs of fifty were dirty, and there were %d syncs", n)
	}
	if n := files.Open(); n > 3 {
		t.Fatalf("%d files are open, 3 may be", n)
	}
	appendTo(t, logs[8], 1, 10)
	appendTo(t, logs[9], 1, 10)
	disk.FailSync(1, errBroken)
	if err := segment.SyncAll(logs, 1); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	if err := logs[8].Sync(); !errors.Is(err, store.ErrFailed) {
		t.Fatal(err)
	}
	if err := logs[9].Sync(); err != nil {
		t.Fatal("another log's failure failed it:", err)
	}
}

func TestATrimKeepsFilesUntilTheyAreReleased(t *testing.T) {
	disk := storetest.NewDisk()
	l := open(t, config(disk), &segment.Manifest{})
	appendTo(t, l, 100, 100)
	old := syncLog(t, l)
	l.Trim(55)
	if l.Start() != 55 {
		t.Fatalf("it starts at %d", l.Start())
	}
	l.Trim(20)
	if l.Start() != 55 {
		t.Fatal("a trim went back")
	}
	if _, err := readFrom(t, l, 54, 100); !errors.Is(err, segment.ErrTrimmed) {
		t.Fatal(err)
	}
	if missing, err := segment.Missing(config(disk), old); err != nil || len(missing) > 0 {
		t.Fatalf("files of a manifest still needed are gone: %v, %v", missing, err)
	}
	used := disk.Used()
	syncLog(t, l)
	if err := l.Release(1000); err != nil { // no more than was trimmed
		t.Fatal(err)
	}
	if freed := used - disk.Used(); freed < 40*136 || freed > 56*136 {
		t.Fatalf("released 55 of 100 records of 136 bytes: %d bytes less", freed)
	}
	if next, err := readFrom(t, l, 55, 100); next != 100 || err != nil {
		t.Fatal(next, err)
	}
	first := l.Files()[0].Next
	if l.Trim(first-1) || !l.Trim(first) {
		t.Fatalf("a trim to offset %d lets the first file go, and none before", first)
	}

	// A log trimmed to its end gives everything back once it is written to.
	l.Trim(1000)
	appendTo(t, l, 1, 100)
	if err := l.Release(syncLog(t, l).Start); err != nil {
		t.Fatal(err)
	}
	if files := l.Files(); len(files) != 1 || files[0].First != 100 || l.Start() != 100 {
		t.Fatalf("it starts at %d with files %+v", l.Start(), files)
	}
}

func TestTimesNeverGoBack(t *testing.T) {
	l := open(t, config(storetest.NewDisk()), &segment.Manifest{})
	for _, time := range []int64{50, 40, 60, 10} {
		if _, err := l.Append([]segment.Record{{Time: time}}); err != nil {
			t.Fatal(err)
		}
	}
	var times []int64
	if err := l.Keys(0, func(_, time int64, _ segment.Key) bool { times = append(times, time); return true }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(times, []int64{50, 50, 60, 60}) {
		t.Fatal(times)
	}
	if offset, err := l.OffsetAt(51); offset != 2 || err != nil {
		t.Fatal(offset, err)
	}
	if m := l.Manifest(); m.Time != 60 || m.Files[0].FirstTime != 50 || m.Files[0].LastTime != 60 {
		t.Fatalf("%+v", m)
	}
}

func TestTimesGoOnAfterATruncationToWhereTheyWere(t *testing.T) {
	l := open(t, config(storetest.NewDisk()), &segment.Manifest{})
	add := func(time int64) {
		t.Helper()
		if _, err := l.Append([]segment.Record{{Time: time}}); err != nil {
			t.Fatal(err)
		}
	}
	add(50)
	l.Trim(1) // so that a new file begins
	add(70)
	if err := l.TruncateTo(1); err != nil {
		t.Fatal(err)
	}
	if time := l.Manifest().Time; time != 50 {
		t.Fatalf("time is %d, it was 50 at that offset", time)
	}
	if err := l.Release(1); err != nil {
		t.Fatal(err)
	}
	add(70)
	if err := l.TruncateTo(1); err != nil {
		t.Fatal(err)
	}
	if time := l.Manifest().Time; time != 50 {
		t.Fatalf("with the record before released, time is %d, it was 50 at that offset", time)
	}
}

func TestManyRecordsOfOneTimeAreFoundAtTheFirst(t *testing.T) {
	c := config(storetest.NewDisk())
	c.FileBytes = 1 << 20
	l := open(t, c, &segment.Manifest{})
	for _, time := range []int64{5, 7, 9} {
		records := numbered(l.Next(), 500, 1000)
		for i := range records {
			records[i].Time = time
		}
		if _, err := l.Append(records); err != nil {
			t.Fatal(err)
		}
	}
	for time, want := range map[int64]int64{0: 0, 5: 0, 6: 500, 7: 500, 8: 1000, 9: 1000, 10: 1500} {
		if got, err := l.OffsetAt(time); got != want || err != nil {
			t.Errorf("time %d is found at %d, it should be at %d: %v", time, got, want, err)
		}
	}
}

func TestTheLastBytesOfALogAreFound(t *testing.T) {
	const size, header = 136, 56
	c := config(storetest.NewDisk())
	c.FileBytes = header + 4*size
	l := open(t, c, &segment.Manifest{})
	appendTo(t, l, 10, 100)
	l.Trim(1)
	for bytes, want := range map[int64]int64{
		0: 10, size - 1: 10, size: 9, 2*size - 1: 9, 2 * size: 8, // the last file has two
		2*size + header: 8, 3*size + header - 1: 8, 3*size + header: 7,
		6*size + 2*header: 4, 7*size + 2*header: 3, 9*size + 2*header: 1,
		10*size + 2*header: 1, 1 << 40: 1, // what is before is trimmed
	} {
		if got, err := l.OffsetWithin(bytes); got != want || err != nil {
			t.Errorf("the last %d bytes begin at offset %d, not at %d: %v", bytes, got, want, err)
		}
	}
}

func TestTheLastBytesAreFoundByTheIndex(t *testing.T) {
	c := config(storetest.NewDisk())
	c.FileBytes = 8 << 20
	l := open(t, c, &segment.Manifest{})
	appendTo(t, l, 5000, 1000)
	for n := int64(0); n < 5000; n += 7 {
		if got, err := l.OffsetWithin(n * 1036); got != 5000-n || err != nil {
			t.Fatalf("the last %d records begin at offset %d: %v", n, got, err)
		}
	}
}

func TestAClosedLogAnswersSo(t *testing.T) {
	l := open(t, config(storetest.NewDisk()), &segment.Manifest{})
	appendTo(t, l, 3, 10)
	r := l.Reader(0)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, readErr := r.Read(make([]byte, 100))
	_, appendErr := l.Append(numbered(3, 1, 10))
	_, timeErr := l.OffsetAt(0)
	_, bytesErr := l.OffsetWithin(50)
	for _, err := range []error{readErr, appendErr, timeErr, bytesErr, l.Sync(), l.TruncateTo(0), l.Release(0), l.Keys(0, nil)} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%v, want %v", err, store.ErrClosed)
		}
	}
}
