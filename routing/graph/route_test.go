package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestARegionWithoutALinkIsReachedThroughOthers(t *testing.T) {
	g := New(at("a", 0), func() {})
	for _, r := range []string{"a", "b", "c", "d"} {
		g.SetPeer(at(r, 0))
		g.SetPeer(at(r, 1))
	}
	g.SetLinked(at("b", 1), true)
	g.SetReach("b-0", []string{"a 80", "c 30"})
	g.SetReach("c-0", []string{"b 30", "d 10"})
	h := g.Hop("d", 3)
	if h.Next != "b-1" || !h.Abroad || !slices.Equal(h.Route.Regions, []string{"b", "c", "d"}) {
		t.Fatalf("the way to d is %+v", h)
	}
	g.SetReach("b-1", []string{"d 100"}) // straight, and dear, but one relay less
	if h := g.Hop("d", 3); !slices.Equal(h.Route.Regions, []string{"b", "c", "d"}) {
		t.Errorf("40+30+40+10 are less than 40+100, but the way is %v", h.Route.Regions)
	}
	g.SetReach("b-1", []string{"d 70"})
	if h := g.Hop("d", 3); !slices.Equal(h.Route.Regions, []string{"b", "d"}) {
		t.Errorf("40+70 are less than 40+30+40+10, but the way is %v", h.Route.Regions)
	}
	if h := g.Relay("d", 3, false, []string{"b"}); h != (Hop{}) {
		t.Errorf("back through b: %+v", h)
	}
}

func TestAWayPassesNoMoreRegionsThanItMay(t *testing.T) {
	g := New(at("r00", 0), func() {})
	name := func(i int) string { return fmt.Sprintf("r%02d", i) }
	g.SetLinked(at(name(1), 0), true)
	for i := 1; i < 20; i++ {
		g.SetPeer(at(name(i), 0))
		g.SetReach(at(name(i), 0).ID, []string{name(i-1) + " 1", name(i+1) + " 1"})
	}
	if g.Hop(name(MaxRegions), 0).Next == "" || g.Hop(name(MaxRegions+1), 0).Next != "" {
		t.Errorf("a way of %d regions leads to %q, one of %d to %q", MaxRegions,
			g.Hop(name(MaxRegions), 0).Next, MaxRegions+1, g.Hop(name(MaxRegions+1), 0).Next)
	}
	// A fellow gateway that passes it on from here sees it likewise, and one on the
	// way counts what lies behind.
	if g.Relay(name(MaxRegions), 0, true, []string{"r00"}).Next == "" {
		t.Error("what may begin here may not be passed on")
	}
	if behind := []string{"x", "y", "z"}; g.Relay(name(MaxRegions-3), 0, false, behind).Next == "" || g.Relay(name(MaxRegions-2), 0, false, behind).Next != "" {
		t.Error("what has passed three regions may pass three less")
	}
}

func TestWhatCameFromAFellowNodeLeavesTheRegionOrStays(t *testing.T) {
	g := New(at("a", 0), func() {})
	g.SetLinked(at("a", 1), true)
	g.SetLinked(at("b", 0), true)
	g.SetReach("a-1", []string{"c 10"})
	g.SetReach("b-0", []string{"c 500"})
	if h := g.Relay("c", 0, false, nil); h.Next != "a-1" {
		t.Errorf("from abroad: %+v, want the fellow gateway", h)
	}
	if h := g.Relay("c", 0, true, nil); h.Next != "b-0" {
		t.Errorf("from a fellow node: %+v, want a way abroad", h)
	}
}

func TestACostIsSaidAnewWhenItHasChangedByAFifth(t *testing.T) {
	changes := 0
	g := New(at("a", 0), func() { changes++ })
	g.SetLinked(at("b", 0), true)
	changes = 0
	for _, c := range []struct{ cost, said, changes int }{{100, 100, 1}, {119, 100, 1}, {81, 100, 1}, {121, 121, 2}, {90, 90, 3}} {
		g.SetCosts(map[peer.ID]int{"b-0": c.cost})
		if got := g.Reach(); changes != c.changes || got[0] != fmt.Sprint("b ", c.said) {
			t.Errorf("at %d it says %v, after %d changes", c.cost, got, changes)
		}
	}
	if lossy, clean := Cost(80*time.Millisecond, 0.05, 0), Cost(80*time.Millisecond, 0, 7); lossy != 160 || clean != 87 {
		t.Errorf("a link of 80 ms costs %d with 5 %% loss, %d without and 7 more", lossy, clean)
	}
}

// mesh is a random one for the fuzz below: what is linked, and what each node
// believes.
type mesh struct {
	graphs map[peer.ID]*Graph
	links  map[[2]peer.ID]bool
	nodes  []peer.Peer
}

// randomMesh makes regions of nodes with random links between them; a share of
// the nodes heard of them before another share of the links went down.
func randomMesh(rng *rand.Rand, regions int, density, down, stale float64) *mesh {
	m := &mesh{graphs: map[peer.ID]*Graph{}, links: map[[2]peer.ID]bool{}}
	for r := range regions {
		for i := range 1 + rng.IntN(3) {
			m.nodes = append(m.nodes, at(fmt.Sprintf("r%d", r), i))
		}
	}
	for _, p := range m.nodes {
		m.graphs[p.ID] = New(p, func() {})
	}
	for i, p := range m.nodes {
		for _, q := range m.nodes[:i] {
			m.graphs[p.ID].SetPeer(q)
			m.graphs[q.ID].SetPeer(p)
			if p.Region == q.Region || rng.Float64() < density {
				m.link(p, q, true)
			}
		}
	}
	m.tell(func(peer.ID) bool { return true })
	for i, p := range m.nodes {
		for _, q := range m.nodes[:i] {
			if p.Region != q.Region && m.links[[2]peer.ID{p.ID, q.ID}] && rng.Float64() < down {
				m.link(p, q, false)
			}
		}
	}
	believes := map[string]bool{}
	m.tell(func(id peer.ID) bool {
		r := m.graphs[id].self.Region
		if _, said := believes[r]; !said {
			believes[r] = rng.Float64() >= stale
		}
		return believes[r]
	})
	return m
}

func (m *mesh) link(p, q peer.Peer, up bool) {
	m.links[[2]peer.ID{p.ID, q.ID}], m.links[[2]peer.ID{q.ID, p.ID}] = up, up
	m.graphs[p.ID].SetLinked(q, up)
	m.graphs[q.ID].SetLinked(p, up)
}

// tell has nodes hear what all others reach.
func (m *mesh) tell(whom func(peer.ID) bool) {
	for _, p := range m.nodes {
		reach := m.graphs[p.ID].Reach()
		for _, q := range m.nodes {
			if q.ID != p.ID && (whom(q.ID) || q.Region == p.Region) {
				m.graphs[q.ID].SetReach(p.ID, reach)
			}
		}
	}
}

// reachable lists the regions that links lead to from one.
func (m *mesh) reachable(from string) map[string]bool {
	found := map[string]bool{from: true}
	for grown := true; grown; {
		grown = false
		for pair, up := range m.links {
			a, b := m.graphs[pair[0]].self.Region, m.graphs[pair[1]].self.Region
			if up && found[a] && !found[b] {
				found[b], grown = true, true
			}
		}
	}
	return found
}

// send follows the hops from a node to a region: the nodes passed, and whether it
// arrived.
func (m *mesh) send(from peer.Peer, target string, lane uint8) (passed []string, arrived bool) {
	at, hop := from, m.graphs[from.ID].Hop(target, lane)
	var visited []string
	for {
		passed = append(passed, string(at.ID))
		if at.Region == target {
			return passed, true
		}
		if len(passed) > 100 || hop.Next == "" || !m.links[[2]peer.ID{at.ID, hop.Next}] {
			return passed, false
		}
		before := at
		at = m.graphs[hop.Next].self
		if before.Region != at.Region {
			visited = append(visited, before.Region)
		}
		hop = m.graphs[at.ID].Relay(target, lane, before.Region == at.Region, visited)
	}
}

// checkPath says what is wrong with a way: a node twice, a region entered twice,
// or more than two nodes of it passed.
func checkPath(passed []string) string {
	regions := map[string]int{}
	last := ""
	for i, id := range passed {
		if slices.Contains(passed[:i], id) {
			return "a node twice"
		}
		region, _, _ := strings.Cut(id, "-")
		if regions[region] > 0 && region != last {
			return "a region entered twice"
		}
		if regions[region]++; regions[region] > 2 {
			return "three nodes of a region"
		}
		last = region
	}
	return ""
}

// TestRouteFuzz: over random graphs, with views that differ, nothing that is on its
// way loops, and it reaches all that can be reached.
func TestRouteFuzz(t *testing.T) {
	runs := 60
	if testing.Short() {
		runs = 15
	}
	for seed := range uint64(runs) {
		rng := rand.New(rand.NewPCG(seed, 9))
		fresh := seed%2 == 0
		stale := 0.3
		if fresh {
			stale = 0
		}
		m := randomMesh(rng, 4+rng.IntN(12), 0.02+0.3*rng.Float64(), 0.2, stale)
		for _, from := range m.nodes {
			can := m.reachable(from.Region)
			for _, to := range m.nodes {
				passed, arrived := m.send(from, to.Region, uint8(rng.IntN(Lanes)))
				if wrong := checkPath(passed); wrong != "" {
					t.Fatalf("seed %d: %s: %v", seed, wrong, passed)
				}
				if arrived && !can[to.Region] {
					t.Fatalf("seed %d: %v, where no links lead", seed, passed)
				}
				if fresh && !arrived && can[to.Region] {
					t.Fatalf("seed %d: no way from %s to %s, got as far as %v", seed, from.ID, to.Region, passed)
				}
			}
		}
	}
}

// BenchmarkRoutes finds all routes anew, as after each change of what any gateway
// reaches, where a hundred regions all reach each other.
func BenchmarkRoutes(b *testing.B) {
	const regions = 100
	g := New(at("r000", 0), func() {})
	name := func(i int) string { return fmt.Sprintf("r%03d", i) }
	for i := range regions {
		var reach []string
		for j := range regions {
			if j != i {
				reach = append(reach, fmt.Sprintf("%s %d", name(j), 80+(7*(i+j))%71))
			}
		}
		if i > 0 {
			g.SetLinked(at(name(i), 0), true)
			g.SetReach(at(name(i), 0).ID, reach)
		}
	}
	for b.Loop() {
		g.routes.Store(nil)
		g.derived()
	}
}
