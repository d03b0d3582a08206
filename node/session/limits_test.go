package session_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node/session"
	"github.com/skeinmesh/skein/transport/wire"
)

// lastFrame reads to the end of a connection.
func lastFrame(conn io.Reader) (kind wire.Kind, body []byte) {
	r := wire.NewReader(conn, 4096)
	for {
		k, b, err := r.Next()
		if err != nil {
			return kind, body
		}
		kind, body = k, append([]byte(nil), b...)
	}
}

func wantBye(t *testing.T, kind wire.Kind, body []byte, code wire.Code) {
	t.Helper()
	if why, err := wire.ReadBye(body); kind != wire.Bye || err != nil || why.Code != code {
		t.Errorf("the last frame is %#x %q, want a bye with %s", kind, body, code)
	}
}

func TestASilentClientIsLeftAndToldWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		ended := make(chan error, 1)
		start := time.Now()
		go func() { ended <- session.Serve(t.Context(), theirs, &hub{}, session.Config{}) }()
		if _, err := ours.Write(greeting(1)); err != nil {
			t.Fatal(err)
		}
		kind, body := lastFrame(ours)
		wantBye(t, kind, body, wire.CodeIdle)
		if err := <-ended; err == nil {
			t.Error("the session ended without a reason")
		}
		if took := time.Since(start); took < wire.DeadAfter || took > wire.DeadAfter+5*time.Second {
			t.Errorf("left after %v, want %v", took, wire.DeadAfter)
		}
	})
}

func TestAClientThatSaysItLivesIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- session.Serve(t.Context(), theirs, &hub{}, session.Config{}) }()
		go io.Copy(io.Discard, ours)
		if _, err := ours.Write(greeting(1)); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			time.Sleep(wire.AliveEvery)
			if _, err := ours.Write(wire.AppendAlive(nil)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ours.Write(wire.AppendBye(nil, &wire.Refusal{Code: wire.CodeDone})); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestSessionsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := session.Open(&hub{}, session.Config{Sessions: 1})
	t.Cleanup(func() { s.Close() })
	s.Accept(l)
	connect := func() net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	greet := func(conn net.Conn) wire.Kind {
		if _, err := conn.Write(greeting(1)); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		kind, _, err := wire.NewReader(conn, 4096).Next()
		if err != nil {
			t.Fatal(err)
		}
		return kind
	}
	first := connect()
	if kind := greet(first); kind != wire.Greet {
		t.Fatalf("the first is answered with %#x", kind)
	}
	kind, body := lastFrame(connect())
	wantBye(t, kind, body, wire.CodeTooMany)
	first.Close()
	eventually(t, "the place is free", func() bool { return s.Stats().Sessions == 0 })
	if kind := greet(connect()); kind != wire.Greet {
		t.Errorf("the next is answered with %#x", kind)
	}
}
