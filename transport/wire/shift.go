package wire

import (
	"encoding/binary"
	"fmt"
)

// MaxLanes is the most lanes that a link may have, and the number of slices that
// the keys are cut into: a slice is on one lane at a time.
const MaxLanes = 16

// Shift is the body of a Move and of a Moved: a slice of the keys goes from one
// lane to another. The Move is the last that its old lane has of the slice, the
// Moved comes before all that the new lane has of it.
type Shift struct {
	Slice uint8
	Lane  uint8  // the other lane: in a Move the new one, in a Moved the old one
	Epoch uint64 // the same in both; grows with each move of one side, from 1
}

// AppendShift appends a Move or a Moved, as a frame.
func AppendShift(dst []byte, kind Kind, s Shift) []byte {
	return AppendFrame(dst, kind, binary.AppendUvarint([]byte{s.Slice, s.Lane}, s.Epoch))
}

// ReadShift reads the body of a Move or a Moved.
func ReadShift(body []byte) (Shift, error) {
	if len(body) < 3 {
		return Shift{}, fmt.Errorf("%w: move of %d bytes", ErrMalformed, len(body))
	}
	s := Shift{Slice: body[0], Lane: body[1]}
	epoch, n := binary.Uvarint(body[2:])
	switch {
	case n <= 0 || n != len(body)-2 || epoch == 0:
		return Shift{}, fmt.Errorf("%w: number of a move", ErrMalformed)
	case s.Slice >= MaxLanes || s.Lane >= MaxLanes:
		return Shift{}, fmt.Errorf("%w: move of slice %d to or from lane %d, there are %d", ErrMalformed, s.Slice, s.Lane, MaxLanes)
	}
	s.Epoch = epoch
	return s, nil
}

// ReadLanes reads the body of a Lanes frame: how many the peer needs.
func ReadLanes(body []byte) (int, error) {
	if len(body) != 1 || body[0] < 1 || body[0] > MaxLanes {
		return 0, fmt.Errorf("%w: a wish for lanes, which is one byte from 1 to %d: % x", ErrMalformed, MaxLanes, body[:min(len(body), 8)])
	}
	return int(body[0]), nil
}
