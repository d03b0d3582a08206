package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/transport/wire"
)

// rogue links a to b up to the hellos, and leaves the streams to the test.
func rogue(t *testing.T, a, b *node) *session {
	t.Helper()
	l := &link{e: a.Endpoint, id: b.peer.ID, lower: true, changed: make(chan struct{})}
	s, err := l.dial(t.Context(), b.peer)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// dialLane dials one more lane, which nobody serves.
func (s *session) dialLane(index int) *lane {
	d, err := s.link.greet(context.Background(), s.peer, s.link.e.laneHello(s.id, index), nil)
	if err != nil {
		panic(err)
	}
	l := s.newLane(index, d.conn, d.stream)
	s.lanes[index] = l // so that shut ends it
	return l
}

// keep sends heartbeats for some time.
func keep(s *session, lasting time.Duration) {
	for start := time.Now(); time.Since(start) < lasting; time.Sleep(beatEvery) {
		if _, err := s.ctl.Write(wire.AppendFrame(nil, wire.Ping, s.ping())); err != nil {
			return
		}
	}
}

func shiftOf(kind wire.Kind, slice, lane uint8, epoch uint64) []byte {
	return wire.AppendShift(nil, kind, wire.Shift{Slice: slice, Lane: lane, Epoch: epoch})
}

func TestAPeerThatSendsGarbageIsClosedAndNobodyElseNotices(t *testing.T) {
	truncated := func(w io.WriteCloser, b []byte) {
		w.Write(b)
		w.Close()
	}
	for _, test := range []struct {
		name string
		send func(s *session)
		want string
	}{
		{"unknown kind", func(s *session) { s.ctl.Write(wire.AppendFrame(nil, 0x7f, []byte("?"))) }, "unknown kind 0x7f"},
		{"client kind", func(s *session) { s.ctl.Write(wire.AppendFrame(nil, 0x40, nil)) }, "unknown kind 0x40"},
		{"oversized frame", func(s *session) { s.ctl.Write([]byte{0x20, 0xff, 0xff, 0xff, 0x7f}) }, "too large"},
		{"endless length", func(s *session) { s.ctl.Write(bytes.Repeat([]byte{0xff}, 20)) }, "malformed"},
		{"truncated frame", func(s *session) { truncated(s.ctl, []byte{0x20, 5, 'x'}) }, "ends in the middle"},
		{"end of stream", func(s *session) { s.ctl.Close() }, "ended a stream"},
		{"long heartbeat", func(s *session) { s.ctl.Write(wire.AppendFrame(nil, wire.Ping, make([]byte, 1000))) }, "heartbeat of 1000 bytes"},
		{"control frame on a lane", func(s *session) { s.first.stream.Write(wire.AppendFrame(nil, 0x20, nil)) }, "on a lane"},
		{"empty batch", func(s *session) { s.first.stream.Write(wire.AppendFrame(nil, wire.Batch, nil)) }, "ends in the middle"},
		{"oversized batch", func(s *session) { s.first.stream.Write([]byte{byte(wire.Batch), 0xff, 0xff, 0xff, 0x7f}) }, "too large"},
		{"packed batch that is none", func(s *session) { s.first.stream.Write(wire.AppendFrame(nil, wire.PackedBatch, []byte("none"))) }, "packed batch"},
		{"move of no slice", func(s *session) { s.first.stream.Write(wire.AppendFrame(nil, wire.Move, []byte{99, 1, 1})) }, "slice 99"},
		{"move to where it is", func(s *session) { s.first.stream.Write(shiftOf(wire.Move, 1, 0, 1)) }, "move 1 of slice 1"},
		{"the same move twice", func(s *session) {
			s.first.stream.Write(append(shiftOf(wire.Move, 1, 2, 1), shiftOf(wire.Move, 1, 2, 1)...))
		}, "which it is not on"},
		{"arrival of no move", func(s *session) { s.first.stream.Write(shiftOf(wire.Moved, 1, 0, 1)) }, "which was none"},
		{"arrival from a lane that there is not", func(s *session) {
			s.first.stream.Write(shiftOf(wire.Moved, 1, 7, 1))
			keep(s, moveWait+time.Second)
		}, "did not leave lane 7"},
		{"batch after all", func(s *session) {
			l := s.dialLane(1)
			l.stream.Write(append(shiftOf(wire.Moved, 1, 0, 1), wire.AppendFrame(nil, wire.Batch, nil)...))
			s.first.stream.Write(shiftOf(wire.Move, 1, 1, 1))
		}, "ends in the middle"},
		{"a lane that ends with a slice on it", func(s *session) {
			l := s.dialLane(1)
			s.first.stream.Write(shiftOf(wire.Move, 1, 1, 1))
			l.stream.Write(shiftOf(wire.Moved, 1, 0, 1))
			l.stream.Close()
		}, "ended with slice 1 on it"},
		{"a lane twice", func(s *session) {
			l := s.dialLane(1)
			s.first.stream.Write(shiftOf(wire.Move, 1, 1, 1))
			l.stream.Write(shiftOf(wire.Moved, 1, 0, 1))
			_, err := s.link.greet(context.Background(), s.peer, s.link.e.laneHello(s.id, 1), nil)
			if err == nil || !strings.Contains(err.Error(), "there is a lane 1 already") {
				panic(err)
			}
			s.ctl.Write(wire.AppendFrame(nil, 0x7f, nil)) // the link had lived on
		}, "unknown kind 0x7f"},
		{"a wish for too many lanes", func(s *session) { s.ctl.Write(wire.AppendFrame(nil, wire.Lanes, []byte{17})) }, "wish for lanes"},
		{"a wish for lanes by who dials them", func(s *session) { s.ctl.Write(wire.AppendFrame(nil, wire.Lanes, []byte{2})) }, "the peer to dial"},
		{"truncated batch", func(s *session) { truncated(s.first.stream, []byte{byte(wire.Batch), 100, 1, 1, 1}) }, "ends in the middle"},
		{"nothing", func(s *session) {}, "no heartbeat"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, conns := newNetwork(t, latency, 3)
				a, b, c := open(t, conns[0], "a"), open(t, conns[1], "b"), open(t, conns[2], "c")
				linkUp(b, c)
				s := rogue(t, a, b)
				b.waitUp("a")
				test.send(s)
				b.waitDown("a")
				time.Sleep(time.Second)
				log := b.history()
				if last := log[len(log)-1]; !strings.Contains(last, test.want) {
					t.Errorf("b closed it with %q, want %q", last, test.want)
				}
				if cause := context.Cause(s.control.Context()); cause == nil || !strings.Contains(cause.Error(), test.want) {
					t.Errorf("a was told %v, want %q", cause, test.want)
				}
				if log := c.history(); len(log) != 1 {
					t.Errorf("c noticed: %q\n%s\n%s", log, b.logs, c.logs)
				}
				s.end(codeDone, "")
				s.shut()
			})
		})
	}
}

func TestGarbageInsteadOfAHelloIsRefused(t *testing.T) {
	long := wire.AppendFrame(nil, wire.Hello, make([]byte, maxHello+1))
	for name, sent := range map[string][]byte{
		"no hello":  wire.AppendFrame(nil, wire.Ping, []byte("{}")),
		"no JSON":   wire.AppendFrame(nil, wire.Hello, []byte("\xff\xfe")),
		"no ID":     wire.AppendFrame(nil, wire.Hello, []byte(`{"role":"visit"}`)),
		"no region": wire.AppendFrame(nil, wire.Hello, []byte(`{"role":"visit","peer":{"id":"a"}}`)),
		"no role":   wire.AppendFrame(nil, wire.Hello, []byte(`{"role":"x","peer":{"id":"a","region":"eu"}}`)),
		"no end":    long[:100],
		"too long":  long,
		"nothing":   nil,
		"other ID":  hello(t, Hello{Mesh: "m1", Role: roleVisit, Peer: testPeer("z")}),
	} {
		t.Run(name, func(t *testing.T) {
			pair(t, func(t *testing.T, w *network, a, b *node) {
				conn, err := a.dial(t.Context(), b.peer.Addr, protocolMesh, linkConfig)
				if err != nil {
					t.Fatal(err)
				}
				stream, err := conn.OpenStream()
				if err != nil {
					t.Fatal(err)
				}
				stream.Write(sent)
				start := time.Now()
				<-conn.Context().Done()
				if took := time.Since(start); took > helloWait+4*latency {
					t.Errorf("it took %v", took)
				}
				a.shut(conn, codeDone, "")
				linkUp(a, b) // as if nothing had been
			})
		})
	}
}

func hello(t *testing.T, h Hello) []byte {
	body, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return wire.AppendFrame(nil, wire.Hello, body)
}

func TestRejectEndsTheConnectionWithTheReason(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		a.Reject("b", "an envelope that is none")
		b.waitDown("a")
		if log := b.history(); log[1] != "down a: closed by the peer: an envelope that is none" {
			t.Errorf("history: %q", log)
		}
		b.waitUp("a") // the link is kept
	})
}

func FuzzHello(f *testing.F) {
	f.Add([]byte(`{"mesh":"m1","peer":{"id":"a","region":"eu","addr":"10.0.0.1:1"},"role":"visit"}`))
	f.Add([]byte(`{"peer":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := parseHello(body)
		if err != nil {
			var ref *refusal
			if !errors.As(err, &ref) || ref.reason == "" {
				t.Errorf("error without a reason: %v", err)
			}
			return
		}
		again, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		if h2, err := parseHello(again); err != nil || h2 != h {
			t.Errorf("%+v came back as %+v, %v", h, h2, err)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("# a key\n" + NewKey() + "\n\n" + NewKey()))
	f.Add([]byte(keyPrefix + "AAAA"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := ParseKeys(text)
		if err != nil {
			return
		}
		var lines []string
		for _, k := range keys {
			lines = append(lines, k.line())
		}
		again, err := ParseKeys([]byte(strings.Join(lines, "\n")))
		if err != nil || len(again) != len(keys) || again[0] != keys[0] {
			t.Errorf("%v came back as %v, %v", keys, again, err)
		}
	})
}
