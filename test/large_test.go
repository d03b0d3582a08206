package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/test/simmesh"
)

// A soak has fifty nodes, which takes minutes, or as many as the race detector
// has room for. Fourteen are enough for nodes that are no gateways, in every
// region.
func TestALargeMeshComesTogetherAfterALongCut(t *testing.T) {
	regions, cut := []int{7, 7}, []string{"r1"}
	switch soak := os.Getenv("SKEIN_SOAK") != ""; {
	case soak && raced:
		regions = []int{7, 7, 7}
	case soak:
		regions, cut = []int{10, 10, 10, 10, 10}, []string{"r3", "r4"}
	}
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: regions})
		awaitWhole(t, m, time.Minute)
		exchangeAmong(t, m.Nodes, "formed")

		apart := func(cutOff bool) (inside, outside []*node.Node) {
			for _, n := range m.Nodes {
				if slices.Contains(cut, n.Self().Region) {
					inside = append(inside, n)
				} else {
					outside = append(outside, n)
				}
			}
			change := m.HealRegions
			if cutOff {
				change = m.CutRegions
			}
			for _, a := range cut {
				for b := range regions {
					if b := fmt.Sprintf("r%d", b); !slices.Contains(cut, b) {
						change(a, b)
					}
				}
			}
			return inside, outside
		}
		inside, outside := apart(true)
		time.Sleep(10 * time.Minute)
		for _, side := range [][]*node.Node{inside, outside} {
			exchangeAmong(t, side, "apart")
		}
		apart(false)
		t.Logf("together %v after the heal", awaitWhole(t, m, 2*time.Minute))
		exchangeAmong(t, m.Nodes, "together")
	})
}

func TestLinksThatNeitherEndWantsAreClosedWithoutLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := simmesh.New(t, simmesh.Config{Regions: []int{8, 8}})
		links := func() (up int) {
			for _, n := range m.Nodes {
				for _, l := range n.LinkViews() {
					if l.State == "up" {
						up++
					}
				}
			}
			return up / 2 // each has two ends
		}
		const wanted = 2*(8*7/2) + 5*5 // all inside a region, and five gateways of each to five
		if up := links(); up <= wanted {
			t.Fatalf("%d links from the start: nothing is shown", up)
		}
		var subs []*node.Subscription
		for _, n := range m.Nodes {
			subs = append(subs, subscribe(t, n, "a"))
		}
		// While the links close, every node publishes on.
		const rounds = 600
		for round := range rounds {
			for i, n := range m.Nodes {
				publish(t, n, "a", fmt.Sprintf("%d/%d", i, round))
			}
			time.Sleep(50 * time.Millisecond)
		}
		for i, s := range subs {
			heard := map[string][]string{} // by who published
			for _, id := range collect(t, s, time.Second) {
				who, _, _ := strings.Cut(id, "/")
				heard[who] = append(heard[who], id)
			}
			for who := range m.Nodes {
				got, want := heard[fmt.Sprint(who)], numbers(fmt.Sprint(who, "/"), rounds)
				if !slices.Equal(got, want) {
					t.Errorf("node %d heard %d of %d of node %d, or not in order", i, len(got), rounds, who)
				}
			}
		}
		if up := links(); up != wanted {
			t.Errorf("%d links are left, want %d", up, wanted)
		}
	})
}

// awaitWhole waits until every node knows all others, and every link is up that
// a node should have.
func awaitWhole(t *testing.T, m *simmesh.Mesh, within time.Duration) time.Duration {
	t.Helper()
	return m.Until(within, fmt.Sprintf("every node sees all %d", len(m.Nodes)), func() bool {
		for _, n := range m.Nodes {
			views := n.NodeViews()
			if len(views) != len(m.Nodes) {
				return false
			}
			for _, v := range views {
				if v.State != "self" && v.State != "up" && v.State != "alive" {
					return false
				}
			}
			for _, l := range n.LinkViews() {
				if l.State != "up" {
					return false
				}
			}
		}
		return true
	})
}

// exchangeAmong subscribes at all of the nodes, with no region of theirs
// missing, publishes at each, and checks that each gets every event once.
func exchangeAmong(t *testing.T, nodes []*node.Node, about string) {
	t.Helper()
	regions := map[string]bool{}
	for _, n := range nodes {
		regions[n.Self().Region] = true
	}
	var subs []*node.Subscription
	for _, n := range nodes {
		s := subscribe(t, n, about)
		for _, r := range s.Missing() {
			if regions[r] {
				t.Fatalf("%s: the barrier at %s misses %v", about, n.Self().Name, s.Missing())
			}
		}
		subs = append(subs, s)
	}
	var want []string
	for _, n := range nodes {
		id := about + " at " + n.Self().Name
		publish(t, n, about, id)
		want = append(want, id)
	}
	slices.Sort(want)
	time.Sleep(2 * time.Second) // simulated: what is on its way, and what is too much
	for i, s := range subs {
		got := collect(t, s, time.Millisecond)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %s got %q, want %q", about, nodes[i].Self().Name, got, want)
		}
		s.Close()
	}
}
