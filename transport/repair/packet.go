package repair

import "encoding/binary"

// The first byte of each packet, none of which QUIC's packets begin with.
const (
	kindNumbered = 2
	kindGuarded  = 3 // numbered, and parity follows
	kindBare     = 4
	kindParity   = 5
	kindReport   = 6
	kindPadding  = 7
)

const (
	// MaxPacket is the most bytes of a packet with its header.
	MaxPacket = 1452
	// Overhead is how many bytes longer the largest packet that is sent for one
	// can be than it.
	Overhead = parityHead + lengthSize
	// MaxInner is the most bytes of a packet that can be repaired.
	MaxInner = MaxPacket - Overhead

	numberHead = 9
	bareHead   = Overhead
	parityHead = 11
	lengthSize = 2
	reportSize = 19

	maxShard = MaxPacket - parityHead // bytes that parity is over
)

// Is reports whether a packet with this first byte may be one of this package's.
func Is(first byte) bool { return first >= kindNumbered && first <= kindPadding }

// Tag is the tag of a packet, for which Is must hold; ok is false when it is too
// short to have one.
func Tag(b []byte) (tag uint32, ok bool) {
	if len(b) < 5 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[1:]), true
}

// Strip is the packet within b, a packet of a peer that there is no Decoder
// for, or nil if there is none.
func Strip(b []byte) []byte {
	head := 0
	switch {
	case len(b) == 0:
	case b[0] == kindNumbered || b[0] == kindGuarded:
		head = numberHead
	case b[0] == kindBare:
		head = bareHead
	}
	if head == 0 || len(b) <= head {
		return nil
	}
	return b[head:]
}

// IsReport reports whether b is for Encoder.Report.
func IsReport(b []byte) bool { return len(b) == reportSize && b[0] == kindReport }

func appendHead(dst []byte, kind byte, tag, number uint32) []byte {
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint32(dst, tag)
	return binary.BigEndian.AppendUint32(dst, number)
}

// report is what a receiver tells: counts since its beginning, that wrap.
type report struct {
	echo, numbers, lost uint32
	largest             uint16
}

func (r report) append(dst []byte, tag uint32) []byte {
	dst = appendHead(dst, kindReport, tag, r.echo)
	dst = binary.BigEndian.AppendUint32(dst, r.numbers)
	dst = binary.BigEndian.AppendUint32(dst, r.lost)
	return binary.BigEndian.AppendUint16(dst, r.largest)
}

func readReport(b []byte) (r report, ok bool) {
	if !IsReport(b) {
		return r, false
	}
	return report{
		echo:    binary.BigEndian.Uint32(b[5:]),
		numbers: binary.BigEndian.Uint32(b[9:]),
		lost:    binary.BigEndian.Uint32(b[13:]),
		largest: binary.BigEndian.Uint16(b[17:]),
	}, true
}
