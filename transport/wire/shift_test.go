package wire

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

// shiftBody is the body of a Move of s.
func shiftBody(t testing.TB, s Shift) []byte {
	t.Helper()
	kind, body, err := ReadFrame(bytes.NewReader(AppendShift(nil, Move, s)), MaxFrame)
	if err != nil || kind != Move {
		t.Fatalf("a move is a frame of kind %#x, %v", kind, err)
	}
	return body
}

func TestAShiftComesBackWhole(t *testing.T) {
	for _, want := range []Shift{{0, 1, 1}, {MaxLanes - 1, MaxLanes - 1, math.MaxUint64}, {3, 0, 200}} {
		if got, err := ReadShift(shiftBody(t, want)); err != nil || got != want {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
	}
}

func TestAShiftThatIsNoneIsRefused(t *testing.T) {
	for name, body := range map[string][]byte{
		"nothing":           nil,
		"no epoch":          {1, 1},
		"half an epoch":     {1, 1, 0x80},
		"epoch 0":           {1, 1, 0},
		"no such slice":     {MaxLanes, 1, 1},
		"no such lane":      {1, MaxLanes, 1},
		"something behind":  {1, 1, 1, 1},
		"epoch without end": append([]byte{1, 1}, bytes.Repeat([]byte{0xff}, 12)...),
	} {
		if s, err := ReadShift(body); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

func TestAWishForLanesIsOneToSixteen(t *testing.T) {
	for n := range MaxLanes {
		if got, err := ReadLanes([]byte{byte(n + 1)}); err != nil || got != n+1 {
			t.Errorf("%d came back as %d, %v", n+1, got, err)
		}
	}
	for _, body := range [][]byte{nil, {0}, {MaxLanes + 1}, {1, 1}} {
		if n, err := ReadLanes(body); !errors.Is(err, ErrMalformed) {
			t.Errorf("% x: %d, %v", body, n, err)
		}
	}
}

func FuzzShift(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Add(shiftBody(f, Shift{15, 15, math.MaxUint64}))
	f.Add([]byte{1, 2, 0x83, 0x80, 0x00})
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := ReadShift(body)
		if err != nil {
			return
		}
		if s.Slice >= MaxLanes || s.Lane >= MaxLanes || s.Epoch == 0 {
			t.Fatalf("out of bounds: %+v", s)
		}
		if again, err := ReadShift(shiftBody(t, s)); err != nil || again != s {
			t.Fatalf("%+v came back as %+v, %v", s, again, err)
		}
	})
}
