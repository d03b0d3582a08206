package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/skeinmesh/skein/store"
)

// formatVersion is the version of the files this code writes and reads.
const formatVersion = 1

// maxName is the longest name of a mesh or a node, in bytes.
const maxName = 128

// headersSize is what lies before the first round: the header, twice.
const headersSize = 2 * sectorSize

const fileSuffix = ".journal"

var magic = [8]byte{'s', 'k', 'e', 'i', 'n', 'j', 'n', 'l'}

// header begins a segment. It fills a sector and is written twice, so that a
// sector that goes bad costs nothing.
//
//	 0  magic "skeinjnl"
//	 8  version of the format (4), always there in every version
//	12  CRC32C of the sector with this field 0 (4)
//	16  sequence number of the segment (8)
//	24  salt of the journal (4), zero (4)
//	32  the number of the segment's first round (8)
//	40  bytes of the segment before, up to which it was synced (8)
//	48  bytes that the file was allocated with (8)
//	56  length of the mesh (1), length of the node (1), mesh, node
type header struct {
	version    uint32
	sequence   uint64
	salt       uint32
	firstRound uint64
	before     int64
	allocated  int64
	mesh, node string
}

// put appends the header, twice.
func (h *header) put(buf []byte) []byte {
	var b [sectorSize]byte
	copy(b[:], magic[:])
	binary.LittleEndian.PutUint32(b[8:], h.version)
	binary.LittleEndian.PutUint64(b[16:], h.sequence)
	binary.LittleEndian.PutUint32(b[24:], h.salt)
	binary.LittleEndian.PutUint64(b[32:], h.firstRound)
	binary.LittleEndian.PutUint64(b[40:], uint64(h.before))
	binary.LittleEndian.PutUint64(b[48:], uint64(h.allocated))
	b[56], b[57] = byte(len(h.mesh)), byte(len(h.node))
	copy(b[58+copy(b[58:], h.mesh):], h.node)
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[:], castagnoli))
	return append(append(buf, b[:]...), b[:]...)
}

// readHeader reads one of the two copies of a header. A later version is
// ErrNewer, as far as its magic and version can be read; all else that is not
// understood is ErrCorrupt.
func readHeader(sector []byte) (h header, err error) {
	if len(sector) < sectorSize || !bytes.Equal(sector[:8], magic[:]) {
		return h, store.ErrCorrupt
	}
	var b [sectorSize]byte
	copy(b[:], sector)
	h.version = binary.LittleEndian.Uint32(b[8:])
	sum := binary.LittleEndian.Uint32(b[12:])
	clear(b[12:16])
	if sum != crc32.Checksum(b[:], castagnoli) {
		return h, store.ErrCorrupt
	}
	if h.version > formatVersion {
		return h, fmt.Errorf("format %d, this one knows up to %d: %w", h.version, formatVersion, store.ErrNewer)
	}
	h.sequence = binary.LittleEndian.Uint64(b[16:])
	h.salt = binary.LittleEndian.Uint32(b[24:])
	h.firstRound = binary.LittleEndian.Uint64(b[32:])
	h.before = int64(binary.LittleEndian.Uint64(b[40:]))
	h.allocated = int64(binary.LittleEndian.Uint64(b[48:]))
	mesh, node := int(b[56]), int(b[57])
	if h.version == 0 || mesh > maxName || node > maxName || h.before < 0 || h.allocated < 0 {
		return h, store.ErrCorrupt
	}
	h.mesh = string(b[58 : 58+mesh])
	h.node = string(b[58+mesh : 58+mesh+node])
	return h, nil
}

// fileName is the name of a segment's file. Names sort as the segments do.
func fileName(sequence uint64) string { return fmt.Sprintf("%016x%s", sequence, fileSuffix) }

// sequenceOf is the segment that a file of this name is, if it is one.
func sequenceOf(name string) (sequence uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, fileSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	sequence, err := strconv.ParseUint(digits, 16, 64)
	return sequence, err == nil && sequence > 0 && sequence <= maxSequence
}

// maxSequence is the last segment there can be: places keep it in 32 bits.
const maxSequence = 1<<32 - 1
