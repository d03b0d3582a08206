package test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
)

// Packets pass between two regions in one direction alone: each keeps what is published
// there, and readers of both go on by a third region if there is one, else when all is
// well again, with all events in order.
func TestStreamsThroughAOneWayCut(t *testing.T) {
	for name, regions := range map[string][]int{"NoOtherWay": {1, 1}, "AThirdRegion": {1, 1, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := twoRegions(t, regions...)
				var readers [2]*node.StreamReader
				var got [2]witnessed
				for i := range readers {
					r, err := m.Nodes[i].ReadStream(t.Context(), node.StreamRead{Name: "orders", Follow: true})
					if err != nil {
						t.Fatal(err)
					}
					defer r.Close()
					readers[i] = r
				}
				have := func(within time.Duration, n int) {
					t.Helper()
					for i, r := range readers {
						if err := got[i].readFor(t, r, within); err != nil {
							t.Fatal(err)
						}
						got[i].inOrder(t, map[string]int{"/0": n, "/1": n})
					}
				}
				for round, cut := range [][2]string{{"r0", "r1"}, {"r1", "r0"}} {
					m.CutOneWay(cut[0], cut[1])
					time.Sleep(10 * time.Second) // simulated
					for i := range readers {
						keep(t, m.Nodes[i], []string{"/0", "/1"}[i], 10*round, 10*round+5)
					}
					if len(regions) > 2 {
						have(20*time.Second, 10*round+5)
					}
					time.Sleep(time.Minute) // simulated
					for i := range readers {
						keep(t, m.Nodes[i], []string{"/0", "/1"}[i], 10*round+5, 10*round+10)
					}
					m.HealRegions("r0", "r1")
					have(30*time.Second, 10*round+10)
				}
			})
		})
	}
}
