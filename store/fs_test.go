package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestTheDiskKeepsFilesAndDirectories(t *testing.T) {
	fs, dir := OS{}, filepath.Join(t.TempDir(), "a", "b")
	if _, err := fs.List(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("listing what is not there: %v", err)
	}
	for range 2 { // the second finds it made
		if err := fs.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	if _, err := fs.Open(one, false); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("opening what is not there: %v", err)
	}
	f, err := fs.Open(one, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("skein"), 3); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Allocate(100), f.Sync(), f.Allocate(50), f.Sync()); err != nil {
		t.Fatal(err)
	}
	if size, err := f.Size(); size != 100 || err != nil {
		t.Errorf("%d bytes, %v; allocating 100 and then 50 leaves 100", size, err)
	}
	got := make([]byte, 10)
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != "\x00\x00\x00skein\x00\x00" {
		t.Errorf("read %q, %v", got, err)
	}
	if err := errors.Join(fs.Rename(one, two), fs.SyncDir(dir)); err != nil {
		t.Fatal(err)
	}
	if names, err := fs.List(dir); !slices.Equal(names, []string{"two"}) || err != nil {
		t.Errorf("listed %q, %v", names, err)
	}
	if err := errors.Join(fs.Remove(two), fs.Remove(dir)); err != nil {
		t.Error(err)
	}
}

func TestADirectoryIsNotMadeOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (OS{}).MkdirAll(filepath.Join(path, "d")); err == nil {
		t.Error("a directory was made in a file")
	}
}

func TestAFullDiskIsToldFromAFailedOne(t *testing.T) {
	f, err := OS{}.Open(filepath.Join(t.TempDir(), "f"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// No file system has room for an exabyte: some say full, some too large.
	if err := f.Allocate(1 << 60); err == nil {
		t.Skip("this file system promises an exabyte")
	} else if IsFull(err) != IsFull(errors.Unwrap(err)) {
		t.Errorf("%v: wrapped and bare errors are judged alike", err)
	}
	if IsFull(os.ErrPermission) || !IsFull(ErrFull) {
		t.Error("only a full disk is full")
	}
}
