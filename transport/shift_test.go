package transport

import (
	"errors"
	"testing"

	"github.com/skeinmesh/skein/transport/wire"
)

func TestASliceArrivesWhenItHasLeft(t *testing.T) {
	w := newWhereabouts()
	first, second := wire.Shift{Slice: 3, Lane: 1, Epoch: 1}, wire.Shift{Slice: 3, Lane: 2, Epoch: 5}
	arrives := func(lane int, from uint8, epoch uint64) <-chan struct{} {
		t.Helper()
		wait, err := w.arrive(lane, wire.Shift{Slice: 3, Lane: from, Epoch: epoch})
		if err != nil {
			t.Fatal(err)
		}
		return wait
	}
	second1, first1 := arrives(2, 1, 5), arrives(1, 0, 1)
	if second1 == nil || first1 == nil {
		t.Fatal("it arrives before it has left")
	}
	if err := w.leave(0, first); err != nil {
		t.Fatal(err)
	}
	<-first1
	if arrives(2, 1, 5) == nil {
		t.Error("it arrives by its second move after the first")
	}
	if arrives(1, 0, 1) != nil {
		t.Error("it does not arrive though it has left")
	}
	if slice, found := w.on(1); !found || slice != 3 {
		t.Errorf("slice %d, %v is on lane 1", slice, found)
	}
	if err := w.leave(1, second); err != nil {
		t.Fatal(err)
	}
	if _, found := w.on(1); found {
		t.Error("it is still on the lane that it has left")
	}
	if _, found := w.on(2); !found {
		t.Error("it is not expected on the lane that it goes to")
	}
	if arrives(2, 1, 5) != nil {
		t.Error("it does not arrive by its second move")
	}
}

func TestMovesThatMakeNoSenseAreRefused(t *testing.T) {
	w := newWhereabouts()
	if err := w.leave(0, wire.Shift{Slice: 3, Lane: 1, Epoch: 7}); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]wire.Shift{
		"it has left":      {Slice: 3, Lane: 2, Epoch: 8},
		"to the same lane": {Slice: 4, Lane: 0, Epoch: 8},
	} {
		if err := w.leave(0, s); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.leave(1, wire.Shift{Slice: 4, Lane: 2, Epoch: 8}); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a move from where it is not: %v", err)
	}
	for name, s := range map[string]wire.Shift{
		"another lane left it":     {Slice: 3, Lane: 2, Epoch: 7},
		"a move that is over":      {Slice: 3, Lane: 0, Epoch: 6},
		"from the lane it goes to": {Slice: 5, Lane: 1, Epoch: 7},
	} {
		if wait, err := w.arrive(1, s); !errors.Is(err, wire.ErrMalformed) || wait != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.arrive(2, wire.Shift{Slice: 3, Lane: 0, Epoch: 7}); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("it comes to another lane than it left for: %v", err)
	}
	if _, err := w.arrive(1, wire.Shift{Slice: 3, Lane: 0, Epoch: 7}); err != nil {
		t.Fatal(err)
	}
	if err := w.leave(1, wire.Shift{Slice: 3, Lane: 0, Epoch: 7}); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a move with the number of an earlier one: %v", err)
	}
}
