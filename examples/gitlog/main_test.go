package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/examples/exampletest"
)

// repository makes a git repository with three commits, one of them with a
// file name and an author that need care.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=Zoë Ångström", "-c", "user.email=zoe@example.com"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		git("add", "--", name)
	}
	git("init", "-q")
	write("a.txt", "one\ntwo\n")
	git("commit", "-q", "-m", "begin")
	write("übersicht \"x\".md", "text\n")
	write("b.bin", "\x00\x01\x02")
	git("commit", "-q", "-m", "add an overview", "-m", "With a body\nof two lines.")
	write("a.txt", "one\n")
	git("commit", "-q", "-m", "take a line away")
	return dir
}

// told is what the tests look at of an event.
type told struct {
	ID, Type, Source, Subject string
	Files                     int
	Data                      commit
}

func decode(t *testing.T, text string) (list []told) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e told
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		list = append(list, e)
	}
	return list
}

func TestEveryCommitIsAnEventOldestFirst(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{repository(t)}, &out); err != nil {
		t.Fatal(err)
	}
	events := decode(t, out.String())
	if len(events) != 3 || events[0].Subject != "begin" || events[2].Subject != "take a line away" {
		t.Fatalf("got %+v", events)
	}
	second := events[1]
	if second.ID != second.Data.Hash || second.Type != "git.commit" || !strings.HasPrefix(second.Source, "file:///") {
		t.Errorf("attributes: %+v", second)
	}
	if second.Data.Author != "Zoë Ångström" || second.Data.Body != "With a body\nof two lines." || second.Files != 2 {
		t.Errorf("data: %+v", second.Data)
	}
	if f := second.Data.Files; len(f) != 2 || f[0] != (change{"b.bin", -1, -1}) || f[1].Added != 1 {
		t.Errorf("files: %+v", f)
	}
	if got := events[2].Data.Files[0]; got != (change{"a.txt", 0, 1}) {
		t.Errorf("the third commit's file: %+v", got)
	}
}

func TestWhatIsNoRepositoryIsSaid(t *testing.T) {
	err := run(t.Context(), []string{t.TempDir()}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "not a git repository") {
		t.Errorf("got %v", err)
	}
}

// The pipe of the README: gitlog | skein pub --ndjson - in one region, skein
// sub in another.
func TestCommitsReachASubscriberInAnotherRegion(t *testing.T) {
	binary := exampletest.Binary(t)
	urls := exampletest.Mesh(t, binary, "eu", "us")
	sub := exec.Command(binary, "sub", "--server", urls[1], "--type", "git.>", "--count", "3", "--timeout", "30s")
	var got bytes.Buffer
	sub.Stdout = &got
	exampletest.Subscribed(t, sub)
	var lines bytes.Buffer
	if err := run(t.Context(), []string{repository(t)}, &lines); err != nil {
		t.Fatal(err)
	}
	want := decode(t, lines.String())
	pub := exec.Command(binary, "pub", "--server", urls[0], "--ndjson", "-")
	pub.Stdin = &lines
	if out, err := pub.CombinedOutput(); err != nil {
		t.Fatalf("skein pub: %v\n%s", err, out)
	}
	if err := sub.Wait(); err != nil {
		t.Fatalf("skein sub: %v", err)
	}
	events := decode(t, got.String())
	for i, e := range events {
		if e.ID != want[i].ID || e.Data.Author != want[i].Data.Author || e.Files != want[i].Files {
			t.Errorf("event %d: got %+v, want %+v", i, e, want[i])
		}
	}
	if len(events) != len(want) {
		t.Errorf("got %d events, want %d", len(events), len(want))
	}
}
