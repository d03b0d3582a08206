package replication

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestARegionIsFoundedOnce(t *testing.T) {
	r, err := OpenRegister(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	founders := make([]peer.ID, 8)
	for i := range founders {
		wg.Go(func() {
			g, err := r.Found("eu", peer.ID(rune('a'+i)), time.Now())
			if err != nil {
				t.Error(err)
			}
			founders[i] = g.FoundedBy
		})
	}
	wg.Wait()
	for _, f := range founders {
		if f != founders[0] {
			t.Fatalf("two founders: %q and %q", founders[0], f)
		}
	}
}

func TestTheRegisterSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	r, _ := OpenRegister(dir)
	want, err := r.Found("us/east", "n1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r, err = OpenRegister(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Found("us/east", "n2", time.Now()); err != nil || got != want {
		t.Fatalf("after a restart the register answers %+v, %v; want %+v", got, err, want)
	}
	if n := len(r.Regions()); n != 1 {
		t.Fatalf("%d regions, want 1", n)
	}
}

func TestTheRegisterRefusesWhatItCannotKeep(t *testing.T) {
	r, _ := OpenRegister(t.TempDir())
	for _, name := range []string{"", "a b", "/eu", "eu/", ".", "eu//x"} {
		if _, err := r.Found(name, "n", time.Now()); !errors.Is(err, ErrRegister) {
			t.Errorf("%q: %v, want a refusal", name, err)
		}
	}
	r.path = filepath.Join(t.TempDir(), "gone", "regions.json")
	if _, err := r.Found("eu", "n", time.Now()); !errors.Is(err, ErrRegister) {
		t.Errorf("founded without a disk: %v", err)
	}
	if len(r.Regions()) != 0 {
		t.Error("a region that could not be saved is registered")
	}
}

func TestADamagedRegisterIsSaid(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "regions.json"), []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRegister(dir); !errors.Is(err, ErrRegister) {
		t.Fatalf("%v, want a refusal", err)
	}
}
