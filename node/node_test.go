package node

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/routing/queue"
	"github.com/skeinmesh/skein/transport"
)

// listen opens a socket for a mesh port on loopback.
func listen(t *testing.T) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// open starts a node that the test closes.
func open(t *testing.T, cfg Config) *Node {
	t.Helper()
	if cfg.Conn == nil {
		cfg.Conn = listen(t)
	}
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestANodeWithoutSeedsFoundsAndOneWithSeedsJoins(t *testing.T) {
	first := open(t, Config{Region: "eu"})
	if !first.Founded() || first.Ready() != nil {
		t.Fatalf("founded %v, ready %v", first.Founded(), first.Ready())
	}
	second := open(t, Config{Region: "us", Seeds: []string{first.self.Addr.String()}, KeyFile: first.KeyFile()})
	if second.Founded() {
		t.Error("a node with seeds founded a mesh")
	}
	until(t, "the second is ready", func() bool { return second.Ready() == nil })
	if second.Mesh() != first.Mesh() {
		t.Errorf("meshes %s and %s", first.Mesh(), second.Mesh())
	}
	if got := first.streams.member.Load().Meta().Regions(); len(got) != 2 || got[1].Name != "us" || got[1].FoundedBy != second.self.ID {
		t.Errorf("the register has %+v", got)
	}
}

func TestANodeRemembersWhoItIs(t *testing.T) {
	dir := t.TempDir()
	n := open(t, Config{DataDir: dir})
	was, mesh := n.Self(), n.Mesh()
	n.Close()
	n = open(t, Config{DataDir: dir})
	if n.Self().ID != was.ID || n.Self().Boot != was.Boot+1 || n.Mesh() != mesh || n.Founded() {
		t.Errorf("was %+v of %s, is %+v of %s", was, mesh, n.Self(), n.Mesh())
	}
	until(t, "it is ready alone", func() bool { return n.Ready() == nil })
	n.Close()
	_, err := Open(t.Context(), Config{DataDir: dir, Region: "us", Conn: listen(t)})
	if err == nil || !strings.Contains(err.Error(), `"us"`) {
		t.Errorf("its region was changed: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "mesh.key")); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Config{DataDir: dir, Conn: listen(t)})
	if err == nil || !strings.Contains(err.Error(), "is gone") || !strings.Contains(err.Error(), mesh) {
		t.Errorf("without the key of its mesh it made another: %v", err)
	}
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	running := open(t, Config{})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "node.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]Config{
		"in use by another process": {DataDir: running.cfg.DataDir},
		"cannot be made":            {DataDir: filepath.Join(file, "data")},
		"damaged":                   {DataDir: damaged},
		"needs its key":             {DataDir: t.TempDir(), Seeds: []string{"127.0.0.1:1"}},
		"no key file":               {DataDir: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "none")},
		"want host:port":            {DataDir: t.TempDir(), Seeds: []string{"nowhere"}},
		"region":                    {DataDir: t.TempDir(), Region: "a b"},
		"at most 1h0m0s":            {DataDir: t.TempDir(), TTL: time.Hour + 1},
	} {
		cfg.Conn = listen(t)
		n, err := Open(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
		if err == nil {
			n.Close()
		}
	}
}

func TestAnUnreachableSeedIsSaidAndTriedOn(t *testing.T) {
	silent := listen(t) // there, but no node
	defer silent.Close()
	key := filepath.Join(t.TempDir(), "mesh.key")
	if err := os.WriteFile(key, []byte(transport.NewKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	n := open(t, Config{Seeds: []string{silent.LocalAddr().String()}, KeyFile: key})
	until(t, "readiness names the seed", func() bool {
		err := n.Ready()
		return errors.Is(err, ErrNotReady) && strings.Contains(err.Error(), silent.LocalAddr().String())
	})
	if err := n.Publish(t.Context(), "", nil, ""); !errors.Is(err, ErrNotReady) {
		t.Errorf("publish before the node has joined: %v", err)
	}
}

func TestAWrongKeyIsNamed(t *testing.T) {
	first := open(t, Config{})
	key := filepath.Join(t.TempDir(), "other.key")
	if err := os.WriteFile(key, []byte(transport.NewKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	n := open(t, Config{Seeds: []string{first.self.Addr.String()}, KeyFile: key})
	until(t, "readiness names the key", func() bool { return strings.Contains(n.Ready().Error(), "key") })
}

func TestACloseEndsWhoWaits(t *testing.T) {
	n := open(t, Config{})
	s, err := n.Subscribe(t.Context(), SubscribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := s.Next(context.Background(), make([]queue.Item, 1))
		ended <- err
	}()
	s.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("Next ended with %v", err)
	}
}
