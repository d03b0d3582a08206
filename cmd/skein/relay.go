package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// relay is the network between the demo's nodes: every node advertises a door
// of the relay in place of its own mesh port, so every packet of the mesh
// passes here, and the ways between two regions can be cut and healed without
// the nodes knowing.
//
// A packet that node A sends to B's door leaves through A's door to B's port:
// B sees A where A says it is, and its answer takes the same way back.
//
// Goroutines: one reader a door. Close waits for them.
type relay struct {
	doors  []*door
	byPort map[netip.AddrPort]*door // by the node's own port; never changes once open
	wg     sync.WaitGroup

	dropped atomic.Int64 // packets that cuts swallowed

	mu  sync.RWMutex // guards the field below
	cut map[[2]string]bool
}

// door is one node's place in the relay.
type door struct {
	region string
	port   netip.AddrPort // the node's own
	conn   *net.UDPConn   // what the others send to
}

// doorBuffer is what a door's socket holds, in bytes, so that a burst from
// five nodes does not overflow it.
const doorBuffer = 4 << 20

// relayed is a node that the relay stands in front of.
type relayed struct {
	region string
	port   netip.AddrPort
}

// openRelay opens a door on loopback for each node, in order.
func openRelay(nodes []relayed) (*relay, error) {
	r := &relay{byPort: map[netip.AddrPort]*door{}, cut: map[[2]string]bool{}}
	for _, n := range nodes {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the relay: %w", err), r.Close())
		}
		// A smaller buffer than asked for is a matter of speed alone.
		_ = conn.SetReadBuffer(doorBuffer)
		d := &door{region: n.region, port: n.port, conn: conn}
		r.doors = append(r.doors, d)
		r.byPort[n.port] = d
	}
	for _, d := range r.doors {
		r.wg.Go(func() { r.carry(d) })
	}
	return r, nil
}

// door is where others reach the i-th node.
func (r *relay) door(i int) netip.AddrPort {
	return r.doors[i].conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// isolate cuts all ways between a region and the others.
func (r *relay) isolate(region string) { r.set(region, true) }

// heal opens them again.
func (r *relay) heal(region string) { r.set(region, false) }

func (r *relay) set(region string, cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.doors {
		if d.region != region {
			r.cut[way(region, d.region)] = cut
		}
	}
}

// swallowed is the number of packets that cuts have dropped so far.
func (r *relay) swallowed() int64 { return r.dropped.Load() }

// carry takes what comes to one door to the node behind it, until the door
// closes.
func (r *relay) carry(to *door) {
	packet := make([]byte, 64<<10)
	for {
		n, from, err := to.conn.ReadFromUDPAddrPort(packet)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP answer to an earlier packet: the node is not up
		}
		sender := r.byPort[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]
		if sender == nil || !r.open(sender.region, to.region) {
			continue
		}
		// A packet that cannot be sent is lost, as packets may be.
		_, _ = sender.conn.WriteToUDPAddrPort(packet[:n], to.port)
	}
}

func (r *relay) open(a, b string) bool {
	r.mu.RLock()
	cut := r.cut[way(a, b)]
	r.mu.RUnlock()
	if cut {
		r.dropped.Add(1)
	}
	return !cut
}

// way is the pair of two regions, whichever comes first.
func way(a, b string) [2]string {
	if a > b {
		a, b = b, a
	}
	return [2]string{a, b}
}

// Close closes the doors and waits until nothing is carried any more.
func (r *relay) Close() error {
	var errs []error
	for _, d := range r.doors {
		errs = append(errs, d.conn.Close())
	}
	r.wg.Wait()
	return errors.Join(errs...)
}
