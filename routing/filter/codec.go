package filter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// A conjunct without Rest in bytes, as summaries carry it:
//
//	conjunct:  type: text | predicates (uvarint) | predicate …
//	predicate: attribute: text | op (1) | values (uvarint) | value: text …
//	text:      length (uvarint) | bytes
//
// There is one way only to write a conjunct: equal ones are equal bytes.

// maxPreds bounds the predicates of a conjunct on the wire.
const maxPreds = 64

// ErrMalformed is wrapped by errors about bytes that are no conjunct.
var ErrMalformed = errors.New("filter: malformed conjunct")

// AppendConjunct writes a conjunct, without its Rest, at the end of dst.
func AppendConjunct(dst []byte, c Conjunct) []byte {
	dst = appendText(dst, c.Type)
	dst = binary.AppendUvarint(dst, uint64(len(c.Preds)))
	for _, p := range c.Preds {
		dst = appendText(dst, p.Attr)
		dst = append(dst, byte(p.Op))
		dst = binary.AppendUvarint(dst, uint64(len(p.Values)))
		for _, v := range p.Values {
			dst = appendText(dst, v)
		}
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// ReadConjunct reads what AppendConjunct wrote: b whole, and nothing else.
func ReadConjunct(b []byte) (Conjunct, error) {
	r := reader{b: b}
	c := Conjunct{Type: r.text(maxPattern)}
	for range r.count(maxPreds) {
		p := Pred{Attr: r.text(maxName), Op: Op(r.byte())}
		for range r.count(MaxValues) {
			p.Values = append(p.Values, r.text(maxPattern))
		}
		if r.bad {
			break
		}
		c.Preds = append(c.Preds, p)
	}
	if r.bad || len(r.b) > 0 {
		return Conjunct{}, fmt.Errorf("%w: ends too early or too late", ErrMalformed)
	}
	if c.Type != "" && checkPattern(c.Type) != nil {
		return Conjunct{}, fmt.Errorf("%w: type pattern %.80q", ErrMalformed, c.Type)
	}
	for i := range c.Preds {
		if err := c.Preds[i].check(); err != nil {
			return Conjunct{}, err
		}
	}
	sorted := c
	sorted.Preds = sortPreds(c.Preds)
	if !bytes.Equal(AppendConjunct(nil, sorted), b) {
		return Conjunct{}, fmt.Errorf("%w: not in its one form", ErrMalformed)
	}
	return c, nil
}

// check refuses a predicate that cannot be.
func (p *Pred) check() error {
	bad := p.Attr == ""
	switch p.Op {
	case In:
		bad = bad || len(p.Values) == 0
	case Prefix, Suffix:
		bad = bad || len(p.Values) != 1
	case Exists, Absent:
		bad = bad || len(p.Values) != 0
	default:
		bad = true
	}
	if bad {
		return fmt.Errorf("%w: predicate on %.80q with operator %d and %d values", ErrMalformed, p.Attr, p.Op, len(p.Values))
	}
	return nil
}

// reader takes texts and numbers off b until something is bad.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) count(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > limit {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) text(limit uint64) string {
	n := r.count(limit)
	if n > uint64(len(r.b)) {
		r.bad = true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
