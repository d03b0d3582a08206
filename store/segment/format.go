package segment

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/skeinmesh/skein/store"
)

// A segment file, all numbers little-endian:
//
//	file:   header | record …
//	header: magic "SKEINSEG" | version u16 | 0 u16 | crc u32 | log id [16] | first offset i64 | limit i64 | floor i64
//	record: crc of head u32 | length of data u32 | crc of data u32 | time i64 | key [16] | data
//
// The header's crc is CRC32C of all the other bytes of the header. The head's
// crc covers the rest of the head and, as its starting value, the offset, which
// is not written down: a record that lies where another belongs is seen. A head
// can be believed before its data is read.
//
// The hash of a file is a chain: SHA-256, cut to 16 bytes, of the header; then,
// per record, of the hash so far and the record's head. It stands for the data
// by the heads' checksums of it. It is known after every record, costs the same
// for small data and large, and goes on from where a manifest left it.
const (
	fileMagic   = "SKEINSEG"
	fileVersion = 1
	headerSize  = 56
	headSize    = 4 + 4 + 4 + 8 + 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is what a file says of itself.
type header struct {
	id    ID
	first int64 // offset of the first record
	limit int64 // bytes the file may have, unless its only record is larger
	floor int64 // time of the record before the first, or 0 if there is none
}

func (h header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, fileMagic...)
	b = binary.LittleEndian.AppendUint16(b, fileVersion)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = append(b, h.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.first))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.limit))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.floor))
	binary.LittleEndian.PutUint32(b[12:], headerSum(b))
	return b
}

// begin is what is known of a file that has a header and nothing else.
func (h header) begin() FileInfo {
	return FileInfo{First: h.first, Next: h.first, Bytes: headerSize, Hash: newHash(h.encode())}
}

func headerSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:headerSize])
}

// parseHeader reads the first bytes of a file. Files of all versions begin with the
// magic, the version and a checksum of these bytes: what is of a newer one is
// refused, and what has become so by a flipped bit is damaged.
func parseHeader(name string, b []byte) (header, error) {
	switch {
	case len(b) < headerSize:
		return header{}, damage(name, 0, -1, "the header is cut short")
	case string(b[:8]) != fileMagic:
		return header{}, damage(name, 0, -1, "it does not begin as a segment file")
	case binary.LittleEndian.Uint32(b[12:]) != headerSum(b):
		return header{}, damage(name, 0, -1, "the header's checksum is wrong")
	case binary.LittleEndian.Uint16(b[8:]) > fileVersion:
		return header{}, fmt.Errorf("segment: %s: %w: it is of version %d, this program knows %d",
			name, store.ErrNewer, binary.LittleEndian.Uint16(b[8:]), fileVersion)
	}
	h := header{
		first: int64(binary.LittleEndian.Uint64(b[32:])),
		limit: int64(binary.LittleEndian.Uint64(b[40:])),
		floor: int64(binary.LittleEndian.Uint64(b[48:])),
	}
	copy(h.id[:], b[16:])
	if h.first < 0 || h.limit < headerSize || h.limit > MaxFileBytes {
		return header{}, damage(name, 0, h.first, "the header makes no sense")
	}
	return h, nil
}

// appendRecord appends a record as it lies in the file.
func appendRecord(b []byte, offset int64, r Record) []byte {
	at := len(b)
	var head [headSize]byte
	binary.LittleEndian.PutUint32(head[4:], uint32(len(r.Data)))
	binary.LittleEndian.PutUint32(head[8:], crc32.Checksum(r.Data, castagnoli))
	binary.LittleEndian.PutUint64(head[12:], uint64(r.Time))
	copy(head[20:], r.Key[:])
	b = append(b, head[:]...)
	binary.LittleEndian.PutUint32(b[at:], headSum(offset, b[at:]))
	return append(b, r.Data...)
}

// headSum is the checksum of a head at an offset. Since a CRC is linear, two
// starting values never give one head the same checksum.
func headSum(offset int64, head []byte) uint32 {
	return crc32.Update(uint32(offset)^uint32(offset>>32), castagnoli, head[4:headSize])
}

// checkHead says what is wrong with the head of the record at an offset, or "".
func checkHead(offset int64, head []byte) string {
	switch {
	case binary.LittleEndian.Uint32(head) != headSum(offset, head):
		return "the checksum of a record's head is wrong"
	case dataSize(head) > MaxData:
		return "a record is larger than any may be"
	}
	return ""
}

func checkData(head, data []byte) string {
	if binary.LittleEndian.Uint32(head[8:]) != crc32.Checksum(data, castagnoli) {
		return "the checksum of a record's data is wrong"
	}
	return ""
}

func dataSize(head []byte) int { return int(binary.LittleEndian.Uint32(head[4:])) }

func headTime(head []byte) int64 { return int64(binary.LittleEndian.Uint64(head[12:])) }

func newHash(header []byte) (h Hash) {
	sum := sha256.Sum256(header)
	copy(h[:], sum[:])
	return h
}

// chain is the hash of a file with one record more. What it hashes fits one
// block of SHA-256.
func (h Hash) chain(head []byte) Hash {
	var block [len(h) + headSize]byte
	copy(block[:], h[:])
	copy(block[len(h):], head[:headSize])
	sum := sha256.Sum256(block[:])
	copy(h[:], sum[:])
	return h
}

// Names of what lies in a log's directory.
const (
	fileSuffix  = ".seg"
	indexSuffix = ".idx"
	partSuffix  = ".part" // a file being fetched
	tempSuffix  = ".tmp"  // an index being written
	stagingDir  = "staging"
)

func fileName(first int64, suffix string) string {
	digits := strconv.FormatInt(first, 10)
	return strings.Repeat("0", max(0, 19-len(digits))) + digits + suffix
}

// parseName reads a name that fileName made.
func parseName(name string) (first int64, suffix string, ok bool) {
	suffix = filepath.Ext(name)
	first, err := strconv.ParseInt(strings.TrimSuffix(name, suffix), 10, 64)
	if err != nil || first < 0 || fileName(first, suffix) != name {
		return 0, "", false
	}
	return first, suffix, true
}
