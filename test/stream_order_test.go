package test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
)

// disorder is how many events come after one of a later time.
func disorder(list []node.StreamEvent) (n int) {
	for i := 1; i < len(list); i++ {
		if list[i].Time.Before(list[i-1].Time) {
			n++
		}
	}
	return n
}

// A reader that follows by time has the events of all regions in order of time, though
// those of another region come later.
func TestAReaderFollowsByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 1, 1)
		publish := func(from, to int) {
			for i := from; i < to; i++ {
				for k, source := range []string{"/eu", "/us"} {
					keep(t, m.Nodes[k], source, i, i+1)
					time.Sleep(7 * time.Millisecond)
				}
			}
		}
		publish(0, 50)
		got := map[node.Order]*witnessed{}
		for _, order := range []node.Order{node.ByArrival, node.ByTime} {
			r, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", Follow: true, Order: order, Hold: 500 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			w := &witnessed{}
			got[order] = w
			done := make(chan error, 1)
			go func() { done <- w.readFor(t, r, 20*time.Second) }()
			defer func() {
				if err := <-done; err != nil {
					t.Error(err)
				}
				w.inOrder(t, map[string]int{"/eu": 100, "/us": 100})
				if n := disorder(w.list); (n > 0) == (order == node.ByTime) {
					t.Errorf("by %s %d of %d events come before an earlier one", order, n, len(w.list))
				}
			}()
		}
		publish(50, 100)
	})
}

// A log that is quiet holds up the others for the time that was asked for, and one
// that is out of reach until that is told.
func TestAQuietLogHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 1, 1)
		keep(t, m.Nodes[0], "/first", 0, 1) // a log that is new is found a little later
		const hold = 300 * time.Millisecond
		r, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", From: "latest", Follow: true, Order: node.ByTime, Hold: hold})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for i := range 3 {
			keep(t, m.Nodes[0], "/eu", i, i+1)
			began := time.Now()
			if ev, err := r.Next(t.Context()); err != nil || ev.Event.ID() != fmt.Sprint(i) {
				t.Fatalf("%v, %v", ev.Position, err)
			}
			if held := time.Since(began); held < hold-50*time.Millisecond || held > hold+50*time.Millisecond {
				t.Errorf("an event is held for %v, want %v", held, hold)
			}
		}
		m.CutRegions("r0", "r1")
		var w witnessed
		if err := w.readFor(t, r, 10*time.Second); err != nil || len(w.missing) != 1 {
			t.Fatalf("missing are %v, %v", w.missing, err)
		}
		keep(t, m.Nodes[0], "/eu", 3, 4)
		began := time.Now()
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if held := time.Since(began); held > 50*time.Millisecond {
			t.Errorf("a region that is missing holds up an event for %v", held)
		}
	})
}

// Reading that ends is in order of time unless that is not wanted; each event comes
// once either way.
func TestReadingToTheEndIsInOrderOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 1, 1)
		for i := range 100 {
			for k, source := range []string{"/eu", "/us"} {
				keep(t, m.Nodes[k], source, i, i+1)
				time.Sleep(time.Millisecond)
			}
		}
		for _, order := range []node.Order{"", node.ByTime, node.ByArrival} {
			r, err := m.Nodes[1].ReadStream(t.Context(), node.StreamRead{Name: "orders", Order: order})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var w witnessed
			if err := w.readFor(t, r, time.Minute); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			w.inOrder(t, map[string]int{"/eu": 100, "/us": 100})
			if n := disorder(w.list); (n > 0) != (order == node.ByArrival) {
				t.Errorf("in order %q %d events come before an earlier one", order, n)
			}
		}
		if _, err := m.Nodes[1].ReadStream(t.Context(), node.StreamRead{Name: "orders", Order: "any"}); !errors.Is(err, node.ErrInvalid) {
			t.Errorf("an order that there is not: %v", err)
		}
	})
}
