package test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// A node that starts again keeps what streams want from its first publish on,
// before anybody leads its region's metadata, and before it hears from the region
// that owns the stream.
func TestANodeThatStartsAgainKeepsWhatStreamsWantAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}})
		orders(t, m.Nodes[0], node.StreamDefinition{})
		m.Until(time.Minute, "both nodes know the stream", func() bool {
			for i, n := range m.Nodes {
				if kept, err := n.PublishKept(t.Context(), "", []event.Event{order(t, "/probe", fmt.Sprint(i))}, ""); err != nil || len(kept) != 1 {
					return false
				}
			}
			return true
		})
		for i := range m.Nodes {
			m.Crash(i)
		}
		m.Start(1) // alone: the owner is not there
		m.WaitReady(1)
		keep(t, m.Nodes[1], "/us", 0, 3)
		m.Start(0)
		m.WaitReady(0)
		keep(t, m.Nodes[0], "/eu", 0, 3)
		m.Until(time.Minute, "the region that was gone is back", func() bool {
			r, err := m.Nodes[1].ReadStream(t.Context(), node.StreamRead{Name: "orders"})
			if err == nil {
				r.Close()
			}
			return err == nil
		})
		if got := readAll(t, m.Nodes[1], ""); len(got) != 8 {
			t.Errorf("%d events are kept, want 8: %v", len(got), ids(got))
		}
		// A stream that was deleted meanwhile is forgotten.
		m.Crash(1)
		if err := m.Nodes[0].DeleteStream(t.Context(), "", "orders"); err != nil {
			t.Fatal(err)
		}
		m.Start(1)
		m.WaitReady(1)
		m.Until(time.Minute, "the other region hears that it is deleted", func() bool {
			kept, err := m.Nodes[1].PublishKept(t.Context(), "", []event.Event{order(t, "/us", "x")}, "")
			return err == nil && len(kept) == 0
		})
	})
}
