package tun

import (
	"bytes"
	"net"
	"net/netip"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConnectionsOfASiteUseTheCongestionControlItIsTold(t *testing.T) {
	_, eu, us := open(t)
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skipf("SKIPPED, for it needs the command ip: %v", err)
	}
	const told = "reno" // every kernel has it, and few have it as their default
	if err := us.Congestion("no-such-control"); err == nil {
		t.Error("a congestion control that does not exist was taken")
	}
	for _, s := range []*Site{eu, us} {
		if err := s.Congestion(told); err != nil {
			t.Fatal(err)
		}
	}
	var listener net.Listener
	in(t, us, func() (err error) {
		listener, err = net.Listen("tcp4", netip.AddrPortFrom(us.Addr(), port).String())
		return err
	})
	defer listener.Close()
	var dialled, accepted net.Conn
	in(t, eu, func() (err error) {
		dialled, err = net.DialTimeout("tcp4", listener.Addr().String(), patience)
		return err
	})
	defer dialled.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	for _, c := range []net.Conn{dialled, accepted} {
		if got := congestion(t, c); got != told {
			t.Errorf("%v to %v uses %s", c.LocalAddr(), c.RemoteAddr(), got)
		}
	}
}

// congestion is the congestion control that a TCP connection uses.
func congestion(t *testing.T, c net.Conn) (name string) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got error
	err = raw.Control(func(fd uintptr) {
		name, got = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	})
	if err != nil || got != nil {
		t.Fatal(err, got)
	}
	return string(bytes.TrimRight([]byte(name), "\x00"))
}
