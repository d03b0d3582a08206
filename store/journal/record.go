package journal

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/skeinmesh/skein/store"
)

// Sizes of the format, in bytes.
const (
	sectorSize = 512 // what a disk writes wholly or not at all
	headSize   = 64  // of a record, before its body
	alignment  = 8   // of records in a round
	memberSize = 24  // of one group in a round's directory
)

// Limits of what a journal takes.
const (
	// MaxEntryBytes is the largest data of an entry.
	MaxEntryBytes = 64 << 20
	// MaxAppendBytes is the most that one Append takes, heads included.
	MaxAppendBytes = 256 << 20
	// MaxExtensionBytes is the largest extensions of an entry.
	MaxExtensionBytes = 1 << 20
	// MaxValuesBytes is the most that the values of one group take together,
	// keys included; a key has at most 255 bytes.
	MaxValuesBytes = 64 << 10
)

// recordType says what a record is. The numbers are on disks: they stay.
type recordType uint8

const (
	typeRound  recordType = 1 // begins a round: index=number, term=bytes, time=records, nth=zero sectors, data=directory
	typeEntry  recordType = 2 // an entry of a group's log
	typeRange  recordType = 3 // entries from index to term are deleted
	typeValues recordType = 4 // data=values that were set
	typeForget recordType = 5 // nothing of the group is kept
	typeState  recordType = 6 // the group as it is: index=first, term=last, data=all values
	typeDoubt  recordType = 7 // groups that are not listed here may have been lost
)

// Kinds of a typeState record, and of the rounds that are not just data.
const (
	kindPlain      = 0
	kindCorrupt    = 1 // typeState: the group had lost records
	kindClose      = 1 // typeRound: the journal was closed, nothing follows
	kindCheckpoint = 2 // typeRound: the state of every group, first in a segment
)

// castagnoli is CRC32C, which processors compute.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// head is what comes before a record's body.
type head struct {
	bodyCRC uint32
	data    uint32 // bytes of it
	ext     uint32 // bytes of it, after the data
	group   ID
	index   uint64
	term    uint64
	time    int64  // nanoseconds since 1970; noTime for the zero time
	nth     uint32 // of the group's records; of a round, its sectors that are all zeros
	typ     recordType
	kind    uint8
}

// noTime stands for the zero time.Time, which has no place in nanoseconds.
const noTime = -1 << 63

// size is what a record takes with its head and its padding.
func (h *head) size() int64 {
	return headSize + padded(int64(h.data)+int64(h.ext))
}

// padded rounds up to the alignment of records.
func padded(n int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }

// toSector rounds up to a sector's end.
func toSector(n int64) int64 { return (n + sectorSize - 1) &^ (sectorSize - 1) }

// put writes a head to b, which has headSize bytes.
func (h *head) put(b []byte, salt uint32) {
	_ = b[headSize-1]
	binary.LittleEndian.PutUint32(b[4:], h.bodyCRC)
	binary.LittleEndian.PutUint32(b[8:], h.data)
	binary.LittleEndian.PutUint32(b[12:], h.ext)
	copy(b[16:32], h.group[:])
	binary.LittleEndian.PutUint64(b[32:], h.index)
	binary.LittleEndian.PutUint64(b[40:], h.term)
	binary.LittleEndian.PutUint64(b[48:], uint64(h.time))
	binary.LittleEndian.PutUint32(b[56:], h.nth)
	b[60], b[61], b[62], b[63] = byte(h.typ), h.kind, 0, 0
	binary.LittleEndian.PutUint32(b, crc32.Update(salt, castagnoli, b[4:headSize]))
}

// readHead reads a head and reports whether it is one of this journal's.
func readHead(b []byte, salt uint32) (h head, ok bool) {
	if len(b) < headSize {
		return h, false
	}
	// The type first: it tells most of what is no head without a checksum.
	h.typ = recordType(b[60])
	if h.typ < typeRound || h.typ > typeDoubt ||
		binary.LittleEndian.Uint32(b) != crc32.Update(salt, castagnoli, b[4:headSize]) {
		return h, false
	}
	h.bodyCRC = binary.LittleEndian.Uint32(b[4:])
	h.data = binary.LittleEndian.Uint32(b[8:])
	h.ext = binary.LittleEndian.Uint32(b[12:])
	copy(h.group[:], b[16:32])
	h.index = binary.LittleEndian.Uint64(b[32:])
	h.term = binary.LittleEndian.Uint64(b[40:])
	h.time = int64(binary.LittleEndian.Uint64(b[48:]))
	h.nth = binary.LittleEndian.Uint32(b[56:])
	h.kind = b[61]
	return h, true
}

// whole reports whether a body, padding included, is what the head says.
func (h *head) whole(body []byte) bool {
	return checksum(body) == h.bodyCRC
}

// appendRecord appends a record with this body to buf. It sets the head's
// lengths and checksum.
func appendRecord(buf []byte, h *head, data, ext []byte, salt uint32) []byte {
	at := len(buf)
	h.data, h.ext = uint32(len(data)), uint32(len(ext))
	buf = append(buf, zeros[:headSize]...)
	buf = append(buf, data...)
	buf = append(buf, ext...)
	buf = append(buf, zeros[:at+int(h.size())-len(buf)]...)
	h.bodyCRC = checksum(buf[at+headSize:])
	h.put(buf[at:at+headSize], salt)
	return buf
}

var zeros [sectorSize]byte

// entryHead is the head of a record that holds an entry.
func entryHead(group ID, nth uint32, e *store.Entry) head {
	h := head{typ: typeEntry, group: group, nth: nth, index: e.Index, term: e.Term, kind: e.Kind, time: noTime}
	if !e.AppendedAt.IsZero() {
		h.time = e.AppendedAt.UnixNano()
	}
	return h
}

// entry fills in the entry of a record whose body this is; the bytes are the
// body's.
func (h *head) entry(body []byte, e *store.Entry) {
	*e = store.Entry{Index: h.index, Term: h.term, Kind: h.kind}
	if h.data > 0 {
		e.Data = body[:h.data:h.data]
	}
	if h.ext > 0 {
		e.Extensions = body[h.data : h.data+h.ext : h.data+h.ext]
	}
	if h.time != noTime {
		e.AppendedAt = time.Unix(0, h.time)
	}
}

// Values are a row of: length of the key (1), length of the data (4), key, data.

func appendValue(buf []byte, key string, data []byte) []byte {
	buf = append(buf, byte(len(key)))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(data)))
	buf = append(buf, key...)
	return append(buf, data...)
}

// valueSize is what appendValue appends.
func valueSize(key string, data []byte) int { return 5 + len(key) + len(data) }

// readValues calls set for each value of a row. It reports whether the row was
// whole; the bytes given to set are the row's.
func readValues(row []byte, set func(key string, data []byte)) bool {
	for len(row) > 0 {
		if len(row) < 5 {
			return false
		}
		key, size := int(row[0]), uint64(binary.LittleEndian.Uint32(row[1:]))
		row = row[5:]
		if uint64(len(row)) < uint64(key)+size {
			return false
		}
		set(string(row[:key]), row[key:uint64(key)+size])
		row = row[uint64(key)+size:]
	}
	return true
}

// member is a group in a round's directory: how many records of it the round
// has, and which of the group's records is the last of them.
type member struct {
	group   ID
	nth     uint32
	records uint32
}

func (m *member) append(buf []byte) []byte {
	buf = append(buf, m.group[:]...)
	buf = binary.LittleEndian.AppendUint32(buf, m.nth)
	return binary.LittleEndian.AppendUint32(buf, m.records)
}

// readMember reads the i-th group of a directory.
func readMember(directory []byte, i int) (m member) {
	b := directory[i*memberSize:]
	copy(m.group[:], b[:16])
	m.nth = binary.LittleEndian.Uint32(b[16:])
	m.records = binary.LittleEndian.Uint32(b[20:])
	return m
}

// after is the number that follows nth: 0 is kept for a group without records.
func after(nth uint32) uint32 {
	if nth++; nth == 0 {
		nth = 1
	}
	return nth
}
