package transport

import (
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/skeinmesh/skein/transport/repair"
)

// peeler is a UDP socket for quic-go to read. Packets that are not QUIC's it
// keeps to itself, or has the mender make some of QUIC's of them.
//
// Where the kernel can, it hands over a train of packets of one sender as one
// piece (generic receive offload), and the peeler cuts it up: that saves most
// of what receiving a packet costs, and on one machine the kernel then never
// cuts up what a sender gave to it in one piece.
type peeler struct {
	*net.UDPConn
	batch   *ipv4.PacketConn
	mender  *mender
	packets chan packet
	dropped *atomic.Uint64

	trains []ipv4.Message // what was read last; nil without receive offload
	next   int            // the first of trains that is not used up
	cut    int            // bytes of it that are
}

const (
	trainsAtOnce = 4        // read with one system call
	trainSize    = 64 << 10 // the most that the kernel joins, in bytes
	trainControl = 128      // bytes of control messages beside a train
)

func newPeeler(conn *net.UDPConn, dropped *atomic.Uint64) *peeler {
	p := &peeler{UDPConn: conn, batch: ipv4.NewPacketConn(conn), packets: make(chan packet, packetQueue), dropped: dropped}
	p.mender = newMender(conn.WriteMsgUDP, conn.SetReadDeadline)
	if offloadReceive(conn) {
		p.trains = make([]ipv4.Message, trainsAtOnce)
		for i := range p.trains {
			p.trains[i].Buffers = [][]byte{make([]byte, trainSize)}
			p.trains[i].OOB = make([]byte, trainControl)
		}
		p.next = trainsAtOnce
	}
	return p
}

// ReadBatch is what quic-go reads with, if there is such a method. A packet
// that is taken out stays in the batch as an empty one, which quic-go ignores:
// it does not expect an empty batch. One goroutine calls it.
func (p *peeler) ReadBatch(messages []ipv4.Message, flags int) (int, error) {
	for {
		if n := p.mender.hand(messages); n > 0 {
			return n, nil
		}
		p.mender.sleep()
		n, err := p.receive(messages, flags)
		if err != nil && p.mender.woken(err) {
			continue
		}
		for i := range messages[:max(n, 0)] {
			p.peel(&messages[i])
		}
		return n, err
	}
}

// peel takes a packet out that is not QUIC's.
func (p *peeler) peel(m *ipv4.Message) {
	b := m.Buffers[0][:m.N]
	switch {
	case len(b) == 0 || b[0] >= 0x40:
	case repair.Is(b[0]):
		p.mender.take(m)
	default:
		m.N, m.NN = 0, 0
		if b[0] != packetMark {
			return
		}
		select {
		case p.packets <- packet{append([]byte(nil), b[1:]...), addrPort(m.Addr)}:
		default:
			p.dropped.Add(1)
		}
	}
}

// WriteMsgUDP is what quic-go writes with.
func (p *peeler) WriteMsgUDP(b, control []byte, to *net.UDPAddr) (n, controlN int, err error) {
	if len(b) == 0 || b[0] < 0x40 {
		return p.UDPConn.WriteMsgUDP(b, control, to)
	}
	return p.mender.write(b, control, to)
}

// SetReadDeadline is what quic-go ends a read with.
func (p *peeler) SetReadDeadline(t time.Time) error { return p.mender.quicDeadline(t) }

// receive fills messages with at least one packet.
func (p *peeler) receive(messages []ipv4.Message, flags int) (int, error) {
	if p.trains == nil {
		return p.batch.ReadBatch(messages, flags)
	}
	if p.next == len(p.trains) {
		p.trains = p.trains[:trainsAtOnce]
		n, err := p.batch.ReadBatch(p.trains, flags)
		if n <= 0 || err != nil {
			p.next, p.trains = 0, p.trains[:0]
			return n, err
		}
		p.next, p.cut, p.trains = 0, 0, p.trains[:n]
	}
	n := 0
	for n < len(messages) && p.next < len(p.trains) {
		p.cutInto(&messages[n])
		n++
	}
	return n, nil
}

// cutInto moves the next packet of a train into m. What is longer than m has
// room for is cut off, as the kernel does.
func (p *peeler) cutInto(m *ipv4.Message) {
	train := &p.trains[p.next]
	rest := train.Buffers[0][p.cut:train.N]
	size := len(rest)
	if s := segmentSize(train.OOB[:train.NN]); s > 0 {
		size = min(s, size)
	}
	m.N = copy(m.Buffers[0], rest[:size])
	m.NN = copy(m.OOB, train.OOB[:train.NN])
	m.Addr, m.Flags = train.Addr, train.Flags
	if p.cut += size; p.cut >= train.N {
		p.next, p.cut = p.next+1, 0
	}
}
