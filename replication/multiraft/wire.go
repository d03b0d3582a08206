package multiraft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// A connection begins, on each side, with a preface:
//
//	"SKNR" | version (1) | use (1): messages or bulk | zero (2)
//
// A connection for messages goes on with frames:
//
//	length of the body (4, little endian, at most maxFrame) | body
//
// A body is messages back to back. Numbers are unsigned varints, except where
// a width in bytes is given; flags are one byte.
//
//	heartbeat   kind (1) call group (16) from to term
//	append      kind (1) call group (16) from to term prev prevTerm commit n, n entries
//	vote        kind (1) call group (16) from to term last lastTerm flags
//	prevote     the same
//	timeoutNow  kind (1) call group (16) from to
//	standing    kind (1) group (16) from to term last lastTerm
//	unwell      kind (1) flags group (16), zero for all groups that are led there
//	answer      kind (1) call status (1) flags start term last [length text]
//	install     kind (1) group (16) from to term last lastTerm commit size, length configuration
//
//	entry       type (1) term time (zigzag, Unix nanoseconds, 0 for none) length data, length extensions
//
// call is the number by which an answer finds its request. from and to are the
// epochs of the sender's and of the receiver's replica. Entries are contiguous:
// the first has index prev+1. In an answer, start counts the groups that the
// host has started, so that a replica started anew is told from its forerunner.
// A stream for bulk has, in place of frames, one install message behind its
// length (4), then size bytes of snapshot; one answer behind its length comes back;
// its commit is the index of the configuration.
const (
	magic      = "SKNR"
	version    = 1
	prefaceLen = 8
	useMessage = 1
	useBulk    = 2

	maxFrame   = 8 << 20
	maxEntries = 1024 // of one append
	maxText    = 256  // bytes of an error's text

	// MaxEntry bounds what is proposed as one entry, in bytes. Entries should be
	// far smaller, and be larger only for what cannot be divided: 64 of them may
	// be in memory for each follower.
	MaxEntry = 3 << 20
)

type kind uint8

const (
	kindHeartbeat kind = iota + 1
	kindAppend
	kindVote
	kindPreVote
	kindTimeoutNow
	kindStanding
	kindUnwell
	kindAnswer
	kindInstall
)

// Flags of a message; which apply depends on its kind.
const (
	flagYes      = 1 << iota // answer: success or granted; unwell: it is
	flagNoWait               // answer to append: the next attempt need not wait
	flagTransfer             // vote: leadership is being handed over
	flagHad                  // answer to install: what the snapshot contains was there
)

// message is any message; which fields have a meaning depends on its kind.
type message struct {
	kind     kind
	status   status
	flags    uint8
	call     uint64
	group    GroupID
	from, to uint64
	term     uint64
	last     uint64 // previous or last entry
	lastTerm uint64
	commit   uint64
	start    uint64
	size     uint64
	entries  []*raft.Log
	text     []byte // an error's text; the configuration of a snapshot
}

var (
	errMessage  = errors.New("multiraft: malformed message")
	errGap      = errors.New("multiraft: the entries to append are not contiguous")
	errOversize = errors.New("multiraft: the message is larger than a frame")
)

func preface(use byte) []byte {
	return append([]byte(magic), version, use, 0, 0)
}

func checkPreface(b []byte, use byte) error {
	switch {
	case len(b) != prefaceLen || string(b[:4]) != magic:
		return errors.New("multiraft: the peer speaks another protocol")
	case b[4] != version:
		return fmt.Errorf("multiraft: the peer speaks version %d, this node %d", b[4], version)
	case b[5] != use:
		return errors.New("multiraft: the connection is meant for another use")
	}
	return nil
}

// encode appends a message. It fails only if the entries are not contiguous or
// the message is larger than a frame; then b is as it was.
func encode(b []byte, m *message) ([]byte, error) {
	begin := len(b)
	b = append(b, byte(m.kind))
	if m.kind != kindStanding && m.kind != kindUnwell && m.kind != kindInstall {
		b = binary.AppendUvarint(b, m.call)
	}
	switch m.kind {
	case kindUnwell:
		return append(append(b, m.flags), m.group[:]...), nil
	case kindAnswer:
		b = append(b, byte(m.status), m.flags)
		b = binary.AppendUvarint(b, m.start)
		b = binary.AppendUvarint(b, m.term)
		b = binary.AppendUvarint(b, m.last)
		if m.status == statusFailed {
			b = appendBytes(b, m.text[:min(len(m.text), maxText)])
		}
		return b, nil
	}
	b = append(b, m.group[:]...)
	b = binary.AppendUvarint(b, m.from)
	b = binary.AppendUvarint(b, m.to)
	if m.kind == kindTimeoutNow {
		return b, nil
	}
	b = binary.AppendUvarint(b, m.term)
	if m.kind == kindHeartbeat {
		return b, nil
	}
	b = binary.AppendUvarint(b, m.last)
	b = binary.AppendUvarint(b, m.lastTerm)
	switch m.kind {
	case kindVote, kindPreVote:
		b = append(b, m.flags)
	case kindInstall:
		b = binary.AppendUvarint(b, m.commit)
		b = binary.AppendUvarint(b, m.size)
		b = appendBytes(b, m.text)
	case kindAppend:
		b = binary.AppendUvarint(b, m.commit)
		b = binary.AppendUvarint(b, uint64(len(m.entries)))
		for i, e := range m.entries {
			if e.Index != m.last+1+uint64(i) {
				return b[:begin], errGap
			}
			b = appendEntry(b, e)
		}
	}
	if len(b)-begin > maxFrame || len(m.entries) > maxEntries {
		return b[:begin], errOversize
	}
	return b, nil
}

func appendEntry(b []byte, e *raft.Log) []byte {
	b = append(b, byte(e.Type))
	b = binary.AppendUvarint(b, e.Term)
	var at int64
	if !e.AppendedAt.IsZero() {
		at = e.AppendedAt.UnixNano()
	}
	b = binary.AppendVarint(b, at)
	b = appendBytes(b, e.Data)
	return appendBytes(b, e.Extensions)
}

func appendBytes(b, data []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

// decode takes one message off the head of b. Nothing in the message refers to
// b afterwards.
func decode(b []byte, m *message) (rest []byte, err error) {
	d := decoder{b: b}
	*m = message{kind: kind(d.byte())}
	if m.kind < kindHeartbeat || m.kind > kindInstall {
		return nil, errMessage
	}
	if m.kind != kindStanding && m.kind != kindUnwell && m.kind != kindInstall {
		m.call = d.uvarint()
	}
	switch m.kind {
	case kindUnwell:
		m.flags = d.byte()
		copy(m.group[:], d.take(uint64(len(m.group))))
		return d.rest()
	case kindAnswer:
		m.status, m.flags = status(d.byte()), d.byte()
		m.start, m.term, m.last = d.uvarint(), d.uvarint(), d.uvarint()
		if m.status > statusLast {
			return nil, errMessage
		}
		if m.status == statusFailed {
			m.text = append([]byte(nil), d.bytes(maxText)...)
		}
		return d.rest()
	}
	copy(m.group[:], d.take(uint64(len(m.group))))
	m.from, m.to = d.uvarint(), d.uvarint()
	if m.kind == kindTimeoutNow {
		return d.rest()
	}
	m.term = d.uvarint()
	if m.kind == kindHeartbeat {
		return d.rest()
	}
	m.last, m.lastTerm = d.uvarint(), d.uvarint()
	switch m.kind {
	case kindVote, kindPreVote:
		m.flags = d.byte()
	case kindInstall:
		m.commit, m.size = d.uvarint(), d.uvarint()
		m.text = append([]byte(nil), d.bytes(maxFrame)...)
		d.bad = d.bad || !validConfiguration(m.text)
	case kindAppend:
		m.commit = d.uvarint()
		d.entries(m)
	}
	return d.rest()
}

// decoder reads from b until something is wrong; then it reads zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) rest() ([]byte, error) {
	if d.bad {
		return nil, errMessage
	}
	return d.b, nil
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	head := d.b[:n]
	d.b = d.b[n:]
	return head
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.take(uint64(n))
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) bytes(most uint64) []byte {
	n := d.uvarint()
	if n > most {
		d.bad = true
	}
	return d.take(n)
}

// knownEntry reports whether Raft can deal with an entry: it panics at kinds it
// does not know and at configurations that are malformed.
func knownEntry(e *raft.Log) bool {
	switch e.Type {
	case raft.LogCommand, raft.LogNoop, raft.LogBarrier:
		return true
	case raft.LogConfiguration:
		return validConfiguration(e.Data)
	}
	return false
}

func validConfiguration(data []byte) (valid bool) {
	defer func() { valid = recover() == nil }()
	raft.DecodeConfiguration(data)
	return true
}

// minEntry is the least an entry takes on the wire.
const minEntry = 5

// entries reads an append's entries. Their bytes are copied into one block: a
// log keeps them for long, the frame is read into again.
func (d *decoder) entries(m *message) {
	n := d.uvarint()
	if d.bad || n > maxEntries || n*minEntry > uint64(len(d.b)) || m.last > m.last+n {
		d.bad = true
		return
	}
	if n == 0 {
		return
	}
	logs := make([]raft.Log, n)
	m.entries = make([]*raft.Log, n)
	total := 0
	for i := range logs {
		e := &logs[i]
		e.Index, e.Type, e.Term = m.last+1+uint64(i), raft.LogType(d.byte()), d.uvarint()
		if at := d.varint(); at != 0 {
			e.AppendedAt = time.Unix(0, at)
		}
		e.Data, e.Extensions = d.bytes(maxFrame), d.bytes(maxFrame)
		total += len(e.Data) + len(e.Extensions)
		m.entries[i] = e
		if d.bad || !knownEntry(e) {
			d.bad = true
			return
		}
	}
	block := make([]byte, 0, total)
	keep := func(data []byte) []byte {
		if len(data) == 0 {
			return nil
		}
		at := len(block)
		block = append(block, data...)
		return block[at:len(block):len(block)]
	}
	for _, e := range m.entries {
		e.Data, e.Extensions = keep(e.Data), keep(e.Extensions)
	}
}
