package routing

import (
	"errors"
	"fmt"

	"github.com/skeinmesh/skein/routing/filter"
	"github.com/skeinmesh/skein/transport/peer"
)

// An entry is an interest as facts carry it, opaque to who carries it:
//
//	entry: length of the namespace (1) | namespace | conjunct (see package filter)
//
// Equal interests are equal strings.

// ErrEntry is wrapped by errors about strings that are no entry.
var ErrEntry = errors.New("routing: malformed interest")

// EncodeEntry writes the interest in what a conjunct, without its Rest, accepts
// of a namespace.
func EncodeEntry(ns string, c filter.Conjunct) string {
	b := append([]byte{byte(len(ns))}, ns...)
	return string(filter.AppendConjunct(b, c))
}

// DecodeEntry reads an entry.
func DecodeEntry(s string) (ns string, c filter.Conjunct, err error) {
	if s == "" || len(s) < 1+int(s[0]) || !peer.ValidName(s[1:1+int(s[0])]) {
		return "", c, fmt.Errorf("%w: no namespace", ErrEntry)
	}
	ns = s[1 : 1+int(s[0])]
	if c, err = filter.ReadConjunct([]byte(s[1+len(ns):])); err != nil {
		return "", c, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	return ns, c, nil
}
