package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/replication"
)

func TestAStreamIsKeptInOneRegionAndReadInAnother(t *testing.T) {
	eu, us := serveTwo(t)
	r := skein(t, "stream", "create", "orders", "--server", eu.HTTP, "--type", "order.>", "--max-age", "24h")
	r.want(t, exitDone)
	if !strings.Contains(r.out, "stream orders keeps type order.>") || r.errOut != "" {
		t.Errorf("create: %q %q", r.out, r.errOut)
	}
	skein(t, "stream", "create", "orders", "--server", eu.HTTP).want(t, exitFailed, "Conflict", "orders")
	skein(t, "stream", "create", "Orders!", "--server", eu.HTTP).want(t, exitFailed, "64 characters")
	skein(t, "stream", "create", "x", "--filter", "a >", "--server", eu.HTTP).want(t, exitFailed, "filter")
	skein(t, "stream", "create").want(t, exitUsage, "the stream's name")
	skein(t, "stream", "craete").want(t, exitUsage, "the nearest is create")

	for i := range 4 {
		r := skein(t, "pub", "--server", eu.HTTP, "--type", "order.placed", "--source", "/shop", "--id", fmt.Sprint(i), "--data", "x")
		r.want(t, exitDone)
		if !strings.Contains(r.out, "kept at orders@eu/") {
			t.Fatalf("pub: %q", r.out)
		}
	}
	r = skein(t, "pub", "--server", eu.HTTP, "--type", "order.placed", "--source", "/shop", "--id", "3", "--data", "x")
	r.want(t, exitDone)
	if !strings.Contains(r.out, "a duplicate: kept before at orders@eu/") {
		t.Errorf("pub again: %q", r.out)
	}

	r = skein(t, "stream", "read", "orders", "--server", us.HTTP)
	r.want(t, exitDone)
	if got := strings.Count(r.out, `"specversion"`); got != 4 {
		t.Errorf("%d events are read: %s", got, r.out)
	}
	r = skein(t, "stream", "read", "orders", "--server", us.HTTP, "--json", "--count", "2")
	r.want(t, exitDone)
	var line struct{ Cursor string }
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil || len(lines) != 2 {
		t.Fatalf("%v: %s", err, r.out)
	}
	r = skein(t, "sub", "--stream", "orders", "--from", line.Cursor, "--count", "2", "--timeout", "20s", "--server", us.HTTP)
	r.want(t, exitDone)
	if !strings.Contains(r.out, `"id":"2"`) || !strings.Contains(r.out, `"id":"3"`) {
		t.Errorf("sub from %s: %s", line.Cursor, r.out)
	}
	skein(t, "sub", "--stream", "orders", "--from", "latest", "--count", "1", "--timeout", "1s", "--server", us.HTTP).
		want(t, exitFailed, "0 of 1 event")
	skein(t, "sub", "--from", "latest", "--server", us.HTTP).want(t, exitUsage, "--stream")
	skein(t, "stream", "read", "orders", "--from", "yesterday", "--server", us.HTTP).want(t, exitFailed, "earliest, latest")
	skein(t, "stream", "read", "nothing", "--server", us.HTTP).want(t, exitFailed, "no such stream")
}

// While a region is out of reach, reading to the end fails, and says which, unless
// what can be read is enough.
func TestReadingAStreamSaysWhichRegionsAreMissing(t *testing.T) {
	eu, us := serveTwo(t)
	skein(t, "stream", "create", "orders", "--server", eu.HTTP).want(t, exitDone)
	for i, at := range []string{eu.HTTP, us.HTTP} {
		skein(t, "pub", "--server", at, "--type", "t", "--id", fmt.Sprint(i)).want(t, exitDone)
	}
	skein(t, "stream", "read", "orders", "--order", "random", "--server", eu.HTTP).want(t, exitUsage, "arrival or time")
	skein(t, "sub", "--order", "time", "--server", eu.HTTP).want(t, exitUsage, "--stream")
	r := skein(t, "stream", "read", "orders", "--order", "time", "--hold", "10ms", "--follow", "--count", "2", "--server", eu.HTTP)
	r.want(t, exitDone)
	if strings.Count(r.out, "\n") != 2 {
		t.Errorf("by time: %s", r.out)
	}
	if r := us.stop(); r.code != exitDone {
		t.Fatal(r.errOut)
	}
	skein(t, "stream", "read", "orders", "--server", eu.HTTP).want(t, exitFailed, "missing us: out of reach now", "partial")
	r = skein(t, "stream", "read", "orders", "--partial", "--server", eu.HTTP)
	r.want(t, exitDone)
	if strings.Count(r.out, "\n") != 1 || !strings.Contains(r.errOut, "missing us: out of reach now") {
		t.Errorf("what can be read: %q %q", r.out, r.errOut)
	}
	r = skein(t, "sub", "--stream", "orders", "--count", "1", "--server", eu.HTTP)
	r.want(t, exitDone)
	if strings.Count(r.out, "\n") != 1 || !strings.Contains(r.errOut, "missing us: out of reach now") {
		t.Errorf("followed: %q %q", r.out, r.errOut)
	}
}

// Who publishes many events hears what each stream keeps of them, and where each event
// is if that is asked.
func TestOfManyEventsItIsSaidWhereTheyAre(t *testing.T) {
	n := serveNode(t)
	for _, name := range []string{"orders", "all"} {
		args := []string{"stream", "create", name, "--server", n.HTTP}
		if name == "orders" {
			args = append(args, "--type", "order.>")
		}
		skein(t, args...).want(t, exitDone)
	}
	skein(t, "stream", "create", "far", "--type", "far.>", "--placement", "home:nowhere", "--server", n.HTTP).
		want(t, exitDone, "region nowhere does not keep it yet")
	var lines strings.Builder
	for i, typ := range []string{"order.placed", "order.placed", "else", "order.placed", "far.away"} {
		fmt.Fprintf(&lines, `{"specversion":"1.0","id":"%d","source":"/shop","type":%q}`+"\n", i%3, typ)
	}
	r := skeinIn(t, lines.String(), "pub", "--ndjson", "-", "--server", n.HTTP)
	r.want(t, exitDone)
	for _, want := range []string{"published 5 events", "orders@default: 2 kept, 1 kept before (duplicates)", "all@default: 3 kept, 2 kept before", "far@nowhere: 1 waiting"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is not said: %s", want, r.out)
		}
	}
	r = skeinIn(t, lines.String(), "pub", "--ndjson", "-", "--positions", "--server", n.HTTP)
	r.want(t, exitDone)
	got := strings.Split(strings.TrimSpace(r.out), "\n")
	if len(got) != 5 || !strings.Contains(r.errOut, "published 5 events") {
		t.Fatalf("%q %q", r.out, r.errOut)
	}
	for i, want := range []int{2, 2, 1, 2, 2} {
		var k keptLine
		if err := json.Unmarshal([]byte(got[i]), &k); err != nil || k.Line != i+1 || len(k.Kept) != want || k.Source != "/shop" {
			t.Errorf("line %d is told as %s: %v", i+1, got[i], err)
		}
	}
	near, _, _ := strings.Cut(lines.String(), `{"specversion":"1.0","id":"1","source":"/shop","type":"far`)
	if r := skeinIn(t, near, "pub", "--ndjson", "-", "--durability", "routed", "--json", "--server", n.HTTP); !strings.Contains(r.out, `"orders@default":{"kept":0,"routed":3}`) {
		t.Errorf("as routed: %s", r.out)
	}
	for _, c := range []struct{ level, typ, says string }{
		{"routed", "order.placed", "it may be lost"}, {"leader", "order.placed", "kept at orders@default/"}, {"quorum", "far.away", "region nowhere cannot be reached"},
	} {
		r := skein(t, "pub", "--type", c.typ, "--durability", c.level, "--server", n.HTTP)
		if r.want(t, exitDone); !strings.Contains(r.out, c.says) {
			t.Errorf("%s: %s", c.level, r.out)
		}
	}
	skein(t, "pub", "--type", "t", "--durability", "sure", "--server", n.HTTP).want(t, exitUsage, "routed, leader or quorum")
	skein(t, "pub", "--type", "t", "--positions", "--server", n.HTTP).want(t, exitUsage, "--ndjson")
}

func TestStreamsAreLookedAtAndChanged(t *testing.T) {
	n := serveNode(t)
	skein(t, "stream", "create", "orders", "--server", n.HTTP, "--max-events", "1000", "--json").want(t, exitDone)
	for i := range 3 {
		skein(t, "pub", "--server", n.HTTP, "--type", "t", "--id", fmt.Sprint(i)).want(t, exitDone)
	}
	for _, args := range [][]string{{"ls"}, {"info", "orders"}} {
		r := skein(t, append(append([]string{"stream"}, args...), "--server", n.HTTP)...)
		r.want(t, exitDone)
		if !strings.Contains(r.out, "orders") || !strings.Contains(r.out, "1 000 events") {
			t.Errorf("%v: %s", args, r.out)
		}
	}
	r := skein(t, "stream", "info", "orders", "--server", n.HTTP, "--json")
	r.want(t, exitDone)
	var view node.StreamView
	if err := json.Unmarshal([]byte(r.out), &view); err != nil || len(view.Logs) != 1 || view.Logs[0].Next != 3 {
		t.Fatalf("info: %v %s", err, r.out)
	}
	partition := fmt.Sprint(view.Logs[0].Partition)
	skein(t, "stream", "trim", "orders", "--server", n.HTTP, "--partition", partition).want(t, exitUsage, "--before")
	skein(t, "stream", "trim", "orders", "--server", n.HTTP, "--partition", partition, "--before", "9").want(t, exitFailed, "ends at 3")
	skein(t, "stream", "trim", "orders", "--server", n.HTTP, "--partition", partition, "--before", "2").want(t, exitDone)
	skein(t, "stream", "read", "orders", "--server", n.HTTP, "--from", "1").want(t, exitFailed, "Gone", "still there is 2")
	skein(t, "stream", "rm", "orders", "--server", n.HTTP).want(t, exitDone)
	skein(t, "stream", "rm", "orders", "--server", n.HTTP).want(t, exitFailed, "no such stream")
	skein(t, "stream", "undelete", "orders", "--server", n.HTTP).want(t, exitDone)
	r = skein(t, "stream", "read", "orders", "--server", n.HTTP)
	r.want(t, exitDone)
	if strings.Count(r.out, "\n") != 1 || !strings.Contains(r.out, `"id":"2"`) {
		t.Errorf("what is left: %s", r.out)
	}
}

// What is damaged in a data directory is found, and said where; nothing else is.
func TestVerifyFindsWhatIsDamaged(t *testing.T) {
	dir := t.TempDir()
	ready, s := begin(t, "--data-dir", dir)
	line := <-ready
	skein(t, "stream", "create", "orders", "--server", line.HTTP).want(t, exitDone)
	for i := range 20 {
		skein(t, "pub", "--server", line.HTTP, "--type", "t", "--id", fmt.Sprint(i), "--data", strings.Repeat("x", 500)).want(t, exitDone)
	}
	skein(t, "store", "verify", dir).want(t, exitFailed, "in use")
	if r := s.stop(); r.code != exitDone {
		t.Fatalf("the node ended with %d: %s", r.code, r.errOut)
	}
	r := skein(t, "store", "verify", dir)
	r.want(t, exitDone)
	if !strings.Contains(r.out, "nothing is damaged") || !strings.Contains(r.out, "20 events") {
		t.Errorf("verify: %s", r.out)
	}
	r = skein(t, "store", "dump", dir)
	r.want(t, exitDone)
	if strings.Count(r.out, "  t  ") != 20 || !strings.Contains(r.out, "entry") {
		t.Errorf("dump: %s", r.out)
	}
	r = skein(t, "store", "dump", dir, "--json")
	r.want(t, exitDone)
	if strings.Count(r.out, `"specversion"`) != 20 {
		t.Errorf("dump --json: %s", r.out)
	}

	journals, err := filepath.Glob(filepath.Join(dir, "streams", "journal", "*"))
	if err != nil || len(journals) == 0 {
		t.Fatal(journals, err)
	}
	for _, name := range journals {
		if info, err := os.Stat(name); err != nil || info.Size() < 4096 {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := strings.Index(string(b), strings.Repeat("x", 400)); at >= 0 {
			b[at+200] ^= 1
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	r = skein(t, "store", "verify", dir, "--json")
	if r.code != exitFailed {
		t.Fatalf("a flipped bit is not found: %s", r.out)
	}
	var report replication.Report
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || len(report.Damage) == 0 || !strings.Contains(report.Damage[0], "at byte") {
		t.Errorf("%v: %s", err, r.out)
	}
	for _, name := range []string{"streams.notes", "node.json"} {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-3] ^= 0x10
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := skein(t, "store", "verify", dir); r.code != exitFailed || !strings.Contains(r.out, path) {
			t.Errorf("a flipped bit in %s: %s", name, r.out)
		}
	}
	skein(t, "store", "verify", t.TempDir()).want(t, exitFailed, "no data directory")
	skein(t, "store", "verify").want(t, exitUsage, "data directory")
}
