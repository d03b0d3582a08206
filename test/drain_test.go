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
