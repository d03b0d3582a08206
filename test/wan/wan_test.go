package wan

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"
)

// pair attaches two sockets in two regions, and returns them with the address
// under which each sees the other.
func pair(t *testing.T, e *Emulator) (a, b *net.UDPConn, toA, toB netip.AddrPort) {
	t.Helper()
	open := func(region string) (*net.UDPConn, netip.AddrPort) {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetReadBuffer(4 << 20); err != nil {
			t.Fatal(err)
		}
		adv, err := e.Attach(region, c.LocalAddr().(*net.UDPAddr).AddrPort())
		if err != nil {
			t.Fatal(err)
		}
		return c, adv
	}
	a, toA = open("eu")
	b, toB = open("us")
	return a, b, toA, toB
}

func start(t *testing.T) *Emulator {
	e := New(1)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// receive reads packets until none comes for the given time.
func receive(t *testing.T, c *net.UDPConn, quiet time.Duration) (numbers []uint32, from netip.AddrPort) {
	t.Helper()
	buf := make([]byte, 2048)
	for {
		c.SetReadDeadline(time.Now().Add(quiet))
		_, addr, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return numbers, from
		}
		from = addr
		numbers = append(numbers, binary.BigEndian.Uint32(buf))
	}
}

func send(t *testing.T, c *net.UDPConn, to netip.AddrPort, count int) {
	t.Helper()
	for i := range count {
		if _, err := c.WriteToUDPAddrPort(append(binary.BigEndian.AppendUint32(nil, uint32(i)), make([]byte, 996)...), to); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNodesSeeEachOtherUnderTheirAdvertisedAddresses(t *testing.T) {
	e := start(t)
	a, b, toA, toB := pair(t, e)
	e.SetBoth("eu", "us", Conditions{Delay: 20 * time.Millisecond})
	begin := time.Now()
	send(t, a, toB, 1)
	got, from := receive(t, b, 200*time.Millisecond)
	if len(got) != 1 || from != toA {
		t.Fatalf("got %d packets from %s, want 1 from %s", len(got), from, toA)
	}
	if took := time.Since(begin); took < 20*time.Millisecond {
		t.Errorf("took %v, want at least the delay", took)
	}
	send(t, b, toA, 1)
	if got, from := receive(t, a, 200*time.Millisecond); len(got) != 1 || from != toB {
		t.Errorf("the answer: %d packets from %s, want 1 from %s", len(got), from, toB)
	}
}

func TestJitterKeepsOrderAndReorderDoesNot(t *testing.T) {
	e := start(t)
	a, b, _, toB := pair(t, e)
	outOfOrder := func(c Conditions) int {
		e.Set("eu", "us", c)
		send(t, a, toB, 200)
		got, _ := receive(t, b, 200*time.Millisecond)
		if len(got) != 200 {
			t.Fatalf("%d of 200 arrived", len(got))
		}
		n := 0
		for i := 1; i < len(got); i++ {
			if got[i] < got[i-1] {
				n++
			}
		}
		return n
	}
	if n := outOfOrder(Conditions{Delay: 10 * time.Millisecond, Jitter: 10 * time.Millisecond}); n != 0 {
		t.Errorf("jitter reordered %d packets", n)
	}
	if n := outOfOrder(Conditions{Delay: 40 * time.Millisecond, Reorder: 0.2}); n == 0 {
		t.Error("nothing was reordered")
	}
}

func TestLossBandwidthAndCutsTakePackets(t *testing.T) {
	e := start(t)
	a, b, _, toB := pair(t, e)

	e.Set("eu", "us", Conditions{Loss: 0.3})
	send(t, a, toB, 500)
	got, _ := receive(t, b, 200*time.Millisecond)
	if len(got) < 300 || len(got) > 400 {
		t.Errorf("%d of 500 arrived at 30 %% loss", len(got))
	}

	e.Set("eu", "us", Conditions{Bandwidth: 1 << 20, Queue: 100_000})
	begin := time.Now()
	send(t, a, toB, 300)
	got, _ = receive(t, b, 200*time.Millisecond)
	if n := len(got); n < 95 || n > 130 { // what the queue holds, and what left while the others came
		t.Errorf("%d packets of 1000 bytes passed a queue of 100 000", n)
	}
	if took := time.Since(begin) - 200*time.Millisecond; took < 80*time.Millisecond {
		t.Errorf("100 kB at 1 MiB/s took %v", took)
	}

	e.Isolate("us", true)
	send(t, a, toB, 10)
	if got, _ := receive(t, b, 100*time.Millisecond); len(got) != 0 {
		t.Errorf("%d packets passed a cut", len(got))
	}
	e.Isolate("us", false)
	send(t, a, toB, 10)
	if got, _ := receive(t, b, 100*time.Millisecond); len(got) != 10 {
		t.Errorf("%d of 10 packets passed after the cut", len(got))
	}
	if s := e.Stats("eu", "us"); s.Backlog != 0 || s.Sent == 0 || s.Lost == 0 {
		t.Errorf("counters %+v", s)
	}
}

func TestACutOfOneDirectionLeavesTheOtherOpen(t *testing.T) {
	e := start(t)
	a, b, toA, toB := pair(t, e)
	direct := func(text string) {
		s, err := Parse(text)
		if err == nil {
			err = e.Run(t.Context(), s)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	passes := func(from, to *net.UDPConn, addr netip.AddrPort) bool {
		send(t, from, addr, 10)
		got, _ := receive(t, to, 200*time.Millisecond)
		return len(got) == 10
	}
	direct("at 0s cut eu -> us")
	if passes(a, b, toB) || !passes(b, a, toA) {
		t.Error("a cut from eu to us did not stop that, or stopped the other way")
	}
	direct("at 0s heal eu -> us")
	if !passes(a, b, toB) {
		t.Error("it did not heal")
	}
}
