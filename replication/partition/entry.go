package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/skeinmesh/skein/replication/fields"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
)

// An entry of the partition's Raft log; numbers are unsigned varints, except
// where a width in bytes is given:
//
//	append  version (1) kind (1) time (8) n, n logs: id (16) window age, window records
//	                                      n, n records: log, key (16), length, data
//	trim    version (1) kind (1) time (8) id (16) offset
//	drop    version (1) kind (1) time (8) id (16)
//
// time is the leader's, in nanoseconds since 1970, little endian; ages are
// nanoseconds; a record's log is a number in the entry's list.
const (
	entryVersion = 1

	kindAppend = 1
	kindTrim   = 2
	kindDrop   = 3

	entryHead = 10
)

// errEntry is wrapped by what is wrong with an entry.
var errEntry = errors.New("partition: entry")

// LogID names a log: the stream's, the same in all partitions and regions.
type LogID = segment.ID

// Key is what a record is known by when it is offered again; see the package.
type Key = segment.Key

// Window is how far back a log remembers its records' keys. The zero window
// remembers nothing.
type Window struct {
	Age    time.Duration
	Events int // at most MaxWindow
}

// MaxWindow bounds Window.Events: each takes 64 bytes of memory.
const MaxWindow = 1 << 20

// Record is something to be appended to a log.
type Record struct {
	Log    LogID
	Window Window // of the log, from now on
	Key    Key
	Data   []byte // at most MaxData bytes
}

// MaxData bounds Record.Data.
const MaxData = segment.MaxData - 1<<10

// setting is a log as an entry lists it.
type setting struct {
	id     LogID
	window Window
}

// batch makes an entry of records. It is used again and again.
type batch struct {
	listed  map[setting]int
	logs    []byte
	records []byte
	count   int
}

func (b *batch) reset() {
	if b.listed == nil {
		b.listed = map[setting]int{}
	}
	clear(b.listed)
	if cap(b.records) > 4*entryBytes { // of one large record
		b.records = nil
	}
	b.logs, b.records, b.count = b.logs[:0], b.records[:0], 0
}

// room is the most bytes that a record adds.
func room(r *Record) int { return len(r.Data) + 2*len(Key{}) + 4*binary.MaxVarintLen64 }

func (b *batch) size() int {
	return entryHead + 2*binary.MaxVarintLen64 + len(b.logs) + len(b.records)
}

func (b *batch) add(r *Record) {
	s := setting{r.Log, r.Window}
	number, listed := b.listed[s]
	if !listed {
		number = len(b.listed)
		b.listed[s] = number
		b.logs = append(b.logs, r.Log[:]...)
		b.logs = binary.AppendUvarint(b.logs, uint64(max(0, r.Window.Age)))
		b.logs = binary.AppendUvarint(b.logs, uint64(max(0, r.Window.Events)))
	}
	b.records = binary.AppendUvarint(b.records, uint64(number))
	b.records = append(b.records, r.Key[:]...)
	b.records = binary.AppendUvarint(b.records, uint64(len(r.Data)))
	b.records = append(b.records, r.Data...)
	b.count++
}

// entry is the batch as an entry of its own memory.
func (b *batch) entry(now int64) []byte {
	e := appendHead(make([]byte, 0, b.size()), kindAppend, now)
	e = binary.AppendUvarint(e, uint64(len(b.listed)))
	e = append(e, b.logs...)
	e = binary.AppendUvarint(e, uint64(b.count))
	return append(e, b.records...)
}

func appendHead(e []byte, kind byte, now int64) []byte {
	return binary.LittleEndian.AppendUint64(append(e, entryVersion, kind), uint64(now))
}

func trimEntry(now int64, id LogID, offset int64) []byte {
	e := append(appendHead(nil, kindTrim, now), id[:]...)
	return binary.AppendUvarint(e, uint64(offset))
}

func dropEntry(now int64, id LogID) []byte { return append(appendHead(nil, kindDrop, now), id[:]...) }

// command is an entry that has been read. What it holds lies in the entry.
type command struct {
	kind    byte
	now     int64
	id      LogID // of a trim or a drop
	offset  int64 // of a trim
	logs    []setting
	records []appended
}

// appended is a record of an entry.
type appended struct {
	log  int // in logs
	key  Key
	data []byte
}

// read reads an entry; its slices are used again by the next one.
func (c *command) read(b []byte) error {
	*c = command{logs: c.logs[:0], records: c.records[:0]}
	if len(b) < entryHead {
		return fmt.Errorf("%w of %d bytes", errEntry, len(b))
	}
	if b[0] > entryVersion {
		return fmt.Errorf("%w of version %d, this one knows %d: %w", errEntry, b[0], entryVersion, store.ErrNewer)
	}
	if b[0] == 0 || b[1] == 0 {
		return fmt.Errorf("%w of version %d and kind %d", errEntry, b[0], b[1])
	}
	c.kind, c.now = b[1], int64(binary.LittleEndian.Uint64(b[2:]))
	r := fields.Reader{Rest: b[entryHead:]}
	switch c.kind {
	case kindAppend:
		c.readRecords(&r)
	case kindTrim:
		r.Fill(c.id[:])
		c.offset = int64(r.Number(1 << 62))
	case kindDrop:
		r.Fill(c.id[:])
	default:
		return fmt.Errorf("%w of version %d and kind %d, this one knows kinds to %d: %w", errEntry, b[0], c.kind, kindDrop, store.ErrNewer)
	}
	if !r.Over() {
		return fmt.Errorf("%w of kind %d is malformed", errEntry, c.kind)
	}
	return nil
}

func (c *command) readRecords(r *fields.Reader) {
	for n := r.Number(uint64(len(r.Rest))); n > 0 && !r.Bad; n-- {
		var s setting
		r.Fill(s.id[:])
		s.window = Window{Age: time.Duration(r.Number(1 << 62)), Events: int(r.Number(MaxWindow))}
		c.logs = append(c.logs, s)
	}
	for n := r.Number(uint64(len(r.Rest))); n > 0 && !r.Bad; n-- {
		a := appended{log: int(r.Number(uint64(len(c.logs))))}
		r.Bad = r.Bad || a.log >= len(c.logs)
		r.Fill(a.key[:])
		a.data = r.Take(r.Number(MaxData))
		c.records = append(c.records, a)
	}
}
