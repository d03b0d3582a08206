package main

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// end is a node's socket as the relay's test plays it.
type end struct {
	*net.UDPConn
	addr netip.AddrPort
}

func newEnd(t *testing.T) end {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return end{conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()}
}

// receive is the next packet and who it seems to come from; "" after wait.
func (e end) receive(t *testing.T, wait time.Duration) (string, netip.AddrPort) {
	t.Helper()
	e.SetReadDeadline(time.Now().Add(wait))
	b := make([]byte, 2048)
	n, from, err := e.ReadFromUDPAddrPort(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", from
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n]), from
}

func TestRelayCarriesPacketsThroughTheDoorsOfBothNodes(t *testing.T) {
	a, b := newEnd(t), newEnd(t)
	r, err := openRelay([]relayed{{"eu", a.addr}, {"us", b.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a.WriteToUDPAddrPort([]byte("hello"), r.door(1))
	text, from := b.receive(t, 5*time.Second)
	if text != "hello" || from != r.door(0) {
		t.Fatalf("got %q from %v, want hello from a's door %v", text, from, r.door(0))
	}
	b.WriteToUDPAddrPort([]byte("and back"), from)
	if text, from := a.receive(t, 5*time.Second); text != "and back" || from != r.door(1) {
		t.Fatalf("got %q from %v, want the answer from b's door %v", text, from, r.door(1))
	}
}

func TestRelayCutsARegionOffAndHealsIt(t *testing.T) {
	a, b, c := newEnd(t), newEnd(t), newEnd(t)
	r, err := openRelay([]relayed{{"eu", a.addr}, {"us", b.addr}, {"eu", c.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.isolate("us")
	a.WriteToUDPAddrPort([]byte("lost"), r.door(1))
	a.WriteToUDPAddrPort([]byte("inside"), r.door(2))
	if text, _ := c.receive(t, 5*time.Second); text != "inside" {
		t.Fatalf("inside the region: got %q", text)
	}
	for r.swallowed() == 0 { // until the cut had the packet
		time.Sleep(time.Millisecond)
	}
	r.heal("us")
	a.WriteToUDPAddrPort([]byte("healed"), r.door(1))
	if text, _ := b.receive(t, 5*time.Second); text != "healed" {
		t.Fatalf("after the healing: got %q, want nothing of before", text)
	}
}

func TestRelayDropsPacketsOfStrangers(t *testing.T) {
	a, b, stranger := newEnd(t), newEnd(t), newEnd(t)
	r, err := openRelay([]relayed{{"eu", a.addr}, {"us", b.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stranger.WriteToUDPAddrPort([]byte("let me in"), r.door(1))
	a.WriteToUDPAddrPort([]byte("known"), r.door(1))
	if text, _ := b.receive(t, 5*time.Second); text != "known" {
		t.Fatalf("got %q, want only the known node's packet", text)
	}
}
