package fields

import (
	"encoding/binary"
	"testing"
)

func TestAReaderStopsAtWhatIsBad(t *testing.T) {
	b := append(binary.AppendUvarint(nil, 300), "abc"...)
	r := Reader{Rest: b}
	if n := r.Number(300); n != 300 || r.Bad {
		t.Errorf("%d, %v", n, r.Bad)
	}
	var two [2]byte
	if r.Fill(two[:]); string(two[:]) != "ab" || r.Over() {
		t.Errorf("%q, over %v", two, r.Over())
	}
	if string(r.Take(1)) != "c" || !r.Over() {
		t.Error("it is not over")
	}
	for name, bad := range map[string]func(r *Reader){
		"a number above the most":     func(r *Reader) { r.Number(299) },
		"more bytes than there are":   func(r *Reader) { r.Take(1 << 63) },
		"a number that does not end":  func(r *Reader) { r.Rest = []byte{0x80}; r.Number(1 << 62) },
		"a number where nothing is":   func(r *Reader) { r.Rest = nil; r.Number(1) },
		"room for more than there is": func(r *Reader) { r.Fill(make([]byte, 100)) },
	} {
		r := Reader{Rest: b}
		if bad(&r); !r.Bad || r.Over() || r.Number(1<<62) != 0 || r.Take(1) != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
