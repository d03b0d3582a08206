package test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// A node that leaves has handed over what it led: who publishes at the others
// notices nothing.
func TestANodeThatLeavesHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{3}})
		orders(t, m.Nodes[0], node.StreamDefinition{Partitions: 8})
		leads := func(i int) (n int) {
			view, err := m.Nodes[0].Stream(t.Context(), "", "orders")
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range view.Logs {
				if l.Leader == m.Nodes[i].Self().Name {
					n++
				}
			}
			return n
		}
		m.Until(time.Minute, "each node leads some partitions", func() bool { return leads(0) > 1 && leads(1) > 1 && leads(2) > 1 })
		time.Sleep(10 * time.Second) // simulated: leadership has been balanced
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			m.Leave(1)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for i := 0; ctx.Err() == nil; i++ {
			began := time.Now()
			ev := []event.Event{order(t, fmt.Sprint("/shop/", i%50), fmt.Sprint(i))}
			if _, err := m.Nodes[2*(i%2)].PublishKept(t.Context(), "", ev, ""); err != nil {
				t.Fatalf("event %d: %v", i, err)
			}
			if took := time.Since(began); took > 200*time.Millisecond {
				t.Errorf("event %d waits for %v", i, took)
			}
			time.Sleep(5 * time.Millisecond) // simulated
		}
		<-gone
	})
}

// A node that is drained keeps nothing when it says so: it can be stopped for good, and
// every event is read at the others. One that is drained no more keeps its share again.
func TestADrainedNodeIsMissedByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{4}})
		orders(t, m.Nodes[0], node.StreamDefinition{Partitions: 8})
		state := func(i int) node.DrainView {
			t.Helper()
			view, err := m.Nodes[i].Drained()
			if err != nil {
				t.Fatal(err)
			}
			return view
		}
		published := 0
		publish := func(at int) {
			t.Helper()
			for range 50 {
				ev := []event.Event{order(t, fmt.Sprint("/shop/", published), fmt.Sprint(published))}
				if _, err := m.Nodes[at].PublishKept(t.Context(), "", ev, ""); err != nil {
					t.Fatal(err)
				}
				published++
			}
		}
		m.Until(5*time.Minute, "every node has replicas", func() bool {
			return state(0).Replicas > 1 && state(1).Replicas > 1 && state(2).Replicas > 1 && state(3).Replicas > 1
		})
		publish(0)
		for _, i := range []int{1, 0} { // the second founded the mesh
			if view, err := m.Nodes[i].Drain(t.Context(), true); err != nil || view.State != "draining" || view.Replicas == 0 {
				t.Fatalf("node %d: %+v, %v", i, view, err)
			}
			publish(i)
			m.Until(5*time.Minute, "nothing is left on it", func() bool { return state(i).Replicas == 0 })
			publish(i)
			if i == 0 {
				m.Leave(i)
				break
			}
			view, err := m.Nodes[i].Drain(t.Context(), false)
			if err != nil || view != (node.DrainView{Node: "n1", State: "active", Others: 3}) {
				t.Errorf("it was drained and is not any more: %+v, %v", view, err)
			}
			m.Until(5*time.Minute, "it has replicas again", func() bool { return state(i).Replicas > 1 })
		}
		publish(2)
		for i := 1; i < 4; i++ {
			if got := len(readAll(t, m.Nodes[i], "")); got != published {
				t.Errorf("at node %d %d of %d events are read", i, got, published)
			}
		}
		view, err := m.Nodes[1].Stream(t.Context(), "", "orders")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range view.Logs {
			if len(l.Replicas) != 3 {
				t.Errorf("partition %d has %d replicas", l.Partition, len(l.Replicas))
			}
		}
	})
}
