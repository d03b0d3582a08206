package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
)

// The part of the native client protocol that speaks of streams: of what is kept.
// A node that knows it says so in its greeting (Streams); only then a client sends
// a read. A client that wants to know where its events are kept says so in its own
// (Positions); only then a node sends kept frames, and, if it says so (Held), held
// frames. Others never meet these kinds.
//
//	kept:     position …                                        node → client
//	held:     position …, of events that are not kept yet       node → client
//	read:     sid (uvarint) | JSON of a Read                    client → node
//	reading:  sid | cursor | end                                node → client
//	records:  sid | region | partition (uvarint) | record …     node → client
//	trimmed:  sid | region | partition | first (uvarint)        node → client
//	missing:  sid | region …                                    node → client
//	passed:   sid | cursor                                      node → client
//
//	position: number of the event (uvarint) | stream | region | partition (uvarint) | place (uvarint)
//	place:    offset · 2, and 1 more if the event had been kept before
//	          in a held frame: 0 if the event waits on the node's disk until the region
//	          can be reached, 1 if it is on its way and may be lost
//	record:   offset (uvarint) | time (varint, Unix ns) | event
//	stream, region, cursor, end: length (uvarint) | text
//
// Publishing. The positions of an event come before the ack that covers it.
//
// Reading. A read takes its sid from the numbers of the subscriptions, and is
// answered by reading, with the cursor of where it begins and, if it does not follow,
// that of where it ends, or by ended or trimmed. Records come while there is credit, as events of a subscription do; an
// unsubscribe ends a read. A read ends with an ended, whose code is done if there
// was no more to read, or with a trimmed: what it should go on with is gone, and
// the log begins with first now.
//
// Missing says which regions cannot be read now; none: all are read again. It is for
// clients that know it, which say so in their read (Missing). A read that needs all
// regions ends after it.
//
// Passed says how far the node is, beyond what records frames before it show: there is
// nothing on the way that the read's filter wants. It comes now and then, and before
// the end of a read, to clients that know it, which say so in their read (Passed).
//
// A node that knows what a Read has from Until on says so in its greeting (Reads).
const (
	Kept     Kind = 0x4d
	ReadFrom Kind = 0x4e
	Reading  Kind = 0x4f
	Records  Kind = 0x50
	Trimmed  Kind = 0x51
	Missing  Kind = 0x52
	Held     Kind = 0x53
	Passed   Kind = 0x54
)

// Codes of what goes wrong with streams.
const (
	CodeNoStream Code = "no-stream"    // no stream has that name
	CodePosition Code = "bad-position" // reading cannot begin there
	CodeTrimmed  Code = "trimmed"      // reading cannot begin there any more
	CodeMissing  Code = "missing"      // regions that must be read cannot be now
	CodeNotKept  Code = "not-kept"     // a stream that wants the event could not keep it: it is not kept
	CodeUnknown  Code = "unknown"      // the same, but it may be kept
)

// Bounds of texts.
const (
	MaxStream = 255      // bytes of a stream's name
	MaxCursor = 48 << 10 // bytes
)

// Position is where a stream keeps an event, or is to keep it.
type Position struct {
	Number    uint64 // the event, in a Kept or Held frame
	Stream    string
	Region    string
	Partition uint32
	Offset    int64
	Duplicate bool // the event had been kept before
	Waiting   bool // it waits on the node's disk; of a Held frame
	Routed    bool // it is on its way; of a Held frame
}

// Read is what a read frame asks for.
type Read struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	From      string `json:"from,omitempty"` // earliest, latest, a time, an offset, or a cursor
	Follow    bool   `json:"follow,omitempty"`
	Credit    int    `json:"credit"` // bytes that the node may send at once

	Until   string          `json:"until,omitempty"`   // the end that a reading frame has told
	Filter  json.RawMessage `json:"filter,omitempty"`  // Subscriptions API dialects; none means all events
	Order   string          `json:"order,omitempty"`   // arrival or time
	HoldMs  int64           `json:"holdMs,omitempty"`  // how long order=time holds an event back
	Partial bool            `json:"partial,omitempty"` // read what can be read
	Missing bool            `json:"missing,omitempty"` // the client knows missing frames
	Passed  bool            `json:"passed,omitempty"`  // the client knows passed frames
}

// AppendKept appends a kept frame.
func AppendKept(dst []byte, list []Position) []byte {
	return appendPositions(dst, Kept, list)
}

// AppendHeld appends a held frame, of positions that are Waiting or Routed.
func AppendHeld(dst []byte, list []Position) []byte {
	return appendPositions(dst, Held, list)
}

func appendPositions(dst []byte, kind Kind, list []Position) []byte {
	var body []byte
	for i := range list {
		p := &list[i]
		body = binary.AppendUvarint(body, p.Number)
		body = appendText(appendText(body, p.Stream), p.Region)
		body = binary.AppendUvarint(body, uint64(p.Partition))
		place := uint64(p.Offset) << 1
		if p.Duplicate || p.Routed {
			place |= 1
		}
		body = binary.AppendUvarint(body, place)
	}
	return AppendFrame(dst, kind, body)
}

// ReadHeld reads the body of a held frame.
func ReadHeld(body []byte) (list []Position, err error) {
	list, err = ReadKept(body)
	for i := range list {
		p := &list[i]
		if p.Offset != 0 {
			return nil, fmt.Errorf("%w: a held event at offset %d", ErrMalformed, p.Offset)
		}
		p.Routed, p.Waiting, p.Duplicate = p.Duplicate, !p.Duplicate, false
	}
	return list, err
}

// ReadKept reads the body of a kept frame.
func ReadKept(body []byte) (list []Position, err error) {
	for len(body) > 0 {
		var p Position
		if p.Number, body, err = number(body); err != nil {
			return nil, err
		}
		stream, n, err := readText(body, MaxStream)
		if err != nil {
			return nil, err
		}
		p.Stream = strings.Clone(stream)
		if p.Region, p.Partition, body, err = readLog(body[n:]); err != nil {
			return nil, err
		}
		var place uint64
		if place, body, err = number(body); err != nil {
			return nil, err
		}
		p.Offset, p.Duplicate = int64(place>>1), place&1 == 1
		list = append(list, p)
	}
	return list, nil
}

// readLog reads a region and a partition.
func readLog(body []byte) (region string, partition uint32, rest []byte, err error) {
	text, n, err := readText(body, MaxRegion)
	if err != nil {
		return "", 0, nil, err
	}
	p, rest, err := number(body[n:])
	if err != nil {
		return "", 0, nil, err
	}
	if p > 1<<32-1 {
		return "", 0, nil, fmt.Errorf("%w: partition %d", ErrMalformed, p)
	}
	return strings.Clone(text), uint32(p), rest, nil
}

// AppendRead appends a read frame.
func AppendRead(dst []byte, sid uint64, r *Read) []byte {
	return AppendFrame(dst, ReadFrom, append(binary.AppendUvarint(nil, sid), mustJSON(r)...))
}

// ReadRead reads the body of a read frame. When only the request is bad, sid is
// there with the error.
func ReadRead(body []byte) (sid uint64, r Read, err error) {
	sid, n, err := readLength(body)
	if err != nil {
		return 0, r, err
	}
	if err := json.Unmarshal(body[n:], &r); err != nil {
		return sid, r, fmt.Errorf("%w: read: %w", ErrMalformed, err)
	}
	return sid, r, nil
}

// AppendReading appends a reading frame.
func AppendReading(dst []byte, sid uint64, cursor, end string) []byte {
	return AppendFrame(dst, Reading, appendText(appendText(binary.AppendUvarint(nil, sid), cursor), end))
}

// ReadReading reads the body of a reading frame; older nodes tell no end.
func ReadReading(body []byte) (sid uint64, cursor, end string, err error) {
	if sid, body, err = number(body); err != nil {
		return 0, "", "", err
	}
	cursor, n, err := readText(body, MaxCursor)
	if err == nil && n < len(body) {
		end, _, err = readText(body[n:], MaxCursor)
	}
	if err != nil {
		return sid, "", "", err
	}
	return sid, strings.Clone(cursor), strings.Clone(end), nil
}

// AppendMissing appends a missing frame.
func AppendMissing(dst []byte, sid uint64, regions []string) []byte {
	body := binary.AppendUvarint(nil, sid)
	for _, region := range regions {
		body = appendText(body, region)
	}
	return AppendFrame(dst, Missing, body)
}

// ReadMissing reads the body of a missing frame.
func ReadMissing(body []byte) (sid uint64, regions []string, err error) {
	if sid, body, err = number(body); err != nil {
		return 0, nil, err
	}
	for len(body) > 0 {
		region, n, err := readText(body, MaxRegion)
		if err != nil {
			return sid, nil, err
		}
		regions, body = append(regions, strings.Clone(region)), body[n:]
	}
	return sid, regions, nil
}

// AppendPassed appends a passed frame.
func AppendPassed(dst []byte, sid uint64, cursor string) []byte {
	return AppendFrame(dst, Passed, appendText(binary.AppendUvarint(nil, sid), cursor))
}

// ReadPassed reads the body of a passed frame.
func ReadPassed(body []byte) (sid uint64, cursor string, err error) {
	if sid, body, err = number(body); err != nil {
		return 0, "", err
	}
	if cursor, _, err = readText(body, MaxCursor); err != nil {
		return sid, "", err
	}
	return sid, strings.Clone(cursor), nil
}

// BeginRecords begins a records frame of one log at the end of dst. AppendRecord
// adds records to it; EndEvents makes it whole.
func BeginRecords(dst []byte, sid uint64, region string, partition uint32) []byte {
	dst = append(dst, byte(Records), 0, 0, 0, 0)
	dst = appendText(binary.AppendUvarint(dst, sid), region)
	return binary.AppendUvarint(dst, uint64(partition))
}

// AppendRecord adds a record to the frame that dst ends with.
func AppendRecord(dst []byte, offset, nanos int64, envelope []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(offset))
	return AppendEvent(binary.AppendVarint(dst, nanos), envelope)
}

// ReadRecords reads the body of a records frame; records, for NextRecord, are a
// view of it.
func ReadRecords(body []byte) (sid uint64, region string, partition uint32, records []byte, err error) {
	if sid, body, err = number(body); err != nil {
		return 0, "", 0, nil, err
	}
	region, partition, records, err = readLog(body)
	return sid, region, partition, records, err
}

// NextRecord splits the first record off the records of a frame. What it returns
// are views.
func NextRecord(records []byte) (offset, nanos int64, envelope, rest []byte, err error) {
	at, rest, err := number(records)
	if err != nil {
		return 0, 0, nil, nil, err
	}
	if at > 1<<63-1 {
		return 0, 0, nil, nil, fmt.Errorf("%w: offset %d", ErrMalformed, at)
	}
	nanos, n := binary.Varint(rest)
	if n <= 0 {
		return 0, 0, nil, nil, ErrTruncated
	}
	envelope, rest, err = NextEvent(rest[n:])
	return int64(at), nanos, envelope, rest, err
}

// AppendTrimmed appends a trimmed frame.
func AppendTrimmed(dst []byte, sid uint64, region string, partition uint32, first int64) []byte {
	body := appendText(binary.AppendUvarint(nil, sid), region)
	body = binary.AppendUvarint(body, uint64(partition))
	return AppendFrame(dst, Trimmed, binary.AppendUvarint(body, uint64(first)))
}

// ReadTrimmed reads the body of a trimmed frame.
func ReadTrimmed(body []byte) (sid uint64, region string, partition uint32, first int64, err error) {
	if sid, body, err = number(body); err != nil {
		return 0, "", 0, 0, err
	}
	if region, partition, body, err = readLog(body); err != nil {
		return 0, "", 0, 0, err
	}
	at, _, err := number(body)
	return sid, region, partition, int64(at & (1<<63 - 1)), err
}
