package test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// keep publishes orders of a source, numbered, and fails unless they are kept.
func keep(t *testing.T, n *node.Node, source string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		kept, err := n.PublishKept(t.Context(), "", []event.Event{order(t, source, fmt.Sprint(i))}, "")
		if err != nil || len(kept) != 1 {
			t.Fatalf("order %d: %v, %v", i, kept, err)
		}
	}
}

// Reading ends with all that was acknowledged before it began, whichever node is
// asked and however far its own replica is; also right after all were killed.
func TestAReaderHasAllThatWasAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{3, 1}})
		orders(t, m.Nodes[0], node.StreamDefinition{})
		for _, n := range m.Nodes {
			m.Until(time.Minute, "each node knows the stream", func() bool {
				v, err := n.Stream(t.Context(), "", "orders")
				return err == nil && len(v.Logs) == 2
			})
		}
		for i := range 20 {
			keep(t, m.Nodes[i%4], "/shop", i, i+1)
			for k, n := range m.Nodes {
				if got := len(readAll(t, n, "earliest")); got != i+1 {
					t.Fatalf("node %d reads %d events, %d are acknowledged", k, got, i+1)
				}
			}
		}
		for i := range m.Nodes {
			m.Crash(i)
		}
		for i := range m.Nodes {
			m.Start(i)
		}
		for i := range m.Nodes {
			m.WaitReady(i)
		}
		// The first answer that is no refusal has everything.
		m.Until(time.Minute, "the stream is read again", func() bool {
			r, err := m.Nodes[3].ReadStream(t.Context(), node.StreamRead{Name: "orders"})
			if err != nil {
				return false
			}
			defer r.Close()
			for n := 0; ; n++ {
				_, err := r.Next(t.Context())
				if errors.Is(err, io.EOF) {
					if n != 20 && len(strings.Split(r.Cursor(), ",")) == 2 {
						t.Fatalf("%d of 20 events are read", n)
					}
					return n == 20
				}
				if err != nil {
					return false
				}
			}
		})
	})
}

// A cursor goes on where the reader was, also in logs that it has read nothing of.
func TestACursorRemembersLogsThatWereQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}})
		orders(t, m.Nodes[0], node.StreamDefinition{})
		keep(t, m.Nodes[0], "/quiet", 0, 10)
		r, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", From: "latest", Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		keep(t, m.Nodes[1], "/busy", 0, 2)
		if ev, err := r.Next(t.Context()); err != nil || ev.Event.Source() != "/busy" || ev.Event.ID() != "0" {
			t.Fatalf("the first event after the latest is %v, %v", ev.Position, err)
		}
		got := readAll(t, m.Nodes[1], r.Cursor())
		if len(got) != 1 || got[0].Event.ID() != "1" || got[0].Event.Source() != "/busy" {
			t.Errorf("from cursor %s on there is %v", r.Cursor(), ids(got))
		}
	})
}

// Who asks for what was trimmed is told what is still there.
func TestAReaderIsToldOfWhatWasTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}})
		view := orders(t, m.Nodes[0], node.StreamDefinition{Placement: "home:r1"})
		m.Until(time.Minute, "the other region knows the stream", func() bool {
			_, err := m.Nodes[1].Stream(t.Context(), "", view.Name)
			return err == nil
		})
		keep(t, m.Nodes[1], "/shop", 0, 10)
		info, err := m.Nodes[0].Stream(t.Context(), "", "orders")
		if err != nil || len(info.Logs) != 1 {
			t.Fatalf("%+v, %v", info, err)
		}
		number := info.Logs[0].Partition
		if err := m.Nodes[0].TrimStream(t.Context(), "", "orders", node.StreamTrim{Partition: number, Before: 11}); !errors.Is(err, node.ErrInvalid) {
			t.Errorf("a trim beyond the end: %v", err)
		}
		if err := m.Nodes[0].TrimStream(t.Context(), "", "orders", node.StreamTrim{Partition: number + 1, Before: 1}); !errors.Is(err, node.ErrInvalid) {
			t.Errorf("a trim of a partition without the stream: %v", err)
		}
		if err := m.Nodes[0].TrimStream(t.Context(), "", "orders", node.StreamTrim{Region: "r0", Partition: number, Before: 1}); !errors.Is(err, node.ErrInvalid) {
			t.Errorf("a trim in a region that does not keep it: %v", err)
		}
		if err := m.Nodes[0].TrimStream(t.Context(), "", "orders", node.StreamTrim{Partition: number, Before: 4}); err != nil {
			t.Fatal(err)
		}
		var trimmed *node.TrimmedError
		if _, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", From: "2"}); !errors.As(err, &trimmed) || trimmed.Start != 4 {
			t.Errorf("reading from offset 2: %v", err)
		}
		if got := readAll(t, m.Nodes[0], "earliest"); len(got) != 6 || got[0].Position.Offset != 4 {
			t.Errorf("%d events are left, the first at %v", len(got), got[0].Position)
		}
		r, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", From: "2", GoOn: true, Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := r.Next(t.Context()); !errors.As(err, &trimmed) || trimmed.Start != 4 || trimmed.Offset != 2 {
			t.Errorf("the first that is told is %v", err)
		}
		if ev, err := r.Next(t.Context()); err != nil || ev.Position.Offset != 4 {
			t.Errorf("then comes %v, %v", ev.Position, err)
		}
	})
}

// The stream that was deleted last is the one that comes back.
func TestADeletedStreamComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1}})
		n := m.Nodes[0]
		for i := range 2 {
			orders(t, n, node.StreamDefinition{})
			keep(t, n, "/shop", 0, i+1)
			if err := n.DeleteStream(t.Context(), "", "orders"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := n.ReadStream(t.Context(), node.StreamRead{Name: "orders"}); !errors.Is(err, node.ErrNoStream) {
			t.Errorf("a deleted stream is read: %v", err)
		}
		if _, err := n.UndeleteStream(t.Context(), "", "orders"); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, n, ""); len(got) != 2 {
			t.Errorf("%d events came back, want 2", len(got))
		}
	})
}

// A log that begins to keep the stream while it is followed is read from its
// beginning, wherever reading began: all of it has come since.
func TestAReaderHasAllOfALogThatIsNewerThanIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1}})
		orders(t, m.Nodes[0], node.StreamDefinition{})
		keep(t, m.Nodes[0], "/eu", 0, 3)
		read := map[string]*node.StreamReader{}
		for _, from := range []string{"latest", "3"} {
			r, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", From: from, Follow: true})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			read[from] = r
		}
		us := m.Add("r1")
		m.WaitReady(us)
		keep(t, m.Nodes[us], "/us", 0, 3)
		for from, r := range read {
			var w witnessed
			if err := w.readFor(t, r, time.Minute); err != nil {
				t.Fatal(err)
			}
			if len(w.list) != 3 {
				t.Errorf("from %s it reads %d events", from, len(w.list))
			}
			w.inOrder(t, map[string]int{"/us": 3})
		}
	})
}

// Reading ends where the logs end, and waits for nothing there: also if nothing at
// their end is wanted, or nothing at all.
func TestReadingEndsWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 1, 1, 1)
		keep(t, m.Nodes[0], "/eu", 0, 5)
		keep(t, m.Nodes[1], "/us", 0, 5) // and the third has nothing
		time.Sleep(time.Second)
		for what, q := range map[string]node.StreamRead{
			"all":                         {},
			"what is not at the end":      {Filter: []byte(`{"exact":{"id":"0"}}`)},
			"nothing":                     {Filter: []byte(`{"exact":{"id":"none"}}`)},
			"what is younger than it all": {From: time.Now().Format(time.RFC3339Nano)},
		} {
			q.Name = "orders"
			began := time.Now()
			r, err := m.Nodes[0].ReadStream(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			var w witnessed
			if err := w.readFor(t, r, time.Minute); err != io.EOF {
				t.Errorf("%s: %v", what, err)
			}
			r.Close()
			want := map[string]int{"all": 10, "what is not at the end": 2}[what]
			if took := time.Since(began); len(w.list) != want || took > 2*time.Second {
				t.Errorf("%s: %d events, want %d, after %v", what, len(w.list), want, took) // simulated
			}
		}
	})
}
