package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// asSkein makes a process of the test's binary the program: the demo starts its
// nodes from the binary it runs from.
const asSkein = "RUN_AS_SKEIN"

func TestMain(m *testing.M) {
	if os.Getenv(asSkein) != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestDemoShowsTheMainJobTheCutAndTheHealing(t *testing.T) {
	if testing.Short() {
		t.Skip("six processes, half a minute")
	}
	t.Setenv(asSkein, "1")
	began := time.Now()
	r := skein(t, "demo", "--once", "--json")
	r.want(t, exitDone)
	if took := time.Since(began); took > demoLimit {
		t.Errorf("it took %v", took)
	}
	var parts []string
	for line := range strings.Lines(r.out) {
		var said struct{ Part string }
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		parts = append(parts, said.Part)
	}
	const want = "start ready whole listen spread cut noticed alone gap heal healed kept end"
	if got := strings.Join(parts, " "); got != want {
		t.Errorf("the demo told %q, want %q", got, want)
	}
}

func TestDemoThatIsInterruptedLeavesNothingBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("six processes")
	}
	t.Setenv(asSkein, "1")
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errOut safeBuffer
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"demo"}, strings.NewReader(""), &out, &errOut) }()
	for !strings.Contains(out.String(), "nodes are ready") {
		select {
		case c := <-code:
			t.Fatalf("ended with %d: %s", c, errOut.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	cancel()
	if c := <-code; c != exitDone {
		t.Errorf("ended with %d: %s", c, errOut.String())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
