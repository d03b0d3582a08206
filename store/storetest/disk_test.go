package storetest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/skeinmesh/skein/store"
)

func create(t *testing.T, d *Disk, name string) store.File {
	t.Helper()
	f, err := d.Open(name, true)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func put(t *testing.T, f store.File, at int64, data string) {
	t.Helper()
	if n, err := f.WriteAt([]byte(data), at); err != nil || n != len(data) {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestADiskIsAFileSystem(t *testing.T) {
	d := NewDisk()
	if _, err := d.Open("/a/f", true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file in no directory: %v", err)
	}
	must(t, d.MkdirAll("/a/b"))
	f := create(t, d, "/a/f")
	put(t, f, 3, "skein")
	must(t, f.Allocate(10), f.Allocate(4))
	got := make([]byte, 20)
	if n, err := f.ReadAt(got, 0); n != 10 || err != io.EOF || string(got[:n]) != "\x00\x00\x00skein\x00\x00" {
		t.Errorf("read %q, %v", got[:n], err)
	}
	must(t, f.Truncate(5), f.Truncate(8))
	if got := d.Bytes("/a/f"); string(got) != "\x00\x00\x00sk\x00\x00\x00" {
		t.Errorf("%q: what was cut off came back", got)
	}
	must(t, d.Rename("/a/f", "/a/g"))
	if names, err := d.List("/a"); !slices.Equal(names, []string{"b", "g"}) || err != nil {
		t.Errorf("listed %q, %v", names, err)
	}
	if err := d.Remove("/a"); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("removing what is not empty: %v", err)
	}
	must(t, d.Remove("/a/g"), d.Remove("/a/b"), d.Remove("/a"))
	if size, err := f.Size(); size != 8 || err != nil {
		t.Errorf("a file that is open lost its name and has %d bytes, %v", size, err)
	}
}

// What was synced survives every crash, and what was not can be lost in every
// way: whole, by sectors, by name.
func TestACrashLosesOnlyWhatWasNotSynced(t *testing.T) {
	old, young := bytes.Repeat([]byte("o"), 3*SectorSize), bytes.Repeat([]byte("n"), 3*SectorSize)
	seen := make(map[string]int)
	for seed := range uint64(300) {
		d := NewDisk()
		must(t, d.MkdirAll("/d"))
		kept, renamed := create(t, d, "/d/kept"), create(t, d, "/d/renamed")
		put(t, kept, 0, string(old))
		put(t, renamed, 0, "r")
		must(t, kept.Sync(), renamed.Sync(), d.SyncDir("/d"))
		put(t, kept, 0, string(young))
		put(t, create(t, d, "/d/new"), 0, "x")
		must(t, d.Rename("/d/renamed", "/d/other"))

		d.Crash(rand.New(rand.NewPCG(seed, 0)))
		if _, err := d.List("/d"); !errors.Is(err, ErrGone) {
			t.Fatalf("a disk that is off answers %v", err)
		}
		d.Start()
		if err := kept.Sync(); !errors.Is(err, ErrGone) {
			t.Fatalf("a file of before the crash answers %v", err)
		}
		got := d.Bytes("/d/kept")
		if len(got) != len(old) {
			t.Fatalf("%d synced bytes are %d", len(old), len(got))
		}
		sectors := ""
		for i := 0; i < len(got); i += SectorSize {
			sector := got[i:][:SectorSize]
			if bytes.Count(sector, sector[:1]) != SectorSize {
				t.Fatal("a sector is partly written")
			}
			sectors += string(sector[0])
		}
		seen[sectors]++
		if (d.Bytes("/d/renamed") == nil) == (d.Bytes("/d/other") == nil) {
			t.Fatal("a renamed file has no name, or two")
		}
		if d.Bytes("/d/other") != nil {
			seen["renamed"]++
		}
		if d.Bytes("/d/new") != nil {
			seen["new"]++
		}
	}
	for _, want := range []string{"ooo", "nnn", "noo", "ono", "oon", "nno", "non", "onn", "renamed", "new"} {
		if seen[want] == 0 || seen[want] == 300 {
			t.Errorf("%s was seen %d times of 300", want, seen[want])
		}
	}
}

func TestAKillLosesNothing(t *testing.T) {
	d := NewDisk()
	f := create(t, d, "f")
	put(t, f, 0, "written")
	d.Kill()
	d.Start()
	if string(d.Bytes("f")) != "written" {
		t.Error("what was written is gone")
	}
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, ErrGone) {
		t.Errorf("the killed process writes: %v", err)
	}
}

func TestPowerFailsInTheMidstOfAnOperation(t *testing.T) {
	lost := 0
	for seed := range uint64(50) {
		d := NewDisk()
		f := create(t, d, "f")
		must(t, d.SyncDir("."))
		d.CrashAfter(2, rand.New(rand.NewPCG(seed, 0)))
		put(t, f, 0, "x")
		if err := f.Sync(); !errors.Is(err, ErrGone) {
			t.Fatalf("a sync as the power fails: %v", err)
		}
		d.Start()
		if len(d.Bytes("f")) == 0 {
			lost++
		}
	}
	if lost == 0 || lost == 50 {
		t.Errorf("of 50 writes %d were lost, as their sync failed", lost)
	}
}

// After a failed sync Linux says no more of it: the next one succeeds, and the
// data is not on the disk, though it is read.
func TestAFailedSyncLosesWhatItWasFor(t *testing.T) {
	d := NewDisk()
	f := create(t, d, "f")
	must(t, d.SyncDir("."))
	put(t, f, 0, "lost")
	d.FailSync(1, syscall.EIO)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the first sync: %v", err)
	}
	must(t, f.Sync())
	if string(d.Bytes("f")) != "lost" {
		t.Error("what was written is not read back")
	}
	d.Crash(rand.New(rand.NewPCG(1, 1)))
	if got := d.Bytes("f"); len(got) != 0 {
		t.Errorf("%q survived", got)
	}
}

func TestAFailedWriteIsHalfWritten(t *testing.T) {
	d := NewDisk()
	f := create(t, d, "f")
	d.FailWrite(2, syscall.EIO)
	put(t, f, 0, "whole")
	if n, err := f.WriteAt([]byte("halves"), 5); n != 3 || !errors.Is(err, syscall.EIO) {
		t.Errorf("%d bytes, %v", n, err)
	}
	put(t, f, 8, "!")
	if got := string(d.Bytes("f")); got != "wholehal!" {
		t.Errorf("%q", got)
	}
}

func TestAFullDiskTakesWhatFits(t *testing.T) {
	d := NewDisk()
	f := create(t, d, "f")
	d.Limit(10)
	put(t, f, 0, "123456")
	if n, err := f.WriteAt([]byte("789abc"), 6); n != 4 || !store.IsFull(err) {
		t.Errorf("wrote %d bytes, %v; want 4 and a full disk", n, err)
	}
	put(t, f, 0, "over") // takes no room
	if err := create(t, d, "g").Allocate(1); !store.IsFull(err) {
		t.Errorf("allocating: %v", err)
	}
	must(t, d.Remove("f"))
	must(t, create(t, d, "g").Allocate(10))
	if d.Used() != 10 {
		t.Errorf("%d bytes are used", d.Used())
	}
}

func TestAHungDiskAnswersWhenReleased(t *testing.T) {
	d := NewDisk()
	f := create(t, d, "f")
	release := d.Hang()
	done := make(chan error)
	go func() { done <- f.Sync() }()
	select {
	case err := <-done:
		t.Fatalf("a hung disk answered %v", err)
	default:
	}
	release()
	release()
	must(t, <-done)
}

func TestDamageIsWhereItWasAsked(t *testing.T) {
	d := NewDisk()
	d.Put("f", []byte{0, 0, 0})
	image := d.Clone()
	must(t, d.Flip("f", 9), d.Cut("f", 2))
	if got := d.Bytes("f"); !bytes.Equal(got, []byte{0, 2}) {
		t.Errorf("%v", got)
	}
	if d.Flip("f", 16) == nil || d.Cut("f", 3) == nil || d.Flip("g", 0) == nil {
		t.Error("damage beyond a file's end, or to no file")
	}
	if got := image.Bytes("f"); !bytes.Equal(got, []byte{0, 0, 0}) {
		t.Errorf("the image changed with the disk: %v", got)
	}
}
