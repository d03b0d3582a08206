package flow

import (
	"encoding/binary"
	"errors"
)

// What nodes say to each other about flows, in bytes:
//
//	frame:  kind (1) | flow | base | age | prev | upto | rest
//	        rest of Events: runs (uvarint) | run …
//	        rest of Shared: claims (uvarint) | claim … | runs (uvarint) | run …
//	        rest of Lost:   cause (1) | labels
//	        rest of Mark:   nothing
//	reply:  flow | upto | again
//	flow:   origin: text | boot | region: text | lane (1)
//	claim:  region: text | base | age | prev
//	run:    skip | count | size | record …          size: bytes of the records
//	record: namespace: text | envelope: text        an empty namespace is "default"
//	labels: n+1, or 0 for any | namespace: text | type: text | …
//	text:   length | bytes
//
// All numbers are uvarints; upto of a frame is written as upto-prev.

// Kind says what a frame holds. Its values are part of the protocol.
type Kind uint8

const (
	Events Kind = 1 // runs of events
	Lost   Kind = 2 // in place of all that lies in (Prev, Upto]: a gap
	Mark   Kind = 3 // nothing: only the claim
	shared Kind = 4 // Events with Others, on the wire
)

// Frame is a claim about the numbers after Prev and up to Upto of a flow, with
// the events among them that its receiver wants. A frame that is read holds
// views of the bytes it was read from.
type Frame struct {
	Kind Kind
	Flow ID
	// Base is the first number that was not acknowledged, and Age for how many
	// seconds, at least, all before it had been: as the origin knows it, or in a
	// frame from an entry node as the origin knew it when that began.
	Base, Age uint64
	Prev      uint64
	Upto      uint64
	Runs      []Run // of Events
	// Others are flows to further regions, on the same lane, for which the same
	// events have other numbers: of Events from an origin, so that what is on its
	// way to several regions passes each link once.
	Others []Claim
	Cause  Cause  // of Lost
	Labels Labels // of Lost
}

// Claim is what a frame says of another flow: as many numbers after Prev as the
// frame's own.
type Claim struct {
	Region          string
	Base, Age, Prev uint64
}

// Run is Count events with numbers in sequence, after Skip numbers that are not
// for the receiver.
type Run struct {
	Skip, Count uint64
	Records     []byte
}

// Reply is what a receiver says to an entry node, and an entry node to an origin.
type Reply struct {
	Flow  ID
	Upto  uint64 // everything up to here is received
	Again uint64 // 0, or from where the origin must send again
}

// Bounds of what is read.
const (
	maxName = 128   // bytes of a node's, region's or namespace's name
	maxRuns = 65536 // of a frame
	// MaxOthers is how many further flows a frame serves.
	MaxOthers = 255
)

// defaultNamespace is written as nothing.
const defaultNamespace = "default"

// ErrMalformed is wrapped by errors about bytes that are no frame or reply.
var ErrMalformed = errors.New("flow: malformed")

// AppendFrame writes a frame at the end of dst.
func AppendFrame(dst []byte, f *Frame) []byte {
	dst = AppendHead(dst, f)
	switch f.Kind {
	case Events:
		dst = binary.AppendUvarint(dst, uint64(len(f.Runs)))
		for i := range f.Runs {
			r := &f.Runs[i]
			dst = binary.AppendUvarint(dst, r.Skip)
			dst = binary.AppendUvarint(dst, r.Count)
			dst = binary.AppendUvarint(dst, uint64(len(r.Records)))
			dst = append(dst, r.Records...)
		}
	case Lost:
		dst = append(dst, byte(f.Cause))
		dst = appendLabels(dst, &f.Labels)
	}
	return dst
}

// AppendHead writes all of a frame but what it holds: the rest that ReadHead
// leaves may follow.
func AppendHead(dst []byte, f *Frame) []byte {
	kind := f.Kind
	if len(f.Others) > 0 {
		kind = shared
	}
	dst = append(dst, byte(kind))
	dst = appendFlow(dst, &f.Flow)
	dst = binary.AppendUvarint(dst, f.Base)
	dst = binary.AppendUvarint(dst, f.Age)
	dst = binary.AppendUvarint(dst, f.Prev)
	dst = binary.AppendUvarint(dst, f.Upto-f.Prev)
	if kind == shared {
		dst = binary.AppendUvarint(dst, uint64(len(f.Others)))
		for i := range f.Others {
			c := &f.Others[i]
			dst = appendText(dst, c.Region)
			dst = binary.AppendUvarint(dst, c.Base)
			dst = binary.AppendUvarint(dst, c.Age)
			dst = binary.AppendUvarint(dst, c.Prev)
		}
	}
	return dst
}

// HeadSize is an upper bound of the bytes that AppendHead adds.
func HeadSize(f *Frame) int {
	n := 74 + len(f.Flow.Origin) + len(f.Flow.Region)
	for i := range f.Others {
		n += 34 + len(f.Others[i].Region)
	}
	return n
}

// FrameSize is an upper bound of the bytes that AppendFrame adds.
func FrameSize(f *Frame) int {
	n := HeadSize(f) + binary.MaxVarintLen64
	for i := range f.Runs {
		n += 30 + len(f.Runs[i].Records)
	}
	for _, l := range f.Labels.List {
		n += 4 + len(l.Namespace) + len(l.Type)
	}
	return n
}

// ReadFrame reads the one frame that b is into f, whose lists are used again. A
// frame that it accepts is sound throughout: its records can all be read, and
// lie within its claim.
func ReadFrame(b []byte, f *Frame) error {
	r := reader{b: b}
	r.head(f)
	f.Runs, f.Cause, f.Labels = f.Runs[:0], 0, Labels{List: f.Labels.List[:0]}
	switch f.Kind {
	case Events:
		r.runs(f)
	case Lost:
		f.Cause = Cause(r.byte())
		r.labels(&f.Labels)
	case Mark:
	default:
		r.fail("kind of frame")
	}
	return r.end()
}

// ReadHead reads the beginning of a frame into f, down to its claims: what one who
// only passes it on must know. What it holds is the rest of b.
func ReadHead(b []byte, f *Frame) (rest []byte, err error) {
	r := reader{b: b}
	if r.head(f); r.bad != "" {
		return nil, r.end()
	}
	return b[r.at:], nil
}

func (r *reader) head(f *Frame) {
	f.Kind = Kind(r.byte())
	r.flow(&f.Flow)
	f.Base, f.Age, f.Prev = r.uvarint(), r.uvarint(), r.uvarint()
	f.Upto = r.sum(f.Prev, r.uvarint())
	f.Others = f.Others[:0]
	if f.Kind != shared {
		return
	}
	f.Kind = Events
	count := r.uvarint()
	if count == 0 || count > MaxOthers {
		r.fail("number of claims")
	}
	for ; count > 0 && r.bad == ""; count-- {
		c := Claim{Region: r.text(maxName), Base: r.uvarint(), Age: r.uvarint(), Prev: r.uvarint()}
		if r.sum(c.Prev, f.Upto-f.Prev); r.bad == "" {
			f.Others = append(f.Others, c)
		}
	}
}

// For turns a frame into that for another of the regions that it serves; false
// when it serves no such.
func (f *Frame) For(region string) bool {
	if f.Flow.Region != region {
		for i := range f.Others {
			if c := &f.Others[i]; c.Region == region {
				count := f.Upto - f.Prev
				f.Flow.Region, f.Base, f.Age, f.Prev, f.Upto = c.Region, c.Base, c.Age, c.Prev, c.Prev+count
				f.Others = f.Others[:0]
				return true
			}
		}
		return false
	}
	f.Others = f.Others[:0]
	return true
}

// Count is how many events a frame holds.
func (f *Frame) Count() (n uint64) {
	for i := range f.Runs {
		n += f.Runs[i].Count
	}
	return n
}

// AppendReply writes a reply at the end of dst.
func AppendReply(dst []byte, p *Reply) []byte {
	dst = appendFlow(dst, &p.Flow)
	dst = binary.AppendUvarint(dst, p.Upto)
	return binary.AppendUvarint(dst, p.Again)
}

// ReadReply reads the reply that b begins with and says how many bytes it takes.
func ReadReply(b []byte) (Reply, int, error) {
	var p Reply
	r := reader{b: b}
	r.flow(&p.Flow)
	p.Upto, p.Again = r.uvarint(), r.uvarint()
	if r.bad != "" {
		return Reply{}, 0, r.end()
	}
	return p, r.at, nil
}

// appendRecord writes an event as runs hold it.
func appendRecord(dst []byte, namespace string, envelope []byte) []byte {
	if namespace == defaultNamespace {
		dst = append(dst, 0)
	} else {
		dst = appendText(dst, namespace)
	}
	dst = binary.AppendUvarint(dst, uint64(len(envelope)))
	return append(dst, envelope...)
}

// recordSize is an upper bound of the bytes that appendRecord adds.
func recordSize(namespace string, envelope []byte) int {
	return 2*binary.MaxVarintLen32 + len(namespace) + len(envelope)
}

// cutRecord splits off the first record of b. ok is false when there is none, or
// it is malformed. It is called several times for each event.
func cutRecord(b []byte) (namespace string, envelope, rest []byte, ok bool) {
	namespace = defaultNamespace
	at := 1
	if len(b) == 0 || b[0] != 0 {
		r := reader{b: b}
		if namespace = r.text(maxName); r.bad != "" {
			return "", nil, nil, false
		}
		at = r.at
	}
	var size uint64
	if at+1 < len(b) && b[at+1] < 0x80 && b[at] >= 0x80 { // two bytes, as most are
		size = uint64(b[at]&0x7f) | uint64(b[at+1])<<7
		at += 2
	} else {
		var n int
		if size, n = binary.Uvarint(b[at:]); n <= 0 {
			return "", nil, nil, false
		}
		at += n
	}
	if size > uint64(len(b)-at) {
		return "", nil, nil, false
	}
	end := at + int(size)
	return namespace, b[at:end:end], b[end:], true
}

func appendFlow(dst []byte, id *ID) []byte {
	dst = appendText(dst, string(id.Origin))
	dst = binary.AppendUvarint(dst, id.Boot)
	dst = appendText(dst, id.Region)
	return append(dst, id.Lane)
}

func appendLabels(dst []byte, l *Labels) []byte {
	if l.Any {
		return append(dst, 0)
	}
	dst = append(dst, byte(1+len(l.List)))
	for _, one := range l.List {
		dst = appendText(dst, one.Namespace)
		dst = appendText(dst, one.Type)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}
