package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/transport"
)

func TestNewKeyIsAKeyFile(t *testing.T) {
	r := skein(t, "key", "new")
	r.want(t, exitDone)
	keys, err := transport.ParseKeys([]byte(r.out))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.out, keys[0].Fingerprint()) {
		t.Errorf("the key's name %s is not in %q", keys[0].Fingerprint(), r.out)
	}
	if again := skein(t, "key", "new"); again.out == r.out {
		t.Error("the same key twice")
	}
}

func TestNewKeyFileIsTheOwnersAndReplacesNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.key")
	skein(t, "key", "new", "--out", path).want(t, exitDone)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	before, _ := os.ReadFile(path)
	skein(t, "key", "new", "--out", path).want(t, exitFailed, "exists")
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the older key was overwritten")
	}
}

func TestKeyShowNamesKeysWithoutTellingThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mesh.key")
	text := transport.NewKey() + "\n" + transport.NewKey() + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := skein(t, "key", "show", path, "--json")
	r.want(t, exitDone)
	var rows []struct{ Fingerprint, Use string }
	if err := json.Unmarshal([]byte(r.out), &rows); err != nil || len(rows) != 2 || rows[0].Use != "issues" || rows[1].Use != "accepts" {
		t.Fatalf("got %s, %v", r.out, err)
	}
	for line := range strings.Lines(text) {
		if strings.Contains(r.out, strings.TrimSpace(line)) {
			t.Error("the secret is told")
		}
	}
	if err := os.WriteFile(path, []byte("rubbish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	skein(t, "key", "show", path).want(t, exitFailed, "line 1")
}
