package test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// parcel is an order with data that cannot be compressed.
func parcel(t *testing.T, id string, size int) event.Event {
	t.Helper()
	data := make([]byte, size)
	rng := rand.NewPCG(7, uint64(len(id))<<32|uint64(id[len(id)-1]))
	for i := range data {
		data[i] = byte(rng.Uint64())
	}
	var b event.Builder
	b.SetString("id", id).SetString("source", "/shop").SetString("type", "order.placed").SetData(event.BinaryData, data)
	ev, err := b.Event()
	if err != nil {
		t.Fatal(err)
	}
	return ev
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
		if err := m.Nodes[0].Publish(t.Context(), "", []event.Event{parcel(t, fmt.Sprint(i), size)}, ""); err != nil {
			t.Fatal(err)
		}
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
