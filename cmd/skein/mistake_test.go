package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A mistake is answered with what is wrong and what would be right, and with
// the exit code of its kind.
func TestMistakesAreNamedWithTheirRemedy(t *testing.T) {
	dir := t.TempDir()
	key, junk, none := filepath.Join(dir, "mesh.key"), filepath.Join(dir, "junk.key"), filepath.Join(dir, "none.key")
	skein(t, "key", "new", "--out", key).want(t, exitDone)
	if err := os.WriteFile(junk, []byte("junk\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	serve := func(more ...string) []string {
		return append([]string{"serve", "--data-dir", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--http", "off"}, more...)
	}
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{serve("--key-file", none), exitFailed, []string{"no key file " + none, "skein key new --out " + none}},
		{serve("--key-file", junk), exitFailed, []string{junk, "line 1", "skein-key-1:"}},
		{serve("--listen", "127.0.0.1:99999"), exitUsage, []string{"--listen", "want host:port", "99999"}},
		{serve("--listen", "127.0.0.1"), exitUsage, []string{"--listen", "want host:port"}},
		{serve("--http", "127.0.0.1:99999"), exitUsage, []string{"--http", "want host:port", "99999"}},
		{serve("--listen", "203.0.113.1:0"), exitFailed, []string{"203.0.113.1:0/udp", "no address of this machine", "--listen"}},
		{[]string{"key", "new", "--out", key}, exitFailed, []string{key, "never overwritten"}},
		{[]string{"pub", "--type", "a", "--source", ""}, exitUsage, []string{"--source is empty", defaultSource}},
		{[]string{"pub", "--type", "a", "--ext", "Foo=1"}, exitUsage, []string{"Foo", "a-z"}},
		{[]string{"nodes", "--server", "http://127.0.0.1:1"}, exitFailed, []string{"no node answers", "skein serve", "--server"}},
	} {
		r := skein(t, c.args...)
		if r.code != c.code {
			t.Errorf("%v: exit code %d, want %d", c.args, r.code, c.code)
		}
		r.want(t, r.code, c.says...)
	}
}
