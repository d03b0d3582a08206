// Package exampletest starts a mesh of real nodes for the tests of the
// examples: one process of the skein binary per region, on loopback, with one
// key. The processes leave when the test ends.
package exampletest

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Binary builds the skein command and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "skein")
	build := exec.Command("go", "build", "-o", path, "github.com/skeinmesh/skein/cmd/skein")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build skein: %v\n%s", err, out)
	}
	return path
}

// readyWithin bounds the start of one node.
const readyWithin = 30 * time.Second

// Mesh starts a node in each region and returns the URLs of their HTTP ports,
// in order. Every node is ready and knows the others.
func Mesh(t testing.TB, binary string, regions ...string) []string {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "mesh.key")
	if out, err := exec.Command(binary, "key", "new", "--out", key).CombinedOutput(); err != nil {
		t.Fatalf("make a key: %v\n%s", err, out)
	}
	var urls []string
	seed := ""
	for _, region := range regions {
		args := []string{
			"serve", "--json", "--name", region + "-1", "--region", region, "--key-file", key,
			"--data-dir", filepath.Join(dir, region), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
		}
		if seed != "" {
			args = append(args, "--seeds", seed)
		}
		at := start(t, binary, args, filepath.Join(dir, region+".log"))
		if seed == "" {
			seed = at.Advertise
		}
		urls = append(urls, at.HTTP)
	}
	return urls
}

// line is what serve prints when its node is ready.
type line struct {
	Advertise string `json:"advertise"`
	HTTP      string `json:"http"`
}

func start(t testing.TB, binary string, args []string, logFile string) line {
	t.Helper()
	log, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, args...)
	cmd.Stderr = log
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "SKEIN_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v ended with %v\n%s", args, err, tail(logFile))
		}
	})
	// A node that is not ready in time is ended, which ends the read below.
	late := time.AfterFunc(readyWithin, func() { cmd.Process.Kill() })
	defer late.Stop()
	var at line
	first, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(first, &at)
	}
	if err != nil {
		t.Fatalf("%v did not become ready: %v\n%s", args, err, tail(logFile))
	}
	return at
}

func tail(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4096):])
}

// Subscribed starts a `skein sub` and returns once it says that its interest
// has spread: what is published from then on reaches it.
func Subscribed(t testing.TB, sub *exec.Cmd) {
	t.Helper()
	errOut, err := sub.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(errOut).ReadString('\n')
	if err != nil || !strings.HasPrefix(said, "subscribed") {
		t.Fatalf("skein sub said %q: %v", said, err)
	}
}

// Get asks a node and decodes its answer.
func Get(t testing.TB, url string, into any) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, res.Status)
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
}
