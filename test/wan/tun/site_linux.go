package tun

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/skeinmesh/skein/test/wan"
)

// The sites' network is 10.77.0.0/24, whose addresses bound their number.
const (
	maxSites   = 250
	prefixBits = 24
)

// Site is a place of the emulated network. Its methods may be called by any
// goroutine.
type Site struct {
	name string
	addr netip.Addr
	ns   *os.File // keeps the namespace
	tun  *os.File
	wg   sync.WaitGroup
}

// Open makes a site of each name, which are places of the emulator. The caller
// closes the sites before the emulator.
func Open(e *wan.Emulator, names ...string) (sites map[string]*Site, err error) {
	if len(names) > maxSites {
		return nil, fmt.Errorf("tun: %d sites, %d are possible", len(names), maxSites)
	}
	sites = map[string]*Site{}
	defer func() {
		if err != nil {
			for _, s := range sites {
				err = errors.Join(err, s.Close())
			}
			sites = nil
		}
	}()
	byAddr := map[netip.Addr]*Site{}
	for i, name := range names {
		s := &Site{name: name, addr: netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)})}
		if err := s.open(); err != nil {
			return sites, fmt.Errorf("tun: open site %s: %w", name, err)
		}
		sites[name] = s
		byAddr[s.addr] = s
		e.Place(name)
	}
	for _, s := range sites {
		s.wg.Go(func() { s.read(e, byAddr) })
	}
	return sites, nil
}

// Addr is the site's address, as all other sites reach it.
func (s *Site) Addr() netip.Addr { return s.addr }

// Do calls f in the site: processes that f starts and sockets that it makes are
// there. It calls f on a thread that is not used again, and waits for it; what f
// starts in other goroutines is elsewhere.
func (s *Site) Do(f func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("tun: enter site %s: %w", s.name, os.NewSyscallError("setns", err))
		}
		return f()
	})
}

// Congestion makes TCP connections from and to the site, opened from now on, use
// a congestion control of the kernel's, such as "cubic" or "bbr", on this side;
// other sites and the host keep theirs. It needs the command ip.
func (s *Site) Congestion(control string) error {
	network := netip.PrefixFrom(s.addr, prefixBits).Masked()
	// By the route: what the kernel restricts, a namespace may not set as its default.
	cmd := exec.Command("ip", "-4", "route", "replace", network.String(), "dev", device,
		"proto", "kernel", "scope", "link", "src", s.addr.String(), "congctl", control)
	var out []byte
	err := s.Do(func() (err error) {
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		return fmt.Errorf("tun: congestion control %s in site %s: %w %s", control, s.name, err, bytes.TrimSpace(out))
	}
	return nil
}

// SetMTU changes the MTU of the site's device, in bytes, which begins with MTU.
func (s *Site) SetMTU(bytes int) error {
	err := s.Do(func() error {
		sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(sock)
		return configure(sock, device, func(r *unix.Ifreq) { r.SetUint32(uint32(bytes)) }, unix.SIOCSIFMTU)
	})
	if err != nil {
		return fmt.Errorf("tun: MTU of site %s: %w", s.name, err)
	}
	return nil
}

// Close ends the site's part of the network. Processes in it are not ended, but
// reach nobody any more.
func (s *Site) Close() error {
	err := errors.Join(s.tun.Close(), s.ns.Close())
	s.wg.Wait()
	return err
}

// onOwnThread calls f on a thread that ends with it, so that what f does to the
// thread happens to nobody else.
func onOwnThread(f func() error) (err error) {
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread() // and never unlocked, which ends the thread
		err = f()
	})
	wg.Wait()
	return err
}

// open makes the namespace and the device in it.
func (s *Site) open() error {
	return onOwnThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return errors.Join(ErrUnsupported, os.NewSyscallError("unshare", err))
		}
		if s.ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if err = s.connect(); err != nil {
			return errors.Join(err, s.ns.Close())
		}
		return nil
	})
}

// connect makes and configures the device, in the namespace of the thread.
func (s *Site) connect() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return errors.Join(ErrUnsupported, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err})
	}
	err = configure(fd, device, func(r *unix.Ifreq) { r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI) }, unix.TUNSETIFF)
	if err != nil {
		return errors.Join(ErrUnsupported, err, unix.Close(fd))
	}
	// Only now: what polls a file that is no device yet never hears of it.
	s.tun = os.NewFile(uintptr(fd), "/dev/net/tun")
	if err = s.address(); err != nil {
		err = errors.Join(err, s.tun.Close())
	}
	return err
}

// address gives the device its address, and takes it and the loopback one up.
func (s *Site) address() error {
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(sock)
	inet := func(addr [4]byte) func(*unix.Ifreq) {
		return func(r *unix.Ifreq) { _ = r.SetInet4Addr(addr[:]) } // fails only for another length
	}
	up := func(r *unix.Ifreq) { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING) }
	return errors.Join(
		configure(sock, device, inet(s.addr.As4()), unix.SIOCSIFADDR),
		configure(sock, device, inet([4]byte(net.CIDRMask(prefixBits, 32))), unix.SIOCSIFNETMASK),
		configure(sock, device, func(r *unix.Ifreq) { r.SetUint32(MTU) }, unix.SIOCSIFMTU),
		configure(sock, device, func(r *unix.Ifreq) { r.SetUint32(queueLength) }, unix.SIOCSIFTXQLEN),
		configure(sock, device, up, unix.SIOCSIFFLAGS),
		configure(sock, "lo", up, unix.SIOCSIFFLAGS),
	)
}

// queueLength is how many packets may wait for us to read them: enough that
// what is lost is lost by the emulator.
const queueLength = 10_000

func configure(fd int, name string, set func(*unix.Ifreq), request uint) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	set(r)
	if err := unix.IoctlIfreq(fd, request, r); err != nil {
		return fmt.Errorf("configure %s, request %#x: %w", name, request, err)
	}
	return nil
}

// read takes what leaves the site to where it goes.
func (s *Site) read(e *wan.Emulator, sites map[netip.Addr]*Site) {
	buf := make([]byte, 64<<10)
	for {
		n, err := s.tun.Read(buf)
		if err != nil {
			return // closed
		}
		if to := sites[destination(buf[:n])]; to != nil && to != s {
			e.Carry(s.name, to.name, buf[:n], to.arrive)
		}
	}
}

// arrive gives the site a packet; one that it cannot take is lost.
func (s *Site) arrive(packet []byte) { _, _ = s.tun.Write(packet) }

// destination is where an IPv4 packet goes; the zero address if it is none.
func destination(packet []byte) netip.Addr {
	const headerSize, version, to = 20, 4, 16
	if len(packet) < headerSize || packet[0]>>4 != version {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(packet[to:]))
}
