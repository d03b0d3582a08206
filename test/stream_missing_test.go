package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
)

// witnessed is what a reader has handed out: events, and what it told between them.
type witnessed struct {
	list    []node.StreamEvent
	missing [][]string
}

// readFor reads what comes within a time, or until the end.
func (w *witnessed) readFor(t *testing.T, r *node.StreamReader, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	for {
		ev, err := r.Next(ctx)
		var missing *node.MissingError
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return nil
		case errors.As(err, &missing):
			w.missing = append(w.missing, missing.Regions)
			if len(w.missing) > 100 {
				return err
			}
		case err != nil:
			return err
		default:
			ev.Event = ev.Event.Clone()
			w.list = append(w.list, ev)
		}
	}
}

// inOrder fails unless the events of each source are those with ids 0 to n-1.
func (w *witnessed) inOrder(t *testing.T, want map[string]int) {
	t.Helper()
	got := map[string]int{}
	for _, ev := range w.list {
		if s := ev.Event.Source(); ev.Event.ID() != fmt.Sprint(got[s]) {
			t.Fatalf("event %s of %s comes as number %d", ev.Event.ID(), s, got[s])
		}
		got[ev.Event.Source()]++
	}
	for s, n := range want {
		if got[s] != n {
			t.Errorf("%d events of %s, want %d", got[s], s, n)
		}
	}
}

// twoRegions is a mesh of two regions with a stream that both know.
func twoRegions(t *testing.T, nodes ...int) *simmesh.Mesh {
	t.Helper()
	m := simmesh.New(t, simmesh.Config{Regions: nodes})
	orders(t, m.Nodes[0], node.StreamDefinition{})
	for _, n := range m.Nodes {
		m.Until(time.Minute, "each node knows the stream", func() bool {
			v, err := n.Stream(t.Context(), "", "orders")
			return err == nil && len(v.Logs) == len(nodes)
		})
	}
	return m
}

// A reader that follows goes on while a region is out of reach, says which, and has
// all of it when it is back.
func TestAReaderGoesOnWithoutARegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 1, 1)
		keep(t, m.Nodes[0], "/eu", 0, 5)
		keep(t, m.Nodes[1], "/us", 0, 5)
		r, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var w witnessed
		read := func(d time.Duration) {
			t.Helper()
			if err := w.readFor(t, r, d); err != nil {
				t.Fatal(err)
			}
		}
		read(time.Second)
		w.inOrder(t, map[string]int{"/eu": 5, "/us": 5})
		for round := range 2 {
			from := 5 + 5*round
			m.CutRegions("r0", "r1")
			keep(t, m.Nodes[0], "/eu", from, from+5)
			keep(t, m.Nodes[1], "/us", from, from+5)
			read(time.Minute)
			w.inOrder(t, map[string]int{"/eu": from + 5, "/us": from})
			if want := [][]string{{"r1"}, {}, {"r1"}}[:1+2*round]; !slices.EqualFunc(w.missing, want, slices.Equal) {
				t.Fatalf("it says that %v are missing, want %v", w.missing, want)
			}
			if got := r.Missing(); !slices.Equal(got, []string{"r1"}) {
				t.Errorf("missing are %v", got)
			}
			m.HealRegions("r0", "r1")
			read(30 * time.Second)
			w.inOrder(t, map[string]int{"/eu": from + 5, "/us": from + 5})
			if len(w.missing) != 2+2*round || len(w.missing[1+2*round]) > 0 {
				t.Fatalf("it says that %v are missing", w.missing)
			}
		}
	})
}

// Reading begins where it can; the rest comes when it is there, from where the reader
// wanted it.
func TestReadingBeginsWithoutARegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 1, 2)
		keep(t, m.Nodes[0], "/eu", 0, 5)
		keep(t, m.Nodes[1], "/us", 0, 5)
		old, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		var first witnessed
		if err := first.readFor(t, old, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		cursor := old.Cursor()
		old.Close()
		m.CutRegions("r0", "r1")
		time.Sleep(10 * time.Second)
		var readers []*node.StreamReader
		starts := []string{"earliest", "latest", cursor, time.Now().Add(-time.Minute).Format(time.RFC3339Nano)}
		for _, from := range starts {
			r, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", Follow: true, From: from})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			readers = append(readers, r)
		}
		all := make([]witnessed, len(readers))
		time.Sleep(time.Second)
		keep(t, m.Nodes[0], "/eu", 5, 10)
		keep(t, m.Nodes[1], "/us", 5, 10)
		for i, r := range readers {
			if err := all[i].readFor(t, r, time.Second); err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(all[i].missing, [][]string{{"r1"}}, slices.Equal) {
				t.Errorf("from %s it says that %v are missing", starts[i], all[i].missing)
			}
			// Who goes on with the cursor of one that never saw the region misses nothing.
			again, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", Follow: true, From: r.Cursor()})
			if err != nil {
				t.Fatalf("from %s: %v", r.Cursor(), err)
			}
			r.Close()
			defer again.Close()
			readers[i] = again
		}
		m.HealRegions("r0", "r1")
		for i, r := range readers {
			if err := all[i].readFor(t, r, 30*time.Second); err != nil {
				t.Fatal(err)
			}
			var us []string
			for _, ev := range all[i].list {
				if ev.Event.Source() == "/us" {
					us = append(us, ev.Event.ID())
				}
			}
			if want := []int{10, 5, 5, 10}[i]; len(us) != want || us[0] != fmt.Sprint(10-want) {
				t.Errorf("from %s it gets %v of the region that was missing, want %d", starts[i], us, want)
			}
		}
	})
}

// Who reads to the end is told that a region is missing: by an error, or, if that was
// asked for, beside what there is.
func TestReadingToTheEndIsNeverShortUnsaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 1, 1)
		keep(t, m.Nodes[0], "/eu", 0, 5)
		keep(t, m.Nodes[1], "/us", 0, 5)
		m.CutRegions("r0", "r1")
		time.Sleep(10 * time.Second)
		_, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders"})
		var missing *node.MissingError
		if !errors.As(err, &missing) || !slices.Equal(missing.Regions, []string{"r1"}) || !errors.Is(err, node.ErrUnreachable) {
			t.Errorf("reading to the end without a region: %v", err)
		}
		r, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", Partial: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var w witnessed
		if err := w.readFor(t, r, time.Minute); !errors.Is(err, io.EOF) {
			t.Errorf("reading what there is ends with %v", err)
		}
		w.inOrder(t, map[string]int{"/eu": 5, "/us": 0})
		if len(w.missing) != 1 || !slices.Equal(w.missing[0], []string{"r1"}) {
			t.Errorf("it says that %v are missing", w.missing)
		}
		m.HealRegions("r0", "r1")
		m.Until(time.Minute, "the region is back", func() bool {
			rest, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", From: r.Cursor()})
			if err != nil {
				return false
			}
			defer rest.Close()
			if err := w.readFor(t, rest, time.Minute); !errors.Is(err, io.EOF) {
				t.Errorf("the rest ends with %v", err)
			}
			return true
		})
		w.inOrder(t, map[string]int{"/eu": 5, "/us": 5})
	})
}

// The same, if the region is lost in the middle.
func TestARegionThatIsLostInTheMiddleIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 1, 1)
		const n = 40
		keep(t, m.Nodes[0], "/eu", 0, n)
		for i := range n {
			keepParcel(t, m.Nodes[1], "/us", i, 60<<10) // more than is fetched at once
		}
		for _, partial := range []bool{false, true} {
			time.Sleep(time.Minute) // no relay remembers any of it
			r, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", Partial: partial})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			m.CutRegions("r0", "r1")
			var w witnessed
			err = w.readFor(t, r, time.Minute)
			cursor := r.Cursor()
			m.HealRegions("r0", "r1")
			var missing *node.MissingError
			if !partial && (err == nil || !slices.Equal(w.missing[0], []string{"r1"}) || len(w.missing) < 2) {
				t.Errorf("it ends with %v, told are %v", err, w.missing)
			}
			if partial && (!errors.Is(err, io.EOF) || len(w.missing) != 1) {
				t.Errorf("it ends with %v, told are %v", err, w.missing)
			}
			m.Until(time.Minute, "the region is back", func() bool {
				rest, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", From: cursor})
				if errors.As(err, &missing) {
					return false
				}
				if err != nil {
					t.Fatal(err)
				}
				defer rest.Close()
				if err := w.readFor(t, rest, time.Minute); !errors.Is(err, io.EOF) {
					t.Errorf("the rest ends with %v", err)
				}
				return true
			})
			w.inOrder(t, map[string]int{"/eu": n, "/us": n})
		}
	})
}

// What retention takes while a region is out of reach is told when it is back, beside
// that it is.
func TestWhatIsTrimmedWhileARegionIsMissingIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 1, 1)
		keep(t, m.Nodes[1], "/us", 0, 5)
		r, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var w witnessed
		if err := w.readFor(t, r, 10*time.Second); err != nil || len(w.list) != 5 {
			t.Fatalf("%d events, %v", len(w.list), err)
		}
		m.CutRegions("r0", "r1")
		keep(t, m.Nodes[1], "/us", 5, 15)
		if err := w.readFor(t, r, 20*time.Second); err != nil {
			t.Fatal(err)
		}
		if err := m.Nodes[1].TrimStream(t.Context(), "", "orders", node.StreamTrim{Region: "r1", Partition: w.list[0].Position.Partition, Before: 12}); err != nil {
			t.Fatal(err)
		}
		m.HealRegions("r0", "r1")
		var trimmed *node.TrimmedError
		if err := w.readFor(t, r, 30*time.Second); !errors.As(err, &trimmed) || trimmed.Offset != 5 || trimmed.Start != 12 {
			t.Fatalf("it is told %v", err)
		}
		if err := w.readFor(t, r, 10*time.Second); err != nil || len(w.list) != 8 || w.list[5].Position.Offset != 12 {
			t.Errorf("after it come %d events, %v", len(w.list)-5, err)
		}
		if want := [][]string{{"r1"}, {}}; !slices.EqualFunc(w.missing, want, slices.Equal) {
			t.Errorf("missing are %v", w.missing)
		}
	})
}
