package test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
)

// through makes each node after the first know those seeds alone.
func through(seeds map[int][]int) func(int, *node.Config) {
	return func(i int, cfg *node.Config) {
		list, ok := seeds[i]
		if !ok {
			return
		}
		cfg.Seeds = nil
		for _, j := range list {
			cfg.Seeds = append(cfg.Seeds, fmt.Sprintf("10.0.0.%d:7420", j))
		}
	}
}

// keepsStreams reports whether a node's region has begun its metadata: it can make
// a stream.
func keepsStreams(t *testing.T, n *node.Node, name string) bool {
	_, err := n.CreateStream(t.Context(), node.StreamDefinition{Name: name, Filter: []byte(`{"pattern":{"type":"order.>"}}`)})
	return err == nil
}

// The register of regions is the founding region's, and not that of the node that
// founded the mesh: that one can be lost, disk and all.
func TestRegionsAreFoundedWithoutTheNodeThatFoundedTheMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{3, 1}, Node: through(map[int][]int{4: {3}, 5: {1}})})
		time.Sleep(15 * time.Second) // until three vote on the metadata, which nobody tells
		m.Crash(0)
		for i, region := range []string{"r2", "r3"} { // through another region, and through the founding one
			m.Add(region)
			m.WaitReady(4 + i)
			m.Until(time.Minute, "the new region keeps streams", func() bool { return keepsStreams(t, m.Nodes[4+i], region) })
		}
	})
}

// While the founding region is out of reach, a new region waits and says why; those
// that exist go on.
func TestANewRegionWaitsForTheFoundingOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 2}, Node: through(map[int][]int{3: {1}, 4: {1}})})
		m.Until(time.Minute, "region r1 keeps streams", func() bool { return keepsStreams(t, m.Nodes[1], "before") })
		m.IsolateRegion("r0")
		time.Sleep(5 * time.Second) // until the link is known to be down
		m.Add("r2")
		m.Add("r1") // a node of a region that exists
		m.CutRegions("r0", "r2")
		m.CutRegions("r0", "r1")
		m.WaitReady(4)
		m.Until(time.Minute, "region r1 goes on", func() bool { return keepsStreams(t, m.Nodes[2], "during") })
		time.Sleep(15 * time.Second)
		if err := m.Nodes[3].Ready(); err == nil || !strings.Contains(err.Error(), "r0") {
			t.Errorf("without the founding region the new one says %v", err)
		}
		m.HealRegion("r0")
		m.WaitReady(3)
		m.Until(time.Minute, "the new region keeps streams", func() bool { return keepsStreams(t, m.Nodes[3], "after") })
	})
}

// Two nodes begin one region at the same time, through different regions: one of
// them founds it, and the other is let in.
func TestOfTwoCandidatesOneFoundsARegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{3, 1, 1}, Node: through(map[int][]int{5: {3}, 6: {4}})})
		m.Add("r3")
		m.Add("r3")
		m.WaitReady(5)
		m.WaitReady(6)
		m.Until(time.Minute, "the region keeps streams", func() bool { return keepsStreams(t, m.Nodes[5], "one") })
		m.Until(time.Minute, "both nodes are of it", func() bool {
			_, err := m.Nodes[6].Stream(t.Context(), "", "one")
			return err == nil && keepsStreams(t, m.Nodes[6], "two")
		})
	})
}

// A node that is its region's only one, and is started from an old image of its
// disk, is told so by another region, goes on with what it has, and says so.
func TestARegionOfOneHearsThatItsDiskWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logged := &lines{}
		m := simmesh.New(t, simmesh.Config{Regions: []int{1, 1}, Log: slog.New(slog.NewTextHandler(logged, nil))})
		m.Until(time.Minute, "region r1 keeps streams", func() bool { return keepsStreams(t, m.Nodes[1], "before") })
		image := t.TempDir()
		dir := m.Dir(1)
		m.Crash(1)
		if err := os.CopyFS(image, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		m.Start(1) // the start that the image does not know
		m.WaitReady(1)
		time.Sleep(10 * time.Second) // simulated: until it is known
		m.Crash(1)
		time.Sleep(2 * time.Minute) // simulated: until it is given up
		if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(image))); err != nil {
			t.Fatal(err)
		}
		if text := logged.String(); strings.Contains(text, "a node runs from an old image of its disk") || strings.Contains(text, "had acknowledged since is lost") {
			t.Fatal("it is said before it is so")
		}
		m.Start(1)
		m.Until(time.Minute, "both say so", func() bool {
			text := logged.String()
			return strings.Contains(text, "a node runs from an old image of its disk") && strings.Contains(text, "this region had acknowledged since is lost")
		})
		m.WaitReady(1)
		m.Until(time.Minute, "it goes on", func() bool { return keepsStreams(t, m.Nodes[1], "after") })
	})
}

// lines is a log that can be looked at while it is written.
type lines struct {
	mu  sync.Mutex // guards the field below
	buf strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
