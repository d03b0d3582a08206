package wan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// port is a node's place in the network.
type port struct {
	region string
	real   netip.AddrPort
	conn   *net.UDPConn // what the others send to
}

// portBuffer is what a port's socket holds, in bytes. It is asked for and may
// be less: a small one only loses packets.
const portBuffer = 4 << 20

// Attach adds the node that will listen at a loopback address, and returns the
// address it must advertise.
func (e *Emulator) Attach(region string, real netip.AddrPort) (netip.AddrPort, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("wan: attach %s: %w", real, err)
	}
	_ = conn.SetReadBuffer(portBuffer)
	_ = conn.SetWriteBuffer(portBuffer)
	e.Place(region)
	p := &port{region: region, real: real, conn: conn}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.byReal[real] = p
	e.wg.Go(func() { e.read(p) })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// read takes the packets that are sent to a node.
func (e *Emulator) read(to *port) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := to.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP answer to an earlier packet: the node is not up
		}
		e.accept(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), to, buf[:n], time.Now())
	}
}

// accept takes a packet that was sent to a node, if one of ours sent it.
func (e *Emulator) accept(from netip.AddrPort, to *port, data []byte, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if sender := e.byReal[from]; sender != nil {
		e.carry(sender.region, to.region, data, func(b []byte) {
			_, _ = sender.conn.WriteToUDPAddrPort(b, to.real) // a node that is down loses its packets
		}, now)
	}
}
