package main

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/examples/exampletest"
)

// view is what a mirror shows, for a test that waits for it.
type view struct {
	mu    sync.Mutex // guards the field below
	paths map[string]int64
	news  chan struct{}
}

func (v *view) show(l listing) {
	v.mu.Lock()
	v.paths = map[string]int64{}
	for _, entries := range l {
		for path, e := range entries {
			v.paths[path] = e.Size
		}
	}
	v.mu.Unlock()
	select {
	case v.news <- struct{}{}:
	default:
	}
}

// await waits until the mirror shows exactly these paths with these sizes.
func (v *view) await(t *testing.T, want map[string]int64) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		v.mu.Lock()
		same := maps.Equal(v.paths, want)
		got := slices.Sorted(maps.Keys(v.paths))
		v.mu.Unlock()
		if same {
			return
		}
		select {
		case <-v.news:
		case <-late:
			t.Fatalf("the mirror shows %v, want %v", got, slices.Sorted(maps.Keys(want)))
		}
	}
}

// background runs do until the test ends, and fails the test if it failed.
func background(t *testing.T, do func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAMirrorInAnotherRegionShowsWhatIsThere(t *testing.T) {
	urls := exampletest.Mesh(t, exampletest.Binary(t), "eu", "us")
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("before.txt", "12345")
	first := &view{news: make(chan struct{}, 1)}
	background(t, func(ctx context.Context) error { return mirror(ctx, urls[1], first.show) })
	background(t, func(ctx context.Context) error { return publish(ctx, urls[0], dir) })
	first.await(t, map[string]int64{"before.txt": 5})

	write("new.txt", "1234567")
	write("deep/er/file.txt", "x")
	first.await(t, map[string]int64{"before.txt": 5, "new.txt": 7, "deep": 0, "deep/er": 0, "deep/er/file.txt": 1})

	write("new.txt", "12")
	if err := os.Rename(filepath.Join(dir, "before.txt"), filepath.Join(dir, "after \x1b.txt")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "deep")); err != nil {
		t.Fatal(err)
	}
	first.await(t, map[string]int64{"after \x1b.txt": 5, "new.txt": 2})

	late := &view{news: make(chan struct{}, 1)}
	background(t, func(ctx context.Context) error { return mirror(ctx, urls[1], late.show) })
	late.await(t, map[string]int64{"after \x1b.txt": 5, "new.txt": 2})
}

func TestListingsArePrintedWithoutSteeringTheTerminal(t *testing.T) {
	l := listing{}
	l.set("file://host/dir", entry{Path: "a\x1b[31m.txt", Size: 3})
	l.set("file://host/dir", entry{Path: "sub", Dir: true})
	var b strings.Builder
	l.print(&b)
	if strings.Contains(b.String(), "\x1b") || !strings.Contains(b.String(), "2 entries") {
		t.Errorf("printed %q", b.String())
	}
}

func TestRemovingADirectoryRemovesWhatIsBelowIt(t *testing.T) {
	l := listing{}
	for _, path := range []string{"a", "a/b", "a/b/c", "ab"} {
		l.set("s", entry{Path: path})
	}
	l.remove("s", "a")
	if got := slices.Sorted(maps.Keys(l["s"])); !slices.Equal(got, []string{"ab"}) {
		t.Errorf("left are %v, want ab", got)
	}
}

func TestWrongArgumentsAreSaid(t *testing.T) {
	for _, args := range [][]string{nil, {"publish"}, {"mirror", "x"}, {"watch"}} {
		if err := run(t.Context(), args, &strings.Builder{}); err == nil {
			t.Errorf("%v: taken", args)
		}
	}
}
