package store

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAReplacedFileIsWholeAndAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, want := range []string{"first", "second, longer", ""} {
		if err := ReplaceFile(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
	if names, _ := os.ReadDir(filepath.Dir(path)); len(names) != 1 {
		t.Errorf("%d files in the directory, want the one", len(names))
	}
}

func TestAFileThatCannotBeReplacedIsLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	if err := os.MkdirAll(filepath.Join(path, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := ReplaceFile(path, []byte("x")); err == nil {
		t.Fatal("a directory was replaced by a file")
	}
	if _, err := os.Stat(filepath.Join(path, "in")); err != nil {
		t.Errorf("what was there is gone: %v", err)
	}
}
