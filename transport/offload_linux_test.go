package transport

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// segmented is a control message that has the kernel cut what is sent into
// packets of the given size.
func segmented(size uint16) []byte {
	b := make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], size)
	return b
}

func TestATrainOfPacketsIsReadPacketByPacket(t *testing.T) {
	open := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	from, to := open(), open()
	var dropped atomic.Uint64
	p := newPeeler(to, &dropped)
	if p.trains == nil {
		t.Skip("this kernel joins no received packets")
	}

	// Five of QUIC's packets, gossip's second in the train, the last one short;
	// then a packet that came alone.
	var train []byte
	var want [][]byte
	for i := range 6 {
		b := bytes.Repeat([]byte{0x40 + byte(i)}, 1200)
		switch i {
		case 1:
			b[0] = packetMark
		case 5:
			b = b[:70]
		}
		train = append(train, b...)
		want = append(want, b)
	}
	alone := []byte{0xff, 1, 2}
	want = append(want, alone)
	dest := to.LocalAddr().(*net.UDPAddr)
	if _, _, err := from.WriteMsgUDP(train, segmented(1200), dest); err != nil {
		t.Fatal(err)
	}
	if _, err := from.WriteTo(alone, dest); err != nil {
		t.Fatal(err)
	}

	messages := make([]ipv4.Message, 4) // fewer than the train holds
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, 1452)}
		messages[i].OOB = make([]byte, 128)
	}
	for i := 0; i < len(want); {
		n, err := p.ReadBatch(messages, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages[:n] {
			w := want[i]
			if i == 1 {
				w = nil // not for QUIC
			}
			if got := m.Buffers[0][:m.N]; !bytes.Equal(got, w) {
				t.Errorf("packet %d: %d bytes %.4x…, want %d bytes %.4x…", i, len(got), got, len(w), w)
			}
			if addrPort(m.Addr) != addrPort(from.LocalAddr()) {
				t.Errorf("packet %d is from %v", i, m.Addr)
			}
			i++
		}
	}
	if got := <-p.packets; !bytes.Equal(got.data, want[1][1:]) || got.from != addrPort(from.LocalAddr()) {
		t.Errorf("beside QUIC: %d bytes from %v", len(got.data), got.from)
	}
}
