package wan

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const story = `
# the ocean is far, and the cable worn
at 0s  delay eu us 40ms jitter 2ms
at 0s  loss eu us 1%
at 0s  burst us -> eu enter 0.5% leave 20% loss 50%
at 1s  reorder eu us 2%
at 1s  bandwidth eu us 80Mbit queue 512KiB   # a good part of a second
at 5s  cut ap *
at 15s heal ap *
at 20s bandwidth * * unlimited
at 20s cut us -> eu
`

func TestAScriptChangesTheNetworkAtItsTimes(t *testing.T) {
	s, err := Parse(story)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		e := start(t)
		for _, place := range []string{"eu", "us", "ap"} {
			e.Place(place)
		}
		ended := make(chan error, 1)
		go func() { ended <- e.Run(t.Context(), s) }()
		at := func(when time.Duration, from, to string, want Conditions) {
			t.Helper()
			synctest.Wait()
			e.mu.Lock()
			defer e.mu.Unlock()
			if got := e.way(from, to).Conditions; got != want {
				t.Errorf("at %v from %s to %s: %+v, want %+v", when, from, to, got, want)
			}
		}
		worn := Conditions{Delay: 40 * time.Millisecond, Jitter: 2 * time.Millisecond, Loss: 0.01}
		back := worn
		back.Burst = Burst{Enter: 0.005, Leave: 0.2, Loss: 0.5}
		at(0, "eu", "us", worn)
		at(0, "us", "eu", back)
		at(0, "ap", "us", Conditions{})

		time.Sleep(10 * time.Second)
		worn.Reorder, worn.Bandwidth, worn.Queue = 0.02, 10_000_000, 512<<10
		at(10*time.Second, "eu", "us", worn)
		for _, other := range []string{"eu", "us"} {
			at(10*time.Second, "ap", other, Conditions{Cut: true})
			at(10*time.Second, other, "ap", Conditions{Cut: true})
		}
		at(10*time.Second, "ap", "ap", Conditions{})

		time.Sleep(10 * time.Second)
		worn.Bandwidth, worn.Queue = 0, 0
		back.Reorder, back.Cut = 0.02, true
		at(20*time.Second, "eu", "us", worn)
		at(20*time.Second, "us", "eu", back)
		at(20*time.Second, "ap", "us", Conditions{})
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAScriptEndsWithItsContext(t *testing.T) {
	s, err := Parse("at 0s cut eu us\nat 1h heal eu us")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		e := start(t)
		e.Place("eu")
		if err := e.Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), `line 1: there is no place "us"`) {
			t.Errorf("an unknown place: %v", err)
		}
		e.Place("us")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := e.Run(ctx, s); err == nil || !strings.Contains(err.Error(), "before line 2") {
			t.Errorf("it ended with %v", err)
		}
		if !e.way("eu", "us").Cut {
			t.Error("the first line was not done")
		}
	})
}

func TestAScriptThatDoesNotParseSaysWhereAndWhy(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"cut a b", `line 1: "cut" where "at" is expected`},
		{"\n# x\nat soon cut a b", `line 3: "soon" is no time from 0s to 24h`},
		{"at -1s cut a b", `"-1s" is no time`},
		{"at 25h cut a b", `"25h" is no time`},
		{"at 0s", "the line ends where a command is expected"},
		{"at 0s slice a b", `"slice" is no command: cut, heal, delay, loss, burst, reorder and bandwidth are`},
		{"at 0s cut", "cut: the line ends where a place is expected"},
		{"at 0s cut a ->", "cut: the line ends where another place is expected"},
		{"at 0s cut a -> ->", `cut: "->" where a place is expected`},
		{"at 0s cut a b c", `cut: nothing is expected at "c"`},
		{"at 0s loss a b", "loss: the line ends where a share is expected"},
		{"at 0s loss a b 1", `loss: "1" is no share from 0% to 100%`},
		{"at 0s loss a b 101%", `"101%" is no share`},
		{"at 0s loss a b NaN%", `"NaN%" is no share`},
		{"at 0s reorder a b -1%", `"-1%" is no share`},
		{"at 0s burst a b 1% 2% 3%", `burst: "1%" where "enter" is expected`},
		{"at 0s delay a b 1ms 2ms", `delay: nothing is expected at "2ms"`},
		{"at 0s bandwidth a b 10", `bandwidth: "10" is no rate such as 10kbit`},
		{"at 0s bandwidth a b 0kbit", `"0kbit" is no rate`},
		{"at 0s bandwidth a b 1Mbit queue 0B", `"0B" is no size`},
		{"at 5s cut a b\nat 4s heal a b", "line 2: 4s is before the line above, at 5s"},
	} {
		if _, err := Parse(c.script); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.script, err, c.want)
		}
	}
}

// A script that parses says the same when it is written again, and leaves
// conditions that mean something.
func FuzzScript(f *testing.F) {
	f.Add(story)
	f.Add("at 1m cut * b\nat 1h bandwidth a -> * 1e3kbit queue 1.5MiB # x\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q was written as %q: %v", text, s, err)
		}
		var c Conditions
		for _, st := range s.steps {
			st.change(&c)
			for _, share := range []float64{c.Loss, c.Reorder, c.Burst.Enter, c.Burst.Leave, c.Burst.Loss} {
				if !(share >= 0 && share <= 1) {
					t.Fatalf("%q leaves a share of %v", st.text, share)
				}
			}
			if st.at < 0 || c.Delay < 0 || c.Jitter < 0 || c.Bandwidth < 0 || c.Queue < 0 {
				t.Fatalf("%q leaves %+v", st.text, c)
			}
		}
	})
}
