package node

import (
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A region is remembered over restarts while none of its nodes runs, and forgotten
// when it has not been seen for long.
func TestRegionsThatAreAwayAreRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), regionsFile)
	now := time.Unix(1_800_000_000, 0)
	open := func(at time.Time) *regions {
		t.Helper()
		r, err := openRegions(path, at)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := open(now)
	r.see("us", now)
	r.see("eu", now)
	r.see("eu", now.Add(20*24*time.Hour))
	if err := r.save(); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration][]string{
		0: {"eu", "us"}, regionForgotten: {"eu", "us"}, regionForgotten + time.Minute: {"eu"}, 2 * regionForgotten: nil,
	} {
		if got := open(now.Add(after)).all(); !slices.Equal(got, want) {
			t.Errorf("after %v %v are remembered, want %v", after, got, want)
		}
	}
}
