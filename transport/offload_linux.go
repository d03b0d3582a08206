package transport

import (
	"encoding/binary"
	"net"

	"golang.org/x/sys/unix"
)

// offloadReceive asks the kernel to join packets, and reports whether it will.
// Linux does since 5.0; see udp(7), UDP_GRO.
func offloadReceive(conn *net.UDPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var refused error
	if err := raw.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	}); err != nil {
		return false
	}
	return refused == nil
}

// segmentSize is the size of the packets that were joined, in bytes, as the
// control messages beside them tell; 0 for a packet that came alone.
func segmentSize(control []byte) int {
	for len(control) > 0 {
		head, body, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return 0
		}
		if head.Level == unix.IPPROTO_UDP && head.Type == unix.UDP_GRO && len(body) >= 4 {
			return int(binary.NativeEndian.Uint32(body))
		}
		control = rest
	}
	return 0
}

// cutAt is the size of the packets into which the kernel shall cut what is sent,
// in bytes, as control says, and where it says so; -1 if it does not.
func cutAt(control []byte) (size, at int) {
	for rest := control; len(rest) > 0; {
		head, body, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			return 0, -1
		}
		if head.Level == unix.IPPROTO_UDP && head.Type == unix.UDP_SEGMENT && len(body) >= 2 {
			return int(binary.NativeEndian.Uint16(body)), len(control) - len(rest) + unix.CmsgSpace(0)
		}
		rest = next
	}
	return 0, -1
}

// setCut changes what cutAt has found.
func setCut(control []byte, at, size int) {
	if at >= 0 {
		binary.NativeEndian.PutUint16(control[at:], uint16(size))
	}
}
