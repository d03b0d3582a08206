package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
	"github.com/skeinmesh/skein/transport/event"
)

// keptAtAll publishes an event at every node that runs: each must be kept.
func keptAtAll(t *testing.T, m *simmesh.Mesh, when string) {
	t.Helper()
	for i, n := range m.Nodes {
		if n == nil {
			continue
		}
		kept, err := n.PublishKept(t.Context(), "", []event.Event{order(t, fmt.Sprint("/n", i), when)}, "")
		if err != nil || len(kept) != 1 {
			t.Errorf("%s: an event that is published at node %d is kept at %v: %v", when, i, kept, err)
		}
	}
}

// Once a stream is made, every node of every region keeps its events, whether its
// region keeps them or another does, and goes on to after all have crashed at once.
func TestAStreamThatIsMadeIsKnownToAllForGood(t *testing.T) {
	for _, placement := range []string{"local", "home:r1", "local:r0,r2"} {
		t.Run(placement, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dirs := map[int]string{}
				m := simmesh.New(t, simmesh.Config{Regions: []int{3, 2, 1}, Node: func(i int, c *node.Config) { dirs[i] = c.DataDir }})
				view := orders(t, m.Nodes[1], node.StreamDefinition{Placement: placement})
				for i, dir := range dirs {
					if b, err := os.ReadFile(filepath.Join(dir, "streams.notes")); err != nil || !strings.Contains(string(b), view.ID) {
						t.Errorf("node %d does not have the stream on its disk: %v", i, err)
					}
				}
				keptAtAll(t, m, "at once")
				for i := range m.Nodes {
					m.Crash(i)
				}
				for i := range m.Nodes {
					m.Start(i)
				}
				r, err := m.Nodes[4].ReadStream(t.Context(), node.StreamRead{Name: "orders"})
				if err != nil {
					t.Errorf("a reader that comes right after the start hears %v", err)
				} else {
					r.Close()
				}
				for i := range m.Nodes {
					m.WaitReady(i)
				}
				keptAtAll(t, m, "after a crash of all")
				if got := readAll(t, m.Nodes[2], ""); len(got) != 12 {
					t.Errorf("%d of 12 events are there", len(got))
				}
			})
		})
	}
}

// A stream that comes back is kept by all from when the answer comes.
func TestAStreamThatIsHadBackIsKnownToAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 2}})
		orders(t, m.Nodes[0], node.StreamDefinition{})
		for round := range 3 {
			if err := m.Nodes[1].DeleteStream(t.Context(), "", "orders"); err != nil {
				t.Fatal(err)
			}
			m.Until(time.Minute, "all have forgotten it", func() bool {
				for _, n := range m.Nodes {
					if n.Stats().Streams.Streams > 0 {
						return false
					}
				}
				return true
			})
			if missing, err := m.Nodes[1].UndeleteStream(t.Context(), "", "orders"); err != nil || len(missing) > 0 {
				t.Fatalf("missing %v: %v", missing, err)
			}
			keptAtAll(t, m, fmt.Sprint("round ", round))
		}
	})
}

// A node takes no event before it knows which streams there are: as a newcomer to
// the region that owns one, to another, as the first of a new region, and after it
// was away while the stream was made.
func TestANodeIsReadyOnceItKnowsTheStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{2, 3}})
		time.Sleep(10 * time.Second) // simulated: three vote in r1 now, and one of them may go
		m.Crash(4)
		view, err := m.Nodes[0].CreateStream(t.Context(), node.StreamDefinition{Name: "orders"})
		if err != nil || len(view.Missing) > 1 || len(view.Missing) == 1 && view.Missing[0] != "r1/n4" {
			t.Fatalf("missing %v: %v", view.Missing, err)
		}
		m.Start(4)
		for _, region := range []string{"r0", "r1", "r2"} {
			m.Add(region)
		}
		fresh := []int{4, 5, 6, 7}
		for i := 0; len(fresh) > 0; i++ {
			fresh = slices.DeleteFunc(fresh, func(k int) bool {
				kept, err := m.Nodes[k].PublishKept(t.Context(), "", []event.Event{order(t, fmt.Sprint("/n", k), fmt.Sprint(i))}, "")
				if err == nil && len(kept) == 0 {
					t.Errorf("node %d takes an event without keeping it", k)
				}
				if err != nil && !errors.Is(err, node.ErrNotReady) && !errors.Is(err, node.ErrNotKept) {
					t.Errorf("node %d: %v", k, err)
				}
				return err == nil
			})
			if time.Sleep(5 * time.Millisecond); i > 12_000 {
				t.Fatalf("nodes %v take nothing: %v", fresh, m.Nodes[fresh[0]].Ready())
			}
		}
	})
}

// A node that cannot be reached is named, and a region that cannot.
func TestWhoDoesNotKnowAStreamIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{3, 3, 1}})
		time.Sleep(10 * time.Second) // simulated: three vote on each region's metadata, and one can be spared
		m.Isolate(2)
		m.Isolate(5)
		m.IsolateRegion("r2")
		time.Sleep(2 * time.Second) // until their links are down
		view, err := m.Nodes[0].CreateStream(t.Context(), node.StreamDefinition{Name: "orders"})
		if err != nil || !slices.Equal(view.Missing, []string{"r0/n2", "r1/n5", "r2"}) {
			t.Errorf("missing %v: %v", view.Missing, err)
		}
	})
}

// A node that starts while a region is out of reach serves its own, says what it has
// not heard, and hears it later.
func TestACutRegionDoesNotKeepANodeFromStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}})
		m.Crash(1)
		m.CutRegions("r0", "r1")
		d := node.StreamDefinition{Name: "orders", Placement: "home:r0"}
		if _, err := m.Nodes[0].CreateStream(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		m.Start(1)
		if took := m.Until(time.Minute, "the node is ready", func() bool { return m.Nodes[1].Ready() == nil }); took > 15*time.Second {
			t.Errorf("it is ready after %v", took)
		}
		if got := m.Nodes[1].StreamsUnheard(); !slices.Equal(got, []string{"r0"}) {
			t.Errorf("it says that it has not heard of %v", got)
		}
		m.HealRegions("r0", "r1")
		m.Until(time.Minute, "it has heard", func() bool { return len(m.Nodes[1].StreamsUnheard()) == 0 })
		m.Until(time.Minute, "it keeps the stream", func() bool {
			kept, err := m.Nodes[1].PublishKept(t.Context(), "", []event.Event{order(t, "/n1", "1")}, "")
			return err == nil && len(kept) == 1
		})
	})
}

// A newcomer to a region that decides nothing for a while waits to hear of its
// streams.
func TestANewcomerWaitsForItsRegionsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{3}})
		orders(t, m.Nodes[0], node.StreamDefinition{})
		m.Crash(1)
		m.Crash(2)
		k := m.Add("r0")
		time.Sleep(2 * time.Second)
		m.Start(1)
		m.Start(2)
		m.Until(time.Minute, "the newcomer takes an event", func() bool {
			kept, err := m.Nodes[k].PublishKept(t.Context(), "", []event.Event{order(t, "/new", "1")}, "")
			if err == nil && len(kept) == 0 {
				t.Fatal("the newcomer takes an event without keeping it")
			}
			return err == nil
		})
	})
}

// What a node knew when it crashed it knows when it starts, though it is alone: what
// is published for a stream with a home waits, and what its region is to keep is
// refused while the region cannot.
func TestANodeThatStartsAloneKnowsItsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 2}})
		orders(t, m.Nodes[0], node.StreamDefinition{Placement: "home:r0"})
		view, err := m.Nodes[0].CreateStream(t.Context(), node.StreamDefinition{
			Name: "bills", Filter: []byte(`{"exact":{"source":"/bills"}}`), Placement: "local:r1",
		})
		if err != nil || len(view.Missing) > 0 {
			t.Fatal(view.Missing, err)
		}
		for i := range m.Nodes {
			m.Crash(i)
		}
		m.Start(1)
		m.WaitReady(1)
		kept, err := m.Nodes[1].PublishKept(t.Context(), "", []event.Event{order(t, "/shop", "1")}, "")
		if err != nil || len(kept) != 1 || !kept[0].Waiting {
			t.Errorf("an event for the home is kept at %v: %v", kept, err)
		}
		if kept, err := m.Nodes[1].PublishKept(t.Context(), "", []event.Event{order(t, "/bills", "2")}, ""); !errors.Is(err, node.ErrNotKept) {
			t.Errorf("an event for a region without a quorum is kept at %v: %v", kept, err)
		}
	})
}
