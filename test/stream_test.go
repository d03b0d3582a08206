package test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// order makes an event of type order.placed with an id and a source.
func order(t *testing.T, source, id string) event.Event {
	t.Helper()
	var b event.Builder
	b.SetString("id", id).SetString("source", source).SetString("type", "order.placed")
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// orders makes a stream of orders at a node, in all regions.
func orders(t *testing.T, n *node.Node, d node.StreamDefinition) node.StreamView {
	t.Helper()
	d.Name, d.Filter = "orders", []byte(`{"pattern":{"type":"order.>"}}`)
	view, err := n.CreateStream(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if len(view.Missing) > 0 {
		t.Fatalf("regions %v do not keep the stream", view.Missing)
	}
	return view
}

// readAll reads a stream from its beginning.
func readAll(t *testing.T, n *node.Node, from string) (list []node.StreamEvent) {
	t.Helper()
	r, err := n.ReadStream(t.Context(), node.StreamRead{Name: "orders", From: from})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		ev, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		ev.Event = ev.Event.Clone()
		list = append(list, ev)
	}
}

// ids are the sources and ids of events, sorted.
func ids(list []node.StreamEvent) (all []string) {
	for _, ev := range list {
		all = append(all, ev.Event.Source()+" "+ev.Event.ID())
	}
	slices.Sort(all)
	return all
}

// A stream that is made in one region keeps what is published in any, and is read
// in any, also after all nodes were killed.
func TestAStreamKeepsWhatIsPublishedAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{3, 1, 2}})
		orders(t, m.Nodes[4], node.StreamDefinition{Partitions: 2})
		var want []string
		for i, n := range m.Nodes {
			for k := range 10 {
				ev := order(t, fmt.Sprintf("/n%d", i), fmt.Sprint(k))
				kept, err := n.PublishKept(t.Context(), "", []event.Event{ev}, "")
				if err != nil {
					t.Fatal(err)
				}
				if len(kept) != 1 || kept[0].Region != n.Self().Region {
					t.Fatalf("it is kept at %v", kept)
				}
				want = append(want, ev.Source()+" "+ev.ID())
			}
		}
		slices.Sort(want)
		for i, n := range m.Nodes {
			if got := ids(readAll(t, n, "earliest")); !slices.Equal(got, want) {
				t.Errorf("node %d reads %d events, want %d", i, len(got), len(want))
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
		m.Until(time.Minute, "the streams are read again", func() bool {
			r, err := m.Nodes[3].ReadStream(t.Context(), node.StreamRead{Name: "orders"})
			if err != nil {
				return false
			}
			defer r.Close()
			for range want {
				if _, err := r.Next(t.Context()); err != nil {
					return false
				}
			}
			return true
		})
		if got := ids(readAll(t, m.Nodes[5], "earliest")); !slices.Equal(got, want) {
			t.Errorf("after a restart of all %d events are read, want %d", len(got), len(want))
		}
	})
}

func TestAnEventThatIsPublishedAgainIsKeptOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1}})
		orders(t, m.Nodes[0], node.StreamDefinition{})
		ev := order(t, "/shop", "1")
		for i := range 3 {
			kept, err := m.Nodes[0].PublishKept(t.Context(), "", []event.Event{ev}, "")
			if err != nil || len(kept) != 1 || kept[0].Offset != 0 || kept[0].Duplicate != (i > 0) {
				t.Fatalf("publish %d: %v %v", i, kept, err)
			}
		}
		if got := readAll(t, m.Nodes[0], ""); len(got) != 1 {
			t.Errorf("%d events are kept", len(got))
		}
	})
}

// Replay goes over into what comes, without a seam.
func TestAReaderFollowsAfterReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}})
		orders(t, m.Nodes[0], node.StreamDefinition{})
		publish := func(at, id int) {
			t.Helper()
			if err := m.Nodes[at].Publish(t.Context(), "", []event.Event{order(t, fmt.Sprint(at), fmt.Sprint(id))}, ""); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 50 {
			publish(i%2, i)
		}
		r, err := m.Nodes[1].ReadStream(t.Context(), node.StreamRead{Name: "orders", Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		next := map[string]int{"0": 0, "1": 1}
		read := func(n int) {
			t.Helper()
			for range n {
				ev, err := r.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				source := ev.Event.Source()
				if want := fmt.Sprint(next[source]); ev.Event.ID() != want {
					t.Fatalf("event %s of %s, want %s", ev.Event.ID(), source, want)
				}
				next[source] += 2
			}
		}
		read(20)
		for i := range 50 {
			publish(i%2, 50+i)
		}
		read(30)
		cursor := r.Cursor()
		r.Close()
		if r, err = m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders", Follow: true, From: cursor}); err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		read(50)
	})
}

// A stream with a home is kept there alone, wherever its events are published.
func TestAStreamWithAHomeIsKeptThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 2, 1}})
		orders(t, m.Nodes[1], node.StreamDefinition{Placement: "home:r1"})
		for i, n := range m.Nodes {
			var kept []node.Position
			m.Until(time.Minute, "the node knows of the stream", func() bool {
				var err error
				kept, err = n.PublishKept(t.Context(), "", []event.Event{order(t, "/shop", fmt.Sprint(i))}, "")
				return err == nil && len(kept) == 1
			})
			if kept[0].Region != "r1" {
				t.Errorf("it is kept at %v", kept)
			}
		}
		if got := readAll(t, m.Nodes[0], ""); len(got) != 4 {
			t.Errorf("%d events are kept", len(got))
		}
	})
}

// What is published for a stream whose home cannot be reached waits on the disk of
// the node that took it, survives its crash, and goes out in order.
func TestWhatAHomeCannotTakeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}})
		orders(t, m.Nodes[1], node.StreamDefinition{Placement: "home:r1"})
		publish := func(from, to int, waiting bool) {
			t.Helper()
			for i := from; i < to; i++ {
				kept, err := m.Nodes[0].PublishKept(t.Context(), "", []event.Event{order(t, "/shop", fmt.Sprint(i))}, "")
				if err != nil || len(kept) != 1 || kept[0].Waiting != waiting {
					t.Fatalf("event %d: %v %v", i, kept, err)
				}
			}
		}
		m.Until(time.Minute, "the node knows of the stream", func() bool {
			_, err := m.Nodes[0].ReadStream(t.Context(), node.StreamRead{Name: "orders"})
			return err == nil
		})
		publish(0, 5, false)
		m.CutRegions("r0", "r1")
		publish(5, 10, true)
		m.Crash(0)
		m.Start(0)
		m.Until(time.Minute, "the node knows of its stream again", func() bool {
			kept, err := m.Nodes[0].PublishKept(t.Context(), "", []event.Event{order(t, "/shop", "10")}, "")
			return err == nil && len(kept) == 1
		})
		m.HealRegions("r0", "r1")
		m.Until(time.Minute, "all are kept", func() bool { return len(readAll(t, m.Nodes[1], "")) == 11 })
		for i, ev := range readAll(t, m.Nodes[1], "") {
			if ev.Event.ID() != fmt.Sprint(i) {
				t.Errorf("event %d is %s", i, ev.Event.ID())
			}
		}
		m.Until(time.Minute, "nothing waits any more", func() bool {
			kept, err := m.Nodes[0].PublishKept(t.Context(), "", []event.Event{order(t, "/shop", "11")}, "")
			return err == nil && len(kept) == 1 && !kept[0].Waiting
		})
	})
}
