package segment_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
)

// behind are logs on a disk that share memory for so many bytes.
func behind(t *testing.T, disk store.FS, logs, bytes int) []*segment.Log {
	files := segment.NewFiles(disk, 4, bytes)
	list := make([]*segment.Log, logs)
	for i := range list {
		list[i] = open(t, segment.Config{Files: files, Dir: fmt.Sprint("/", i), ID: logID}, &segment.Manifest{})
		appendTo(t, list[i], 1, 100) // which makes the file
	}
	return list
}

func TestALittleForManyLogsIsWrittenInFewPieces(t *testing.T) {
	const logs, rounds = 50, 100
	disk := storetest.NewDisk()
	list := behind(t, disk, logs, logs*4000)
	before := disk.Counts().Writes
	for range rounds {
		for _, l := range list {
			appendTo(t, l, 1, 100)
		}
	}
	if writes := disk.Counts().Writes - before; writes > logs*rounds/20 {
		t.Errorf("%d appends are %d writes", logs*rounds, writes)
	}
	for _, l := range list {
		if next, err := readFrom(t, l, 0, 100); next != 1+rounds || err != nil {
			t.Fatalf("read to %d: %v", next, err)
		}
	}
}

func TestLogsKeepNoMoreInMemoryThanTheyMay(t *testing.T) {
	const logs, bytes = 50, 20_000
	disk := storetest.NewDisk()
	list := behind(t, disk, logs, bytes)
	appended := disk.Used()
	for i := range 2000 {
		l := list[i%logs]
		if i > 1000 {
			l = list[i%7] // and others have something from before
		}
		appendTo(t, l, 1, 100)
		if appended += 136; appended-disk.Used() > bytes {
			t.Fatalf("%d of %d bytes are not written", appended-disk.Used(), appended)
		}
	}
}

func TestAFullDiskIsNoReasonToForgetWhatWaits(t *testing.T) {
	disk := storetest.NewDisk()
	l := behind(t, disk, 1, 1<<20)[0]
	disk.Limit(disk.Used() + 1000)
	appendTo(t, l, 100, 100)
	if err := l.Sync(); !errors.Is(err, store.ErrFull) {
		t.Fatalf("sync on a full disk: %v", err)
	}
	// More than may wait is refused, and nothing of it stays.
	if _, err := l.Append(numbered(101, 300, 100)); !errors.Is(err, store.ErrFull) {
		t.Fatalf("append on a full disk: %v", err)
	}
	if next, err := readFrom(t, l, 0, 100); next != 101 || err != nil {
		t.Fatalf("read to %d: %v", next, err)
	}
	disk.Limit(0)
	appendTo(t, l, 300, 100)
	m := syncLog(t, l)
	disk.Kill()
	disk.Start()
	l = open(t, segment.Config{Files: segment.NewFiles(disk, 4, 0), Dir: "/0", ID: logID}, &m)
	if next, err := readFrom(t, l, 0, 100); next != 401 || err != nil {
		t.Fatalf("read to %d after a restart: %v", next, err)
	}
}

func TestAFlushedLogIsInItsFiles(t *testing.T) {
	disk := storetest.NewDisk()
	c := segment.Config{Files: segment.NewFiles(disk, 4, 1<<20), Dir: "/log", ID: logID}
	l := open(t, c, &segment.Manifest{})
	appendTo(t, l, 1, 100)
	appendTo(t, l, 20, 100)
	if missing, err := segment.Missing(c, l.Manifest()); len(missing) != 1 || err != nil {
		t.Fatalf("before, %v is missing: %v", missing, err)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if missing, err := segment.Missing(c, l.Manifest()); len(missing) != 0 || err != nil {
		t.Fatalf("%v is missing: %v", missing, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, c, nil)
	if next, err := readFrom(t, l, 0, 100); next != 21 || err != nil || l.Tail() != nil {
		t.Fatalf("read to %d: %v, %v", next, err, l.Tail())
	}
}
