package segment_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
)

func TestIdleLogsCostLittleMemoryAndNoOpenFiles(t *testing.T) {
	const n = 500
	dir := t.TempDir()
	files := segment.NewFiles(store.OS{}, 10, 0)
	at := func(i int) segment.Config {
		return segment.Config{Files: files, Dir: filepath.Join(dir, fmt.Sprint(i)), ID: logID}
	}
	manifests := make([]segment.Manifest, n)
	for i := range manifests {
		l := open(t, at(i), &segment.Manifest{})
		appendTo(t, l, 20, 100)
		manifests[i] = l.Manifest()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	before := heap()
	logs := make([]*segment.Log, n)
	for i := range logs {
		l, err := segment.Open(at(i), &manifests[i])
		if err != nil {
			t.Fatal(err)
		}
		logs[i] = l
	}
	if each := (heap() - before) / n; each > 2<<10 {
		t.Errorf("an idle log has %d bytes of memory", each)
	}
	if n := files.Open(); n != 0 {
		t.Errorf("idle logs have %d files open", n)
	}
	for _, l := range logs {
		if next, err := readFrom(t, l, 0, 100); next != 20 || err != nil {
			t.Fatal(next, err)
		}
	}
	if n := files.Open(); n > 10 {
		t.Errorf("%d files are open, 10 may be", n)
	}
	runtime.KeepAlive(logs)
	for _, l := range logs {
		l.Close()
	}
	if n := files.Open(); n != 0 {
		t.Errorf("closed logs have %d files open", n)
	}
}

// meter counts the bytes that are read of a disk.
type meter struct {
	store.FS
	read atomic.Int64
}

type meteredFile struct {
	store.File
	meter *meter
}

func (m *meter) Open(name string, create bool) (store.File, error) {
	f, err := m.FS.Open(name, create)
	return meteredFile{f, m}, err
}

func (f meteredFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	f.meter.read.Add(int64(n))
	return n, err
}

func TestOpenByAManifestReadsNoData(t *testing.T) {
	disk := storetest.NewDisk()
	m := &meter{FS: disk}
	c := config(m)
	c.FileBytes = 1 << 20
	l := open(t, c, &segment.Manifest{})
	appendTo(t, l, 9000, 1000) // nine files
	manifest := syncLog(t, l)
	appendTo(t, l, 500, 1000)
	disk.Kill()
	disk.Start()

	before := m.read.Load()
	l = open(t, c, &manifest)
	if read := m.read.Load() - before; read > 9*(56+400) {
		t.Fatalf("to open a log of %d bytes, %d were read", manifest.Bytes(), read)
	}
	before = m.read.Load()
	appendTo(t, l, 100, 1000)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if read := m.read.Load() - before; read != 0 {
		t.Fatalf("to append to a log that was opened, %d bytes were read", read)
	}
	if _, err := l.OffsetAt(45_000); err != nil {
		t.Fatal(err)
	}
	if read := m.read.Load() - before; read > 300<<10 {
		t.Fatalf("to find a time in a log of %d bytes, %d were read", manifest.Bytes(), read)
	}
}

func TestALogOnADiskThatHangsStillSaysWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := storetest.NewDisk()
		l := open(t, config(disk), &segment.Manifest{})
		appendTo(t, l, 20, 100)
		release := disk.Hang()
		var wg sync.WaitGroup
		for _, hangs := range []func() error{
			func() error { _, err := l.Append(numbered(20, 20, 100)); return err },
			l.Sync,
			func() error { _, err := l.Reader(15).Read(make([]byte, 500)); return err },
		} {
			wg.Go(func() {
				if err := hangs(); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		l.Trim(10)
		if l.Next() != 20 || l.Start() != 10 || len(l.Manifest().Files) != 2 {
			t.Errorf("it goes from %d to %d", l.Start(), l.Next())
		}
		release()
		wg.Wait()
		if l.Next() != 40 {
			t.Errorf("it ends at %d", l.Next())
		}
	})
}

func TestARemovedLogLeavesNothing(t *testing.T) {
	disk, m := written(t, 40)
	c := config(disk)
	if _, err := segment.Stage(c, m.Files[0]); err != nil {
		t.Fatal(err)
	}
	other := c
	other.ID = segment.ID{9}
	if err := segment.Remove(other); err == nil {
		t.Fatal("another log's files were removed")
	}
	if err := segment.Remove(c); err != nil {
		t.Fatal(err)
	}
	if names, err := disk.List("/"); err != nil || len(names) != 0 {
		t.Fatalf("left are %v, %v", names, err)
	}
	if err := segment.Remove(c); err != nil {
		t.Fatalf("removed twice: %v", err)
	}
}
