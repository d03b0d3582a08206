package node

import (
	"os"
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
	for _, day := range []time.Duration{10, 35, 60} { // without a restart
		want := map[time.Duration][]string{10: {"eu", "us"}, 35: {"eu"}}[day]
		if got := r.all(now.Add(day * 24 * time.Hour)); !slices.Equal(got, want) {
			t.Errorf("on day %d %v are remembered, want %v", day, got, want)
		}
	}
	for after, want := range map[time.Duration][]string{
		0: {"eu", "us"}, regionForgotten: {"eu", "us"}, regionForgotten + time.Minute: {"eu"}, 2 * regionForgotten: nil,
	} {
		if got := open(now.Add(after)).all(now.Add(after)); !slices.Equal(got, want) {
			t.Errorf("after %v %v are remembered, want %v", after, got, want)
		}
	}
}

// What could not be written down is written down the next time.
func TestRegionsAreWrittenDownOnceThatGoesAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	now := time.Unix(1_800_000_000, 0)
	r, err := openRegions(filepath.Join(dir, regionsFile), now)
	if err != nil {
		t.Fatal(err)
	}
	r.see("eu", now)
	if r.save() == nil {
		t.Fatal("it was written where nothing can be")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.save(); err != nil {
		t.Fatal(err)
	}
	if r, err = openRegions(r.path, now); err != nil || !slices.Equal(r.all(now), []string{"eu"}) {
		t.Errorf("after a restart %v are remembered, %v", r.all(now), err)
	}
}

// A region whose nodes run all the time counts as seen all the time: gossip says only
// once that they came.
func TestARegionThatStaysIsSeenAllTheTime(t *testing.T) {
	eu := open(t, Config{Region: "eu"})
	open(t, Config{Region: "us", Seeds: []string{eu.self.Addr.String()}, KeyFile: eu.KeyFile()})
	until(t, "the regions know each other", func() bool { return slices.Contains(eu.regions.all(time.Now()), "us") })
	old := time.Now().Add(-regionForgotten / 2).Unix()
	seen := func() int64 {
		eu.regions.mu.Lock()
		defer eu.regions.mu.Unlock()
		return eu.regions.seen["us"]
	}
	eu.regions.mu.Lock()
	eu.regions.seen["us"] = old
	eu.regions.mu.Unlock()
	until(t, "it is seen again", func() bool { return seen() > old })
}
