package routing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/routing/match"
	"github.com/skeinmesh/skein/transport/peer"
)

// An entry is an interest as facts carry it, opaque to who carries it:
//
//	entry:  kind (high 2 bits) and length of the namespace (1) | namespace | content
//
//	kind 0, an interest:   conjunct (see package filter)
//	kind 1, a wider one in place of several: conjunct
//	kind 2, fingerprints (see match.Prints):
//	        length of the conjunct | conjunct | attributes | attribute …
//	        | ID of the key (4, big endian) | low bits left out (1)
//	        | fingerprints | fingerprint …
//
//	attribute:   length | bytes           sorted
//	fingerprint: what it is more than the one before, the first is itself
//
// Numbers are uvarints. There is one way only to write an entry: equal ones are
// equal strings.

const (
	kindInterest = iota << 6
	kindWidened
	kindPrints

	kindMask = 3 << 6
)

// Bounds of an entry, well below what a fact may carry.
const (
	maxEntry  = 8 << 10 // bytes
	maxPrints = 256     // fingerprints
	maxAttrs  = 8       // that one fingerprint stands for

	// maxInterest bounds the conjunct of an interest that this node says: what
	// is longer is said wider.
	maxInterest = 4 << 10
)

// ErrEntry is wrapped by errors about strings that are no entry.
var ErrEntry = errors.New("routing: malformed interest")

// EncodeEntry writes the interest in what a conjunct, without its Rest, accepts
// of a namespace.
func EncodeEntry(ns string, c filter.Conjunct) string { return encodeConjunct(kindInterest, ns, c) }

func encodeConjunct(kind byte, ns string, c filter.Conjunct) string {
	b := append([]byte{kind | byte(len(ns))}, ns...)
	return string(filter.AppendConjunct(b, c))
}

// encodePrints writes fingerprints, which must be sorted.
func encodePrints(ns string, p match.Prints) string {
	b := append([]byte{kindPrints | byte(len(ns))}, ns...)
	base := filter.AppendConjunct(nil, p.Base)
	b = append(binary.AppendUvarint(b, uint64(len(base))), base...)
	b = binary.AppendUvarint(b, uint64(len(p.Attrs)))
	for _, a := range p.Attrs {
		b = append(binary.AppendUvarint(b, uint64(len(a))), a...)
	}
	b = binary.BigEndian.AppendUint32(b, p.Key.ID)
	b = append(b, p.Cut)
	b = binary.AppendUvarint(b, uint64(len(p.Set)))
	before := uint32(0)
	for _, fp := range p.Set {
		b = binary.AppendUvarint(b, uint64(fp-before))
		before = fp
	}
	return string(b)
}

// DecodeEntry reads an entry. Of fingerprints it returns the conjunct that they
// narrow.
func DecodeEntry(s string) (ns string, c filter.Conjunct, err error) {
	e, err := readEntry(s)
	return e.ns, e.conjunct, err
}

// entry is an entry that was read.
type entry struct {
	ns       string
	conjunct filter.Conjunct
	widened  bool
	prints   *match.Prints // nil unless it has fingerprints; of its key, only the ID
}

// readEntry reads an entry; its errors wrap ErrEntry.
func readEntry(s string) (entry, error) {
	if s == "" || len(s) > maxEntry {
		return entry{}, fmt.Errorf("%w: %d bytes", ErrEntry, len(s))
	}
	kind, n := s[0]&kindMask, int(s[0]&^kindMask)
	if len(s) < 1+n || !peer.ValidName(s[1:1+n]) {
		return entry{}, fmt.Errorf("%w: no namespace", ErrEntry)
	}
	e := entry{ns: s[1 : 1+n], widened: kind == kindWidened}
	content := s[1+n:]
	if kind == kindPrints {
		p, err := readPrints(content)
		if err != nil {
			return entry{}, err
		}
		if encodePrints(e.ns, p) != s {
			return entry{}, fmt.Errorf("%w: fingerprints not in their one form", ErrEntry)
		}
		e.conjunct, e.prints = p.Base, &p
		return e, nil
	}
	if kind > kindPrints {
		return entry{}, fmt.Errorf("%w: of an unknown kind", ErrEntry)
	}
	c, err := filter.ReadConjunct([]byte(content))
	if err != nil {
		return entry{}, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	e.conjunct = c
	return e, nil
}

// readPrints reads the content of an entry with fingerprints.
func readPrints(s string) (p match.Prints, err error) {
	short := fmt.Errorf("%w: fingerprints end too early or are too many", ErrEntry)
	number := func(limit int) int {
		v, n := binary.Uvarint([]byte(s[:min(len(s), binary.MaxVarintLen64)]))
		if n <= 0 || v > uint64(limit) {
			err, s = short, ""
			return 0
		}
		s = s[n:]
		return int(v)
	}
	text := func(n int) string {
		if n > len(s) {
			err, s = short, ""
			return ""
		}
		t := s[:n]
		s = s[n:]
		return t
	}
	base := text(number(maxInterest))
	for range number(maxAttrs) {
		a := text(number(maxName))
		if a == "" || len(p.Attrs) > 0 && a <= p.Attrs[len(p.Attrs)-1] {
			return p, fmt.Errorf("%w: attributes of fingerprints not sorted", ErrEntry)
		}
		p.Attrs = append(p.Attrs, strings.Clone(a)) // not a view of all
	}
	id := text(4)
	cut := number(31)
	count := number(maxPrints)
	if err != nil || len(p.Attrs) == 0 || count == 0 {
		return p, short
	}
	p.Cut = uint8(cut)
	p.Key.ID = binary.BigEndian.Uint32([]byte(id))
	p.Set = make([]uint32, 0, min(count, len(s)))
	before := uint64(0)
	for range count {
		gap := uint64(number(1<<32 - 1))
		if before += gap; err != nil || before >= 1<<(32-cut) || gap == 0 && len(p.Set) > 0 {
			return p, short
		}
		p.Set = append(p.Set, uint32(before))
	}
	if s != "" {
		return p, short
	}
	if p.Base, err = filter.ReadConjunct([]byte(base)); err != nil {
		return p, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	return p, nil
}

// maxName bounds an attribute's name.
const maxName = 256

// interestIn is what is said of a conjunct: without its Rest, and where it is
// too long for an entry without its longest predicates.
func interestIn(c filter.Conjunct) filter.Conjunct {
	c = c.Wider()
	for len(filter.AppendConjunct(nil, c)) > maxInterest {
		longest, most := 0, 0
		for i, p := range c.Preds {
			n := len(p.Attr)
			for _, v := range p.Values {
				n += len(v)
			}
			if n > most {
				longest, most = i, n
			}
		}
		c.Preds = append(c.Preds[:longest:longest], c.Preds[longest+1:]...)
	}
	return c
}
