package test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// keepParcel publishes an order with data that cannot be compressed.
func keepParcel(t *testing.T, n *node.Node, source string, id, size int) {
	t.Helper()
	data := make([]byte, size)
	rng := rand.NewPCG(7, uint64(id))
	for i := range data {
		data[i] = byte(rng.Uint64())
	}
	var b event.Builder
	b.SetString("id", fmt.Sprint(id)).SetString("source", source).SetString("type", "order.placed").SetData(event.BinaryData, data)
	ev, err := b.Event()
	if err == nil {
		_, err = n.PublishKept(t.Context(), "", []event.Event{ev}, "")
	}
	if err != nil {
		t.Fatalf("parcel %d: %v", id, err)
	}
}

// crossing is how many bytes cross from the region that keeps a stream for each of
// its events of 1 KiB, while readers at nodes of another region follow it.
func crossing(t *testing.T, readers int) float64 {
	t.Helper()
	const events, size = 400, 1 << 10
	m := simmesh.New(t, simmesh.Config{Regions: []int{1, 2}})
	orders(t, m.Nodes[0], node.StreamDefinition{})
	keep(t, m.Nodes[0], "/first", 0, 1)
	var list []*node.StreamReader
	for i := range readers {
		r, err := m.Nodes[1+i%2].ReadStream(t.Context(), node.StreamRead{Name: "orders", From: "latest", Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		list = append(list, r)
	}
	time.Sleep(time.Second)
	began, before := time.Now(), m.Crossed("r0", "r1")
	for i := range events {
		keepParcel(t, m.Nodes[0], "/shop", i, size)
		time.Sleep(5 * time.Millisecond)
	}
	for _, r := range list {
		for i := range events {
			if ev, err := r.Next(t.Context()); err != nil || ev.Event.ID() != fmt.Sprint(i) {
				t.Fatalf("event %d is read as %v, %v", i, ev.Position, err)
			}
		}
	}
	bytes, took := m.Crossed("r0", "r1")-before, time.Since(began)
	time.Sleep(took) // what crosses anyway
	idle := m.Crossed("r0", "r1") - before - bytes
	each := (float64(bytes) - float64(idle)) / events
	t.Logf("%d readers: %d bytes in %v, %d in the same time without: %.0f for each event of 1 KiB", readers, bytes, took, idle, each)
	return each
}

// An event crosses to a region once, however many read it there, and as it is.
func TestAStreamsEventsCrossToARegionOnce(t *testing.T) {
	for _, readers := range []int{1, 3} {
		t.Run(fmt.Sprint(readers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if each := crossing(t, readers); each > 1.25*1024 {
					t.Errorf("%.0f bytes for an event of 1 KiB with %d readers", each, readers)
				}
			})
		})
	}
}

// What a reader's filter does not want does not cross, and the reader's cursor goes
// past it all the same.
func TestWhatAFilterLeavesOutDoesNotCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 1, 1)
		const events, size = 200, 4 << 10
		filter := []byte(`{"exact":{"source":"/some"}}`)
		r, err := m.Nodes[1].ReadStream(t.Context(), node.StreamRead{Name: "orders", Follow: true, Filter: filter})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for i := range events {
			source := "/other"
			if i%50 == 49 {
				source = "/some"
			}
			keepParcel(t, m.Nodes[0], source, i, size)
		}
		before := m.Crossed("r0", "r1")
		var w witnessed
		if err := w.readFor(t, r, 20*time.Second); err != nil || len(w.list) != events/50 {
			t.Fatalf("%d events match, %v", len(w.list), err)
		}
		last := &w.list[len(w.list)-1]
		keepParcel(t, m.Nodes[0], "/other", events, size)
		m.Until(time.Minute, "the cursor goes past what is left out", func() bool {
			if err := w.readFor(t, r, time.Second); err != nil {
				t.Fatal(err)
			}
			return strings.Contains(r.Cursor(), fmt.Sprintf("r0/%d:%d", last.Position.Partition, events+1))
		})
		ended, err := m.Nodes[1].ReadStream(t.Context(), node.StreamRead{Name: "orders", Filter: filter})
		if err != nil {
			t.Fatal(err)
		}
		defer ended.Close()
		var again witnessed
		if err := again.readFor(t, ended, time.Minute); !errors.Is(err, io.EOF) || len(again.list) != events/50 {
			t.Errorf("to the end %d events match, %v", len(again.list), err)
		}
		if bytes := m.Crossed("r0", "r1") - before; bytes > events*size/8 {
			t.Errorf("%d bytes have crossed, of events of %d", bytes, events*size)
		}
	})
}

// The relay's crash is not noticed: another node takes its place.
func TestReadersGoOnWithoutTheirRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 1, 3)
		keep(t, m.Nodes[0], "/eu", 0, 5)
		r, err := m.Nodes[1].ReadStream(t.Context(), node.StreamRead{Name: "orders", Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var w witnessed
		for i := range 2 { // one of three is the relay, and it may be the reader's own node
			if err := w.readFor(t, r, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			m.Crash(2 + i)
			keep(t, m.Nodes[0], "/eu", 5+5*i, 10+5*i)
		}
		if err := w.readFor(t, r, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		w.inOrder(t, map[string]int{"/eu": 15})
	})
}

// A slow reader holds up nobody, and no relay fills up with what it has not read.
func TestASlowReaderOfAnotherRegionHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := twoRegions(t, 1, 2)
		var readers []*node.StreamReader
		for i := range 4 {
			r, err := m.Nodes[1+i%2].ReadStream(t.Context(), node.StreamRead{Name: "orders", Follow: true})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			readers = append(readers, r)
		}
		const events, size = 200, 50 << 10
		var quick [3]witnessed
		for i := range events {
			keepParcel(t, m.Nodes[0], "/eu", i, size)
			if i%20 == 19 {
				for k := range quick {
					if err := quick[k].readFor(t, readers[k], 2*time.Second); err != nil {
						t.Fatal(err)
					}
					quick[k].inOrder(t, map[string]int{"/eu": i + 1})
				}
			}
		}
		time.Sleep(time.Minute)
		for i := 1; i < 3; i++ {
			if bytes := m.Nodes[i].Stats().Streams.Relay.Bytes; bytes > 0 {
				t.Errorf("node %d remembers %d bytes of what nobody has read for a minute", i, bytes)
			}
		}
		var slow witnessed
		if err := slow.readFor(t, readers[3], 10*time.Second); err != nil {
			t.Fatal(err)
		}
		slow.inOrder(t, map[string]int{"/eu": events})
	})
}

// A region that is reached only through another one is read all the same, by way of
// its relay, from any node.
func TestAStreamIsReadThroughARegionInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1, 3}, Apart: [][2]string{{"r0", "r2"}}})
		orders(t, m.Nodes[1], node.StreamDefinition{})
		m.Until(time.Minute, "the stream is kept everywhere", func() bool {
			v, err := m.Nodes[4].Stream(t.Context(), "", "orders")
			return err == nil && len(v.Logs) == 3
		})
		keep(t, m.Nodes[0], "/far", 0, 20)
		for i, n := range m.Nodes {
			if got := len(readAll(t, n, "")); got != 20 {
				t.Errorf("node %d reads %d events, want 20", i, got)
			}
		}
		asked := uint64(0)
		for _, n := range m.Nodes[2:] {
			asked += n.Stats().Streams.Relay.Asked
		}
		if asked != 1 {
			t.Errorf("%d questions were asked for one block that three nodes of a region read", asked)
		}
	})
}
