package transport

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
	"github.com/skeinmesh/skein/transport/wire"
)

func TestACallIsAnswered(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		if _, err := a.Call(t.Context(), "b", 0x30, nil); !errors.Is(err, ErrLinkDown) {
			t.Errorf("Call without a link: %v", err)
		}
		linkUp(a, b)
		start := time.Now()
		reply, err := a.Call(t.Context(), "b", 0x30, []byte("x"))
		if err != nil || string(reply) != "a said 0x30 x" || time.Since(start) != 2*latency {
			t.Errorf("Call: %q, %v after %v", reply, err, time.Since(start))
		}
		var said *CallError
		if _, err := a.Call(t.Context(), "b", 0x30, []byte("fail")); !errors.As(err, &said) || said.Text != "as you wish" || said.Peer != "b" {
			t.Errorf("Call: %v", err)
		}
		big := []byte(strings.Repeat("x", wire.MaxFrame-100))
		if reply, err := a.Call(t.Context(), "b", 0x30, big); err != nil || len(reply) != len(big)+len("a said 0x30 ") {
			t.Errorf("Call with much: %d bytes, %v", len(reply), err)
		}
		if _, err := a.Call(t.Context(), "b", 0x30, make([]byte, wire.MaxFrame)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Call with too much: %v", err)
		}
		b.onCall = func(context.Context, peer.Peer, wire.Kind, []byte) ([]byte, error) {
			return make([]byte, wire.MaxFrame+1), nil
		}
		if _, err := a.Call(t.Context(), "b", 0x30, nil); !errors.As(err, &said) || !strings.Contains(said.Text, "too large") {
			t.Errorf("Call for too much: %v", err)
		}
	})
}

func TestCallsGiveTheirStreamsBack(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		for range 3 * linkConfig.MaxIncomingStreams {
			if _, err := a.Call(t.Context(), "b", 0x30, nil); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestACallerThatGivesUpIsNoticed(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		ended := make(chan error, 1)
		b.onCall = func(ctx context.Context, _ peer.Peer, _ wire.Kind, _ []byte) ([]byte, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := a.Call(ctx, "b", 0x30, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Call: %v after %v", err, time.Since(start))
		}
		<-ended
		if took := time.Since(start); took > time.Second+latency {
			t.Errorf("the handler learnt of it after %v", took)
		}

		go func() {
			time.Sleep(time.Second)
			w.setBoth(a.peer.Addr, b.peer.Addr, true)
		}()
		start = time.Now()
		if _, err := a.Call(t.Context(), "b", 0x30, nil); !errors.Is(err, ErrLinkDown) || time.Since(start) > time.Second+silence+beatEvery {
			t.Errorf("Call over a link that breaks: %v after %v", err, time.Since(start))
		}
		<-ended
	})
}

func TestCallsOfOnePeerAreBounded(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		release := make(chan struct{})
		b.onCall = func(context.Context, peer.Peer, wire.Kind, []byte) ([]byte, error) {
			<-release
			return nil, nil
		}
		results := make(chan error)
		for range maxCallsPerLink + 10 {
			go func() {
				_, err := a.Call(t.Context(), "b", 0x30, nil)
				results <- err
			}()
		}
		for range 10 {
			var said *CallError
			if err := <-results; !errors.As(err, &said) || !errors.Is(err, ErrBusy) {
				t.Errorf("Call: %v", err)
			}
		}
		close(release)
		for range maxCallsPerLink {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

// Calls from outside of the link that take long leave room for streams from there.
func TestCallsOfVisitorsLeaveRoomForStreams(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		linkUp(a, b)
		layer, other := a.Layer("gossip"), b.Layer("gossip")
		release := make(chan struct{})
		b.onCall = func(context.Context, peer.Peer, wire.Kind, []byte) ([]byte, error) {
			<-release
			return nil, nil
		}
		s, err := a.session("b")
		if err != nil {
			t.Fatal(err)
		}
		conn, err := s.dialBulk(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error)
		for i := range maxVisits + 1 {
			go func() {
				_, err := a.call(t.Context(), conn, "b", 0x30, nil)
				results <- err
			}()
			if i%100 == 0 {
				time.Sleep(time.Second) // simulated: all that came have said what they want
			}
		}
		time.Sleep(time.Second) // simulated
		stream, err := layer.DialAddr(t.Context(), b.peer.Addr)
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := other.Accept()
		if err != nil {
			t.Fatal(err)
		}
		stream.Close()
		accepted.Close()
		close(release)
		for range maxVisits + 1 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestVisitsLeaveNothingBehind(t *testing.T) {
	pair(t, func(t *testing.T, w *network, a, b *node) {
		layer, other := a.Layer("gossip"), b.Layer("gossip")
		for range 50 {
			if _, err := a.CallAddr(t.Context(), b.peer.Addr, 0x30, nil); err != nil {
				t.Fatal(err)
			}
			conn, err := layer.DialAddr(t.Context(), b.peer.Addr)
			if err != nil {
				t.Fatal(err)
			}
			accepted, err := other.Accept()
			if err != nil {
				t.Fatal(err)
			}
			conn.Write([]byte("once"))
			conn.Close() // what was written before arrives
			if got := readAll(t, accepted); got != "once" {
				t.Fatalf("read %q", got)
			}
			accepted.Close()
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if x, y := a.Stats(), b.Stats(); x.Connections+y.Connections+x.Handshakes+y.Handshakes != 0 {
			t.Errorf("left: %+v and %+v", x, y)
		}
		if len(b.visits)+len(b.guests) != 0 {
			t.Errorf("%d visits and %d calls are not over", len(b.visits), len(b.guests))
		}
	})
}
