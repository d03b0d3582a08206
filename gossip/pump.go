package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// pump is a memberlist.Transport over a Network.
type pump struct {
	self    netip.AddrPort
	net     Network
	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context
	cancel  context.CancelFunc
	once    sync.Once
	wg      sync.WaitGroup
}

// packetQueue is how many packets may wait for memberlist; more are dropped.
const packetQueue = 1024

func newPump(self netip.AddrPort, nw Network) *pump {
	p := &pump{
		self: netip.AddrPortFrom(self.Addr().Unmap(), self.Port()), net: nw,
		packets: make(chan *memberlist.Packet, packetQueue), streams: make(chan net.Conn),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wg.Go(p.readPackets)
	p.wg.Go(p.readStreams)
	return p
}

func (p *pump) readPackets() {
	buf := make([]byte, 2048)
	for {
		n, from, err := p.net.ReadPacket(buf)
		if err != nil {
			return
		}
		packet := &memberlist.Packet{
			Buf: append([]byte(nil), buf[:n]...), From: net.UDPAddrFromAddrPort(from), Timestamp: time.Now(),
		}
		select {
		case p.packets <- packet:
		default: // memberlist is behind; packets are lossy
		}
	}
}

func (p *pump) readStreams() {
	for {
		c, err := p.net.Accept()
		if err != nil {
			return
		}
		select {
		case p.streams <- c:
		case <-p.ctx.Done():
			c.Close()
			return
		}
	}
}

// FinalAdvertiseAddr is the node's address as others reach it.
func (p *pump) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return p.self.Addr().AsSlice(), int(p.self.Port()), nil
}

// WriteTo sends a packet, which may be lost.
func (p *pump) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err == nil {
		err = p.net.WritePacket(b, to)
	}
	return time.Now(), err
}

func (p *pump) PacketCh() <-chan *memberlist.Packet { return p.packets }
func (p *pump) StreamCh() <-chan net.Conn           { return p.streams }

// DialTimeout opens a stream.
func (p *pump) DialTimeout(addr string, d time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("gossip: dial: %w", err)
	}
	ctx, cancel := context.WithTimeout(p.ctx, d)
	defer cancel()
	return p.net.DialAddr(ctx, to)
}

// Shutdown closes the network and waits for the readers.
func (p *pump) Shutdown() (err error) {
	p.once.Do(func() {
		p.cancel()
		err = p.net.Close()
		if errors.Is(err, net.ErrClosed) {
			err = nil
		}
		p.wg.Wait()
	})
	return err
}
