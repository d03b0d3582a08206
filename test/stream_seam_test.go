package test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/event"
)

// Replay goes over into what comes without a seam while publishes go on everywhere,
// wherever reading begins, in either order, from readers' cursors too, and over a cut;
// and what reads to the end ends, with all that was acknowledged before it began.
func TestReplayAndLiveTailHaveNoSeamWhilePublishesGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 2, 2)
		const each = 150
		sources := []string{"/n0", "/n1", "/n2", "/n3"}
		published := make([]chan struct{}, len(sources))
		for i, source := range sources {
			published[i] = make(chan struct{})
			go func() {
				defer close(published[i])
				for k := range each {
					ev := order(t, source, fmt.Sprint(k))
					if _, err := m.Nodes[i].PublishKept(t.Context(), "", []event.Event{ev}, ""); err != nil {
						t.Errorf("publish: %v", err)
						return
					}
					time.Sleep(time.Duration(40+10*i) * time.Millisecond)
				}
			}()
		}
		time.Sleep(2 * time.Second)
		type following struct {
			node.StreamRead
			at int
			w  witnessed
			ok chan error
		}
		var readers []*following
		for i := range 8 {
			f := &following{at: i % 4, ok: make(chan error, 1)}
			f.Name, f.Follow = "orders", true
			if i >= 4 {
				f.Order, f.Hold = node.ByTime, 200*time.Millisecond
			}
			readers = append(readers, f)
			go func() { // a reader that comes back with its cursor, again and again
				for len(f.w.list) < each*len(sources) {
					r, err := m.Nodes[f.at].ReadStream(t.Context(), f.StreamRead)
					if err == nil {
						err = f.w.readFor(t, r, time.Duration(1000+137*i)*time.Millisecond)
						f.From = r.Cursor()
						r.Close()
					}
					if err != nil || len(f.w.missing) > 20 {
						f.ok <- fmt.Errorf("from %s: %w, missing %v", f.From, err, f.w.missing)
						return
					}
				}
				f.ok <- nil
			}()
		}
		for range 5 { // reading to the end does not go on for ever
			var w witnessed
			r, err := m.Nodes[3].ReadStream(t.Context(), node.StreamRead{Name: "orders"})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.readFor(t, r, time.Minute); !errors.Is(err, io.EOF) || len(w.list) == 0 {
				t.Errorf("reading to the end of %d events: %v", len(w.list), err)
			}
			r.Close()
			w.inOrder(t, nil)
			time.Sleep(500 * time.Millisecond)
		}
		m.CutRegions("r0", "r1")
		time.Sleep(4 * time.Second)
		m.HealRegions("r0", "r1")
		for _, p := range published {
			<-p
		}
		want := map[string]int{"/n0": each, "/n1": each, "/n2": each, "/n3": each}
		for i, f := range readers {
			select {
			case err := <-f.ok:
				if err != nil {
					t.Errorf("reader %d: %v", i, err)
				}
			case <-time.After(time.Minute):
				t.Errorf("reader %d has %d of %d events", i, len(f.w.list), each*len(sources))
				continue
			}
			f.w.inOrder(t, want)
		}
	})
}
