package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/skeinmesh/skein/test/wan"
	"github.com/skeinmesh/skein/test/wan/tun"
)

// The link between two regions. Its bandwidth and queue, of a quarter second,
// are more than either system fills on it: delay and loss are what is measured.
const (
	linkDelay     = 40 * time.Millisecond // one way
	linkBandwidth = 1e9 / 8               // bytes per second
	linkQueue     = 32 << 20              // bytes
	near, far     = "near", "far"         // its two ends, which are regions
)

// tcp is how the kernel's TCP works over a link; the zero value is as the host
// does.
type tcp struct {
	name    string
	control string // of congestion
	buffers string // "least default most", in bytes
}

// tuned is enough for a link several times as long as ours, so that it is not
// the limit as the most of Linux' default is.
const tuned = "4096 131072 67108864"

// stacks are what peers that use TCP are measured with.
var stacks = []tcp{
	{name: "CUBIC", control: "cubic"},
	{name: "CUBIC, 64 MiB buffers", control: "cubic", buffers: tuned},
	{name: "BBR", control: "bbr"},
	{name: "BBR, 64 MiB buffers", control: "bbr", buffers: tuned},
}

// link is an emulated link between two sites, each a region.
type link struct {
	emulator *wan.Emulator
	sites    map[string]*tun.Site
}

// openLink opens a link that loses a share of the packets.
func openLink(seed uint64, loss float64, stack tcp) (l *link, err error) {
	l = &link{emulator: wan.New(seed)}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.sites, err = tun.Open(l.emulator, near, far); err != nil {
		return l, err
	}
	l.emulator.SetBoth(near, far, wan.Conditions{Delay: linkDelay, Loss: loss, Bandwidth: linkBandwidth, Queue: linkQueue})
	for _, s := range l.sites {
		if err := stack.apply(s); err != nil {
			return l, err
		}
	}
	return l, nil
}

func (t tcp) apply(at *tun.Site) error {
	if t.buffers != "" {
		for _, name := range []string{"tcp_rmem", "tcp_wmem"} {
			set := func() error { return os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(t.buffers), 0) }
			if err := at.Do(set); err != nil {
				return fmt.Errorf("buffers of TCP: %w", err)
			}
		}
	}
	if t.control == "" {
		return nil
	}
	return at.Congestion(t.control)
}

// seats are so many in the near region, first, and so many in the far one.
func (l *link) seats(local, remote int) (seats []seat) {
	for i := range local {
		seats = append(seats, l.seat(near, i))
	}
	for i := range remote {
		seats = append(seats, l.seat(far, i))
	}
	return seats
}

func (l *link) seat(region string, i int) seat {
	s := l.sites[region]
	return seat{name: fmt.Sprintf("%s-%d", region, i), region: region, ip: s.Addr().String(), site: s}
}

// bytes is how much has crossed the link, in both directions, as IP packets.
func (l *link) bytes() uint64 {
	return l.emulator.Stats(near, far).Bytes + l.emulator.Stats(far, near).Bytes
}

func (l *link) close() error {
	var errs []error
	for _, s := range l.sites {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, l.emulator.Close())...)
}
