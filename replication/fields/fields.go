// Package fields reads messages and entries that other nodes, or the disk, have
// brought: fields one after the other, numbers as unsigned varints. Nothing is
// believed of a length before the bytes are there.
package fields

import "encoding/binary"

// Reader reads from the front of Rest until something is bad; all that is read
// after that is zero. What it returns lies in Rest.
type Reader struct {
	Rest []byte
	Bad  bool
}

// Number reads a number; one above most is bad.
func (r *Reader) Number(most uint64) uint64 {
	n, size := binary.Uvarint(r.Rest)
	if size <= 0 || n > most {
		r.Bad, r.Rest = true, nil
		return 0
	}
	r.Rest = r.Rest[size:]
	return n
}

// Take reads n bytes.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.Rest)) {
		r.Bad, r.Rest = true, nil
		return nil
	}
	taken := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return taken
}

// Fill reads as many bytes as dst has room for.
func (r *Reader) Fill(dst []byte) { copy(dst, r.Take(uint64(len(dst)))) }

// Over reports whether all was read, and nothing was bad.
func (r *Reader) Over() bool { return !r.Bad && len(r.Rest) == 0 }
