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
