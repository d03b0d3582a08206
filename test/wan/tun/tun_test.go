package tun

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skeinmesh/skein/test/wan"
)

// open makes two sites, eu and us, or skips the test where there can be none.
func open(t *testing.T) (*wan.Emulator, *Site, *Site) {
	t.Helper()
	e := wan.New(1)
	sites, err := Open(e, "eu", "us")
	if errors.Is(err, ErrUnsupported) {
		t.Skipf("SKIPPED, for it needs root on Linux: %v", errors.Join(err, e.Close()))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range sites {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, sites["eu"], sites["us"]
}

const (
	port     = 7000
	oneWay   = 40 * time.Millisecond
	patience = time.Minute // tells a slow machine from a broken network
)

// in does something in a site that must not fail.
func in(t *testing.T, s *Site, f func() error) {
	t.Helper()
	if err := s.Do(f); err != nil {
		t.Fatal(err)
	}
}

// packets opens a UDP socket in a site.
func packets(t *testing.T, s *Site) (conn *net.UDPConn) {
	t.Helper()
	in(t, s, func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.Addr(), port)))
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestAPingOverAnEmulatedLinkTakesItsRoundTrip(t *testing.T) {
	e, eu, us := open(t)
	e.SetBoth("eu", "us", wan.Conditions{Delay: oneWay})
	here, there := packets(t, eu), packets(t, us)
	var echo sync.WaitGroup
	echo.Go(func() {
		buf := make([]byte, MTU)
		for {
			n, from, err := there.ReadFromUDPAddrPort(buf)
			if err != nil {
				return // closed
			}
			if _, err := there.WriteToUDPAddrPort(buf[:n], from); err != nil {
				t.Errorf("echo: %v", err)
			}
		}
	})
	defer echo.Wait()
	defer there.Close()

	ping := func(wait time.Duration) (took time.Duration, err error) {
		begin, buf := time.Now(), make([]byte, MTU)
		if _, err := here.WriteToUDPAddrPort([]byte("ping"), netip.AddrPortFrom(us.Addr(), port)); err != nil {
			return 0, err
		}
		here.SetReadDeadline(begin.Add(wait))
		_, _, err = here.ReadFromUDPAddrPort(buf)
		return time.Since(begin), err
	}
	for range 3 {
		if took, err := ping(patience); err != nil || took < 2*oneWay {
			t.Errorf("a ping took %v, less than the link's round trip of %v: %v", took, 2*oneWay, err)
		}
	}
	e.Isolate("us", true)
	if took, err := ping(4 * oneWay); err == nil {
		t.Errorf("a ping passed a cut, in %v", took)
	}
	e.Isolate("us", false)
	if _, err := ping(patience); err != nil {
		t.Errorf("after the heal: %v", err)
	}
}

func TestATCPTransferOverAnEmulatedLinkIsWholeAndNoFasterThanTheLink(t *testing.T) {
	const size, bandwidth = 3 << 20, 4 << 20 // bytes, bytes per second
	e, eu, us := open(t)
	e.SetBoth("eu", "us", wan.Conditions{Delay: oneWay, Loss: 0.001, Bandwidth: bandwidth})

	var listener net.Listener
	in(t, us, func() (err error) {
		listener, err = net.Listen("tcp4", netip.AddrPortFrom(us.Addr(), port).String())
		return err
	})
	defer listener.Close()
	got := sha256.New()
	var receiver sync.WaitGroup
	receiver.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer conn.Close()
		if _, err := io.Copy(got, conn); err != nil {
			t.Errorf("receive: %v", err)
		}
		if _, err := conn.Write([]byte("done")); err != nil {
			t.Errorf("acknowledge: %v", err)
		}
	})
	defer receiver.Wait()

	begin := time.Now()
	var conn net.Conn
	in(t, eu, func() (err error) {
		conn, err = net.DialTimeout("tcp4", listener.Addr().String(), patience)
		return err
	})
	defer conn.Close()
	if took := time.Since(begin); took < 2*oneWay {
		t.Errorf("it connected in %v, less than the round trip", took)
	}
	conn.SetDeadline(begin.Add(2 * patience))
	data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); string(answer) != "done" {
		t.Fatalf("it was answered %q: %v", answer, err)
	}
	took := time.Since(begin)
	receiver.Wait()
	if sum := sha256.Sum256(data); !bytes.Equal(got.Sum(nil), sum[:]) {
		t.Error("other bytes came than were sent")
	}
	if least := time.Duration(float64(size) / bandwidth * float64(time.Second)); took < least {
		t.Errorf("it took %v, which the bandwidth does not allow in less than %v", took, least)
	}
	s := e.Stats("eu", "us")
	if s.Sent < size/MTU || s.Lost == 0 {
		t.Errorf("the transfer did not pass the emulator: %+v", s)
	}
	t.Logf("%d bytes in %v, %d packets and %d lost", size, took.Round(time.Millisecond), s.Sent, s.Lost)
}

func TestAProcessStartedInASiteHasItsNetworkAndNoOther(t *testing.T) {
	_, eu, _ := open(t)
	cmd := exec.Command("cat", "/proc/self/net/dev")
	var out strings.Builder
	cmd.Stdout = &out
	in(t, eu, cmd.Start)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	var devices []string
	for line := range strings.Lines(out.String()) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			devices = append(devices, name)
		}
	}
	for _, d := range devices {
		if d != "lo" && d != device {
			t.Errorf("the site has the device %s", d)
		}
	}
	if len(devices) != 2 {
		t.Errorf("the site has the devices %v", devices)
	}
}
