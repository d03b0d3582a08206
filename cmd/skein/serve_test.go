package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// served is a node that a test runs through the program's own front door.
type served struct {
	readyLine
	stop func() result // as SIGTERM does, and how it ended
	log  *safeBuffer
}

// safeBuffer is a buffer that one goroutine may read while another writes.
type safeBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// begin starts `skein serve` on loopback without waiting for it to be ready.
func begin(t *testing.T, args ...string) (ready <-chan readyLine, s *served) {
	t.Helper()
	args = append([]string{"serve", "--json", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}, args...)
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	s = &served{log: &safeBuffer{}}
	ended := make(chan int, 1)
	lines := make(chan readyLine, 1)
	go func() {
		code := run(ctx, args, strings.NewReader(""), in, s.log)
		in.Close()
		ended <- code
	}()
	go func() {
		defer close(lines)
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			var l readyLine
			if json.Unmarshal(scan.Bytes(), &l) == nil {
				lines <- l
			}
		}
	}()
	var once sync.Once
	var r result
	s.stop = func() result {
		once.Do(func() { cancel(); r = result{code: <-ended, errOut: s.log.String()} })
		return r
	}
	t.Cleanup(func() {
		if r := s.stop(); r.code != exitDone {
			t.Errorf("serve %v ended with %d:\n%s", args, r.code, r.errOut)
		}
	})
	return lines, s
}

// serveNode starts a node and returns when it is ready.
func serveNode(t *testing.T, args ...string) *served {
	t.Helper()
	ready, s := begin(t, args...)
	select {
	case l, ok := <-ready:
		if !ok {
			t.Fatalf("serve %v ended before it was ready:\n%s", args, s.log)
		}
		s.readyLine = l
	case <-time.After(20 * time.Second):
		t.Fatalf("serve %v is not ready:\n%s", args, s.log)
	}
	return s
}

// serveTwo starts a node in each of two regions of one mesh.
func serveTwo(t *testing.T) (eu, us *served) {
	t.Helper()
	eu = serveNode(t, "--name", "eu-1", "--region", "eu")
	us = serveNode(t, "--name", "us-1", "--region", "us", "--key-file", eu.KeyFile, "--seeds", eu.Advertise)
	return eu, us
}

func TestFoundingNodeMakesAKeyAndSaysHowToHandItOn(t *testing.T) {
	n := serveNode(t, "--name", "eu-1", "--region", "eu")
	if !n.Founded || n.Node != "eu-1" || n.Region != "eu" || n.Mesh == "" || n.HTTP == "" {
		t.Errorf("ready line: %+v", n.readyLine)
	}
	if info, err := os.Stat(n.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	if log := n.log.String(); !strings.Contains(log, n.KeyFile) || !strings.Contains(log, "--seeds "+n.Advertise) {
		t.Errorf("the log does not say how to go on:\n%s", log)
	}
}

func TestReadyLineIsOneLineForPeople(t *testing.T) {
	var out bytes.Buffer
	a := newApp(nil, &out, io.Discard)
	err := a.sayReady(readyLine{Node: "eu-1", Region: "eu", Mesh: "4f1c", Advertise: "10.0.0.5:7420", HTTP: "http://127.0.0.1:8420"})
	want := "ready: node eu-1 in region eu of mesh 4f1c, mesh port 10.0.0.5:7420, http://127.0.0.1:8420\n"
	if err != nil || out.String() != want {
		t.Errorf("got %q, %v; want %q", out.String(), err, want)
	}
}

func TestNodeThatIsToldToStopLeavesAndExitsWithZero(t *testing.T) {
	n := serveNode(t)
	n.stop().want(t, exitDone, "stopping")
	if _, err := http.Get(n.HTTP + "/healthz"); err == nil {
		t.Error("the HTTP port still answers")
	}
}

func TestNodeEndsWithItsInputWhenItIsToldTo(t *testing.T) {
	var out, errOut safeBuffer
	in, end := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), []string{"serve", "--with-stdin", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--http", "off"}, in, &out, &errOut)
	}()
	end.Close()
	select {
	case c := <-code:
		if c != exitDone {
			t.Errorf("exit code %d:\n%s", c, errOut.String())
		}
	case <-time.After(20 * time.Second):
		t.Error("it runs on")
	}
}

func TestUnreachableSeedsAreSaidAndTriedOn(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0") // silent
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	face, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := face.Addr().String()
	if err := face.Close(); err != nil {
		t.Fatal(err)
	}
	founder := serveNode(t)
	ready, s := begin(t, "--seeds", conn.LocalAddr().String(), "--key-file", founder.KeyFile, "--http", port)
	deadline := time.After(20 * time.Second)
	for !strings.Contains(s.log.String(), "still trying to enter the mesh") || !strings.Contains(s.log.String(), "nobody answers within") {
		select {
		case <-ready:
			t.Fatal("ready without its seed")
		case <-deadline:
			t.Fatalf("nothing was said:\n%s", s.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if !strings.Contains(s.log.String(), conn.LocalAddr().String()) {
		t.Errorf("the seed is not named:\n%s", s.log)
	}
	readyz := ask(t, "http://"+port+"/readyz")
	for _, want := range []string{"503", "not ready", conn.LocalAddr().String(), "nobody answers within"} {
		if !strings.Contains(readyz, want) {
			t.Errorf("readyz does not say %q: %s", want, readyz)
		}
	}
	r := skein(t, "topology", "--server", "http://"+port)
	r.want(t, exitDone)
	if !strings.Contains(r.out, "no mesh yet") {
		t.Errorf("the topology of a node that joins:\n%s", r.out)
	}
	skein(t, "pub", "--type", "a", "--server", "http://"+port).want(t, exitFailed, "not ready", conn.LocalAddr().String())
}

// ask is the status and the body that a URL answers.
func ask(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.Status + " " + string(body)
}

func TestPortInUseIsSaid(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	dir := t.TempDir()
	skein(t, "serve", "--data-dir", dir, "--listen", udp.LocalAddr().String(), "--http", "off").
		want(t, exitFailed, udp.LocalAddr().String()+"/udp is in use", "--listen")
	skein(t, "serve", "--data-dir", dir, "--listen", "127.0.0.1:0", "--http", tcp.Addr().String()).
		want(t, exitFailed, tcp.Addr().String()+"/tcp is in use", "--http")
}

func TestDataDirectoryInUseIsSaid(t *testing.T) {
	dir := t.TempDir()
	serveNode(t, "--data-dir", dir)
	skein(t, "serve", "--data-dir", dir, "--listen", "127.0.0.1:0", "--http", "off").want(t, exitFailed, dir, "in use by another process", "--data-dir")
}

func TestUnwritableDataDirectoryIsSaid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(file, "data")
	skein(t, "serve", "--data-dir", dir, "--listen", "127.0.0.1:0", "--http", "off").want(t, exitFailed, dir, "not a directory", "--data-dir")
}

func TestHTTPOpenToTheNetworkNeedsTLSAndTokens(t *testing.T) {
	for _, c := range []struct {
		flags httpFlags
		ok    bool
	}{
		{httpFlags{address: "127.0.0.1:8420"}, true},
		{httpFlags{address: "[::1]:8420"}, true},
		{httpFlags{address: "localhost:8420"}, true},
		{httpFlags{address: "unix:///run/skein.sock"}, true},
		{httpFlags{address: "off"}, true},
		{httpFlags{address: ":8420"}, false},
		{httpFlags{address: "0.0.0.0:8420"}, false},
		{httpFlags{address: "10.0.0.5:8420", cert: "c", key: "k"}, false},
		{httpFlags{address: "10.0.0.5:8420", tokenFile: "t"}, false},
		{httpFlags{address: "10.0.0.5:8420", cert: "c", key: "k", tokenFile: "t"}, true},
		{httpFlags{address: "10.0.0.5:8420", insecure: true}, true},
		{httpFlags{address: "127.0.0.1:8420", cert: "c"}, false},
		{httpFlags{address: "8420"}, false},
	} {
		if err := c.flags.check(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.flags, err)
		}
	}
	skein(t, "serve", "--http", ":8420").want(t, exitUsage, "--http-insecure", "--http-token-file")
}

func TestBadNodeSettingsAreSaid(t *testing.T) {
	base := []string{"serve", "--listen", "127.0.0.1:0", "--http", "off", "--data-dir", t.TempDir()}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--region", "no region"}, exitUsage, "region"},
		{[]string{"--seeds", "nowhere"}, exitUsage, "host:port"},
		{[]string{"--seeds", "127.0.0.1:1"}, exitFailed, "key"},
		{[]string{"--key-file", "/does/not/exist"}, exitFailed, "/does/not/exist"},
		{[]string{"--advertise", "no.such.host.invalid:1"}, exitFailed, "--advertise"},
		{[]string{"--tls-cert", "x"}, exitUsage, "PKI"},
		{[]string{"--log-level", "loud"}, exitUsage, "--log-level"},
		{[]string{"--log-format", "xml"}, exitUsage, "--log-format"},
	} {
		skein(t, append(base, c.args...)...).want(t, c.code, c.want)
	}
}

func TestHTTPOverAUnixSocketAndAStaleOneIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	n := serveNode(t, "--http", "unix://"+path)
	if n.HTTP != "unix://"+path {
		t.Errorf("HTTP is at %s", n.HTTP)
	}
	skein(t, "nodes", "--server", n.HTTP).want(t, exitDone)
	skein(t, "pub", "--server", n.HTTP, "--type", "t").want(t, exitDone)
	skein(t, "serve", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--http", "unix://"+path).
		want(t, exitFailed, "in use by another process")
	n.stop()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is still there")
	}
}

func TestTokensAndTLSGuardTheHTTPPort(t *testing.T) {
	dir := t.TempDir()
	cert, key := selfSigned(t, dir)
	tokens := filepath.Join(dir, "tokens")
	if err := os.WriteFile(tokens, []byte("full-full-full-full\nlook-look-look-look inspect\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := serveNode(t, "--http-tls-cert", cert, "--http-tls-key", key, "--http-token-file", tokens)
	with := func(token string, args ...string) result {
		t.Helper()
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		return skein(t, append(args, "--server", n.HTTP, "--ca", cert, "--token-file", file)...)
	}
	with("full-full-full-full", "pub", "--type", "t").want(t, exitDone)
	with("full-full-full-full", "nodes").want(t, exitDone)
	with("look-look-look-look", "nodes").want(t, exitDone)
	with("look-look-look-look", "pub", "--type", "t").want(t, exitFailed, "token")
	with("what-what-what-what", "nodes").want(t, exitFailed, "token")
	skein(t, "nodes", "--server", n.HTTP, "--ca", cert).want(t, exitFailed, "token")
	skein(t, "nodes", "--server", n.HTTP).want(t, exitFailed, "certificate")
}
