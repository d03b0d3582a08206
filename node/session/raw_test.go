package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/node/session"
	"github.com/skeinmesh/skein/transport/event"
	"github.com/skeinmesh/skein/transport/wire"
)

// conversation serves one end of a real loopback connection, sends bytes to it
// and returns the frames that came back, up to the end of the connection, and
// what Serve returned.
func conversation(t testing.TB, h *hub, send []byte) (frames []wire.Kind, last []byte, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		served <- session.Serve(context.Background(), conn, h, session.Config{MaxEvent: 64 << 10})
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(send); err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).CloseWrite()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	r := wire.NewReader(conn, 4096)
	for {
		kind, body, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
				t.Fatalf("after %x: %v", frames, err)
			}
			break
		}
		frames, last = append(frames, kind), append([]byte(nil), body...)
	}
	return frames, last, <-served
}

func greeting(version int) []byte {
	return wire.AppendGreeting(nil, wire.Greeting{Version: version, Agent: "test"})
}

func TestGarbageEndsTheSessionWithAReason(t *testing.T) {
	envelope := new(event.Builder).SetString("id", "1").SetString("source", "/a").SetString("type", "t").Append(nil)
	publish := func(first uint64) []byte {
		b := wire.AppendEvent(wire.BeginPublish(nil, first, "default"), envelope)
		wire.EndEvents(b, 0)
		return b
	}
	cat := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	empty := wire.BeginPublish(nil, 1, "default")
	wire.EndEvents(empty, 0)
	subscribe := wire.AppendSubscribe(nil, 1, &wire.Request{Credit: 1, Barrier: "none"})
	for _, c := range []struct {
		name string
		send []byte
		code wire.Code
		text string
	}{
		{"a version from the future", greeting(7), wire.CodeVersion, "version 1 of the client protocol, the client 7"},
		{"no greeting", publish(1), wire.CodeProtocol, "instead of a greeting"},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), wire.CodeProtocol, "greeting"},
		{"a greeting that is no JSON", wire.AppendFrame(nil, wire.Greet, []byte("hi")), wire.CodeProtocol, "greeting"},
		{"a huge greeting", wire.AppendFrame(nil, wire.Greet, make([]byte, 1<<20)), wire.CodeTooLarge, "at most"},
		{"an unknown frame", cat(greeting(1), wire.AppendFrame(nil, 0x7f, nil)), wire.CodeProtocol, "unknown kind 0x7f"},
		{"a huge frame", cat(greeting(1), []byte{byte(wire.Publish), 0xff, 0xff, 0xff, 0x7f}), wire.CodeTooLarge, "at most"},
		{"a huge control frame", cat(greeting(1), wire.AppendFrame(nil, wire.Subscribe, make([]byte, 65<<10))), wire.CodeTooLarge, "at most"},
		{"half a frame", cat(greeting(1), publish(1)[:9]), wire.CodeProtocol, "middle"},
		{"a publish with a broken event", cat(greeting(1), wire.AppendFrame(nil, wire.Publish, []byte{1, 0, 99, 1})), wire.CodeProtocol, "middle"},
		{"a publish without events", cat(greeting(1), empty), wire.CodeProtocol, "without events"},
		{"a hole in the numbers", cat(greeting(1), publish(1), publish(3)), wire.CodeProtocol, "event 3 follows event 1"},
		{"a subscription twice", cat(greeting(1), subscribe, subscribe), wire.CodeProtocol, "subscription 1 exists"},
		{"a broken number", cat(greeting(1), wire.AppendFrame(nil, wire.Unsubscribe, []byte{0xff})), wire.CodeProtocol, "middle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			frames, last, err := conversation(t, &hub{}, c.send)
			if err == nil {
				t.Error("Serve says that all went well")
			}
			if len(frames) == 0 || frames[len(frames)-1] != wire.Bye {
				t.Fatalf("frames %x, want a bye last", frames)
			}
			why, err := wire.ReadBye(last)
			if err != nil || why.Code != c.code || !strings.Contains(why.Reason, c.text) {
				t.Errorf("bye with %v, want %s with %q", why, c.code, c.text)
			}
		})
	}
}

func TestABadFilterOrRequestEndsOnlyTheSubscription(t *testing.T) {
	send := greeting(1)
	send = wire.AppendFrame(send, wire.Subscribe, []byte("\x01{"))
	send = wire.AppendSubscribe(send, 2, &wire.Request{Barrier: "galaxy"})
	send = wire.AppendSubscribe(send, 3, &wire.Request{Filter: json.RawMessage(`{"sql":"1 +"}`)})
	send = wire.AppendFrame(send, wire.Alive, nil)
	send = wire.AppendFrame(send, wire.Publish, []byte{1, 0, 1, 'x'}) // refused, too, but the session goes on
	frames, last, err := conversation(t, &hub{}, send)
	if err != nil {
		t.Error(err)
	}
	want := []wire.Kind{wire.Greet, wire.Ended, wire.Ended, wire.Ended, wire.Nack, wire.Ack}
	if len(frames) != len(want) {
		t.Fatalf("frames %x, want %x", frames, want)
	}
	for i := range want {
		if frames[i] != want[i] {
			t.Fatalf("frames %x, want %x", frames, want)
		}
	}
	if n, err := wire.ReadNumber(last); n != 1 || err != nil {
		t.Errorf("acknowledged up to %d, %v", n, err)
	}
}

// FuzzSession feeds a session arbitrary bytes after a greeting: it ends, and
// nothing panics.
func FuzzSession(f *testing.F) {
	envelope := new(event.Builder).SetString("id", "1").SetString("source", "/a").SetString("type", "t").Append(nil)
	publish := wire.AppendEvent(wire.BeginPublish(nil, 1, "default"), envelope)
	wire.EndEvents(publish, 0)
	f.Add(publish)
	f.Add(wire.AppendSubscribe(nil, 1, &wire.Request{Credit: 100, Barrier: "none"}))
	f.Add(wire.AppendCredit(wire.AppendUnsubscribe(nil, 1), 1, 1<<30))
	f.Add([]byte{byte(wire.Publish), 0x80})
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			session.Serve(context.Background(), theirs, &hub{}, session.Config{MaxEvent: 4 << 10, Subscriptions: 4})
		}()
		go func() {
			ours.Write(append(greeting(1), data...))
			ours.Write(wire.AppendBye(nil, &wire.Refusal{Code: wire.CodeDone}))
			ours.Close()
		}()
		io.Copy(io.Discard, ours)
		<-done
	})
}
