package transport

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/skeinmesh/skein/transport/wire"
)

func TestTwoNodesLinkOverRealSockets(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) }) // runs last
	a, b := open(t, loopback(t), "a"), open(t, loopback(t), "b")
	a.Connect(b.peer)
	b.Connect(a.peer)
	a.waitUp("b")
	b.waitUp("a")

	for i := range 100 {
		if err := a.Send("b", wire.FirstControl, fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
		if err := put(t, b, "a", &wire.Record{How: wire.Deliver, Body: fmt.Appendf(nil, "%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	b.wait("frames", func() bool { return len(b.frames) == 100 })
	a.wait("records", func() bool { return len(a.records) == 100 })
	for i := range 100 {
		if got, want := b.frames[i], fmt.Sprintf("a 0x20 %d", i); got != want {
			t.Fatalf("frame %d is %q, want %q", i, got, want)
		}
		if got, want := a.records[i], fmt.Sprintf("b %d", i); got != want {
			t.Fatalf("record %d is %q, want %q", i, got, want)
		}
	}
	reply, err := b.Call(t.Context(), "a", wire.FirstControl+1, []byte("hello"))
	if err != nil || string(reply) != "b said 0x21 hello" {
		t.Fatalf("Call: %q, %v", reply, err)
	}
	if st := a.Links(); len(st) != 1 || st[0].State != Up || st[0].EventsIn != 100 || st[0].Lanes != 1 {
		t.Errorf("Links: %+v", st)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	a.waitDown("b")
	if log := a.history(); !slices.Equal(log, []string{"up b", "down b: closed by the peer: the node stops"}) {
		t.Errorf("history: %q", log)
	}
}

func TestAProbeTellsWhoIsThere(t *testing.T) {
	a, b := open(t, loopback(t), "a", func(c *Config) { c.MeshID = "" }), open(t, loopback(t), "b")
	b.SetFounder("eu")
	h, err := a.Probe(t.Context(), b.peer.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if h.Mesh != "m1" || h.Peer != b.peer || h.Founder != "eu" {
		t.Errorf("hello: %+v", h)
	}
	reply, err := a.CallAddr(t.Context(), b.peer.Addr, 0x30, []byte("x"))
	if err != nil || string(reply) != "a said 0x30 x" {
		t.Errorf("CallAddr: %q, %v", reply, err)
	}
}

func TestALayerCarriesStreamsAndPackets(t *testing.T) {
	a, b := open(t, loopback(t), "a"), open(t, loopback(t), "b")
	la, lb := a.Layer("gossip"), b.Layer("gossip")
	conn, err := la.DialAddr(t.Context(), b.peer.Addr)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "ping")
	other, err := lb.Accept()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	if _, err := io.ReadFull(other, buf); err != nil || string(buf) != "ping" {
		t.Fatalf("read %q, %v", buf, err)
	}
	io.WriteString(other, "pong")
	other.Close()
	if got := readAll(t, conn); got != "pong" {
		t.Errorf("read %q", got)
	}
	conn.Close()

	const burst = 100 // more than quic-go would keep
	for i := range burst {
		if err := la.WritePacket(fmt.Appendf(nil, "p%d", i), b.peer.Addr); err != nil {
			t.Fatal(err)
		}
	}
	for i := range burst {
		n, from, err := lb.ReadPacket(buf[:cap(buf)])
		if want := fmt.Sprintf("p%d", i); err != nil || string(buf[:n]) != want || from != a.peer.Addr {
			t.Fatalf("packet %q from %s, %v; want %q", buf[:n], from, err, want)
		}
	}
}

func TestPacketsPassBesideABusyLane(t *testing.T) {
	a, b := open(t, loopback(t), "a"), open(t, loopback(t), "b")
	linkUp(a, b)
	la, lb := a.Layer("gossip"), b.Layer("gossip")
	const packets, records = 2000, 50_000
	done := make(chan struct{})
	go func() {
		defer close(done)
		rec := &wire.Record{How: wire.Deliver, Body: make([]byte, 500)}
		for range records {
			if err := put(t, a, "b", rec); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	// The kernel may drop packets, we must not: so they are sent until enough
	// have come.
	enough := make(chan struct{})
	defer close(enough)
	go func() {
		for tick := time.NewTicker(50 * time.Microsecond); ; {
			select {
			case <-enough:
				tick.Stop()
				return
			case <-tick.C:
				la.WritePacket([]byte("packet"), b.peer.Addr)
			}
		}
	}()
	buf := make([]byte, 2000)
	for range packets {
		if n, _, err := lb.ReadPacket(buf); err != nil || string(buf[:n]) != "packet" {
			t.Fatalf("packet %q, %v", buf[:n], err)
		}
	}
	<-done
	b.wait("records", func() bool { return len(b.records) == records })
	if n := b.Stats().PacketsDropped; n != 0 {
		t.Errorf("%d packets dropped", n)
	}
	if err := la.WritePacket(make([]byte, maxPacket+1), b.peer.Addr); err != ErrTooLarge {
		t.Errorf("WritePacket of too much: %v", err)
	}
}

func TestANativeClientGetsAStream(t *testing.T) {
	a := open(t, loopback(t), "a")
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := a.Clients().Accept()
		if err == nil {
			accepted <- c
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := DialClient(ctx, a.peer.Addr, mustIdentity(t, testKey))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "hi")
	s := <-accepted
	buf := make([]byte, 2)
	if _, err := io.ReadFull(s, buf); err != nil || string(buf) != "hi" {
		t.Fatalf("read %q, %v", buf, err)
	}
	c.Close()
	if _, err := s.Read(buf); err == nil {
		t.Error("the stream outlived the client")
	}
}
