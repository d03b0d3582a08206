package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/skeinmesh/skein/test/wan"
	"github.com/skeinmesh/skein/test/wan/tun"
)

// TestLossIsRepairedWhateverTheMTU is over real sockets in network namespaces,
// whose kernel cuts trains and refuses packets above the MTU. 1500 bytes leave
// room for what repair adds to QUIC's largest packets; 1460, which Google's cloud
// has, do not.
func TestLossIsRepairedWhateverTheMTU(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures")
	}
	for _, mtu := range []int{1500, 1460} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			const loss, lasting = 0.002, 6 * time.Second
			e := wan.New(1)
			sites, err := tun.Open(e, "eu", "us")
			if errors.Is(err, tun.ErrUnsupported) {
				t.Skipf("SKIPPED, for it needs root on Linux: %v", errors.Join(err, e.Close()))
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { // after the nodes have closed
				for _, s := range sites {
					s.Close()
				}
				e.Close()
			})
			e.SetBoth("eu", "us", wan.Conditions{Delay: 40 * time.Millisecond, Loss: loss, Bandwidth: 1e8 / 8, Queue: 4 << 20})
			at := func(site string) (conn *net.UDPConn) {
				s := sites[site]
				err := errors.Join(s.SetMTU(mtu), s.Do(func() (err error) {
					conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.Addr(), 7420)))
					return err
				}))
				if err != nil {
					t.Fatal(err)
				}
				return conn
			}
			a, b := open(t, at("eu"), "a"), open(t, at("us"), "b")
			linkUp(a, b)
			flood(t, a, b, lasting) // lanes open, and find their packet sizes
			lost, rebuilt := e.Stats("eu", "us").Lost, b.Stats().PacketsRebuilt
			rate := float64(flood(t, a, b, lasting)) / (lasting / 2).Seconds() / 1e6
			lost, rebuilt = e.Stats("eu", "us").Lost-lost, b.Stats().PacketsRebuilt-rebuilt
			t.Logf("%.2f MB/s on %d lanes; the network lost %d packets, %d were rebuilt", rate, a.Links()[0].Lanes, lost, rebuilt)
			if rebuilt < lost/2 { // parity gets lost as well, and a busy machine is late
				t.Errorf("%d packets of %d were rebuilt", rebuilt, lost)
			}
		})
	}
}
