package fact

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/skeinmesh/skein/transport/peer"
)

// Bounds of messages and facts.
const (
	MaxEntry = 16 << 10 // bytes of one entry
	MaxFact  = 64 << 20 // bytes of one owner's entries on one topic
	MaxBody  = 1 << 20  // bytes of one message

	maxName = 255     // bytes of an owner's or a region's name
	maxRaw  = 4 << 20 // bytes of a list's entries, written out
	maxPart = MaxFact/(maxRaw/8) + 2
)

const format = 1

type kind uint8

const (
	kindDelta kind = iota + 1
	kindFull
	kindDigest
	kindPull
	kindAck
	kindStamp
)

// Flags of a digest and of a head.
const (
	flagAnswer = 1 << iota
	flagAck
)
const flagComplete = 1

// errMalformed is wrapped with what was found.
var errMalformed = errors.New("fact: malformed message")

// key names a fact: what one owner tells on one topic.
type key struct {
	owner peer.ID
	topic Topic
}

// version orders the states of a fact.
type version struct{ inc, ver uint64 }

func (v version) less(w version) bool {
	return v.inc < w.inc || v.inc == w.inc && v.ver < w.ver
}

// head says which state of which fact is meant.
type head struct {
	key
	region   string
	version  version
	sum      sum
	complete bool
	gone     uint64 // seconds since the owner was last seen alive
}

type delta struct {
	head
	base          uint64
	adds, removes []string
}

type full struct {
	head
	part, parts uint64
	entries     []string
}

type ack struct {
	key
	inc, ver, spread uint64
}

func appendRecord(b []byte, k kind, content []byte) []byte {
	b = append(b, byte(k))
	b = binary.AppendUvarint(b, uint64(len(content)))
	return append(b, content...)
}

func appendName(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendHead(b []byte, h *head) []byte {
	b = appendName(b, string(h.owner))
	b = appendName(b, h.region)
	b = append(b, byte(h.topic))
	b = binary.AppendUvarint(b, h.version.inc)
	b = binary.AppendUvarint(b, h.version.ver)
	b = binary.BigEndian.AppendUint64(b, uint64(h.sum))
	flags := byte(0)
	if h.complete {
		flags = flagComplete
	}
	b = append(b, flags)
	return binary.AppendUvarint(b, h.gone)
}

// appendList appends entries, which must be sorted.
func appendList(b []byte, entries []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(entries)))
	before := ""
	for _, e := range entries {
		b = appendEntry(b, before, e)
		before = e
	}
	return b
}

func appendEntry(b []byte, before, e string) []byte {
	n := min(len(before), len(e))
	shared := 0
	for shared < n && before[shared] == e[shared] {
		shared++
	}
	b = binary.AppendUvarint(b, uint64(shared))
	b = binary.AppendUvarint(b, uint64(len(e)-shared))
	return append(b, e[shared:]...)
}

func appendDelta(b []byte, d *delta) []byte {
	b = appendHead(b, &d.head)
	b = binary.AppendUvarint(b, d.base)
	b = appendList(b, d.adds)
	return appendList(b, d.removes)
}

func appendFull(b []byte, f *full) []byte {
	b = appendHead(b, &f.head)
	b = binary.AppendUvarint(b, f.part)
	b = binary.AppendUvarint(b, f.parts)
	return appendList(b, f.entries)
}

func appendPull(b []byte, k key, have version) []byte {
	b = appendName(b, string(k.owner))
	b = append(b, byte(k.topic))
	b = binary.AppendUvarint(b, have.inc)
	return binary.AppendUvarint(b, have.ver)
}

func appendAck(b []byte, a *ack) []byte {
	b = appendPull(b, a.key, version{a.inc, a.ver})
	return binary.AppendUvarint(b, a.spread)
}

// reader reads a message's parts in order. After the first thing that is not
// there it only returns zeros, and err says what was missing.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errMalformed, what)
	}
	r.b = nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("a number is missing")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// number is 8 bytes.
func (r *reader) number() uint64 {
	b := r.bytes(8)
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail("ends in the middle")
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("ends in the middle")
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) name() string {
	n := r.uvarint()
	if n > maxName {
		r.fail("a name is too long")
		return ""
	}
	return string(r.bytes(n))
}

func (r *reader) record() (kind, reader) {
	k := kind(r.byte())
	return k, reader{b: r.bytes(r.uvarint()), err: r.err}
}

func (r *reader) head() (h head) {
	h.owner = peer.ID(r.name())
	h.region = r.name()
	h.topic = Topic(r.byte())
	h.version.inc = r.uvarint()
	h.version.ver = r.uvarint()
	h.sum = sum(r.number())
	h.complete = r.byte()&flagComplete != 0
	h.gone = r.uvarint()
	if r.err == nil && h.owner == "" {
		r.fail("a head without owner")
	}
	return h
}

func (r *reader) list() []string {
	count := r.uvarint()
	if count > uint64(len(r.b))/2 {
		r.fail("a list is longer than its bytes")
		return nil
	}
	if count == 0 {
		return nil
	}
	list := make([]string, 0, count)
	before, raw := "", 0
	for range count {
		shared, n := r.uvarint(), r.uvarint()
		if shared > uint64(len(before)) || n > MaxEntry || shared+n > MaxEntry {
			r.fail("an entry is out of bounds")
			return nil
		}
		if raw += int(shared + n); raw > maxRaw {
			r.fail("a list is too large")
			return nil
		}
		e := before[:shared] + string(r.bytes(n))
		if r.err != nil {
			return nil
		}
		if len(list) > 0 && e <= before {
			r.fail("a list is not sorted")
			return nil
		}
		list = append(list, e)
		before = e
	}
	return list
}

func (r *reader) delta() (d delta) {
	d.head = r.head()
	d.base = r.uvarint()
	d.adds = r.list()
	d.removes = r.list()
	if r.err == nil && d.base >= d.version.ver {
		r.fail("a delta that goes nowhere")
	}
	return d
}

func (r *reader) full() (f full) {
	f.head = r.head()
	f.part = r.uvarint()
	f.parts = r.uvarint()
	f.entries = r.list()
	if r.err == nil && (f.parts == 0 || f.parts > maxPart || f.part >= f.parts) {
		r.fail("a part out of bounds")
	}
	return f
}

func (r *reader) pull() (k key, have version) {
	k.owner = peer.ID(r.name())
	k.topic = Topic(r.byte())
	have.inc = r.uvarint()
	have.ver = r.uvarint()
	return k, have
}

func (r *reader) ack() (a ack) {
	k, have := r.pull()
	return ack{key: k, inc: have.inc, ver: have.ver, spread: r.uvarint()}
}
