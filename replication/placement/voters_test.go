package placement

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/transport/peer"
)

// group is a metadata group in a test.
type group struct {
	nodes   []Node
	members []Member
}

func newGroup(nodes int) *group {
	g := &group{nodes: alive(nodes)}
	for i, n := range g.nodes {
		g.members = append(g.members, Member{n.ID, i == 0, true})
	}
	return g
}

func (g *group) votes() (voters, healthy int) {
	for _, m := range g.members {
		if m.Voter {
			voters++
			if n := g.node(m.ID); n.Alive && n.State != Gone {
				healthy++
			}
		}
	}
	return voters, healthy
}

func (g *group) node(id peer.ID) Node {
	for _, n := range g.nodes {
		if n.ID == id {
			return n
		}
	}
	return Node{}
}

// settle carries steps out until none is due, and lists how many voters there
// were on the way.
func (g *group) settle(fatal func(string, ...any)) (counts []int) {
	for rounds := 0; ; rounds++ {
		s, ok := Voters(g.nodes, g.members)
		if !ok {
			return counts
		}
		if rounds > 100 {
			fatal("no end of steps, the last: %+v", s)
		}
		i := slices.IndexFunc(g.members, func(m Member) bool { return m.ID == s.Node })
		if i < 0 {
			fatal("%+v of no member", s)
		}
		if v, h := g.votes(); h < quorum(v) {
			fatal("%+v without a quorum", s)
		}
		switch s.Act {
		case Promote, Demote:
			if g.members[i].Voter == (s.Act == Promote) {
				fatal("%+v changes nothing", s)
			}
			g.members[i].Voter = s.Act == Promote
		case Drop:
			g.members = slices.Delete(g.members, i, i+1)
		}
		v, h := g.votes()
		if h < quorum(v) {
			fatal("%+v leaves %d of %d voters", s, h, v)
		}
		counts = append(counts, v)
	}
}

func TestMetadataVotersFollowTheNumberOfNodes(t *testing.T) {
	for nodes, want := range map[int]int{1: 1, 2: 1, 3: 3, 8: 3, 9: 5, 20: 5} {
		g := newGroup(nodes)
		g.settle(t.Fatalf)
		if v, _ := g.votes(); v != want {
			t.Errorf("%d voters with %d nodes, want %d", v, nodes, want)
		}
	}
}

func TestTwoMetadataVotersAreOnlyPassedThrough(t *testing.T) {
	g := newGroup(3)
	g.members[2].Ready = false
	if s, ok := Voters(g.nodes, g.members); ok {
		t.Fatalf("%+v with nobody to be the third", s)
	}
	g.members[2].Ready = true
	if counts := g.settle(t.Fatalf); !slices.Equal(counts, []int{2, 3}) {
		t.Fatalf("voters went %v", counts)
	}
	// Back to two nodes: one of the two that are left gives its vote back.
	g.nodes[2].State = Gone
	if counts := g.settle(t.Fatalf); !slices.Equal(counts, []int{2, 1}) {
		t.Fatalf("voters went %v", counts)
	}
}

func TestADeadMetadataVoterIsReplacedOnlyWhenAnotherIsReady(t *testing.T) {
	g := newGroup(4)
	g.settle(t.Fatalf)
	dead := slices.IndexFunc(g.members, func(m Member) bool { return m.Voter })
	spare := slices.IndexFunc(g.members, func(m Member) bool { return !m.Voter })
	g.nodes[dead].Alive, g.nodes[dead].Down = false, DeadAfter
	g.members[spare].Ready = false
	if s, ok := Voters(g.nodes, g.members); ok {
		t.Fatalf("%+v with nobody ready", s)
	}
	g.members[spare].Ready = true
	g.settle(t.Fatalf)
	if g.members[dead].Voter || !g.members[spare].Voter {
		t.Fatalf("members: %+v", g.members)
	}
}

func TestMetadataVotersKeepAQuorumAndComeToAnEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newGroup(rapid.IntRange(1, 11).Draw(t, "nodes"))
		g.settle(t.Fatalf)
		for range rapid.IntRange(1, 6).Draw(t, "disturbances") {
			r := &region{View: View{Nodes: g.nodes}}
			disturb(t, r)
			for _, n := range r.Nodes[len(g.nodes):] {
				g.members = append(g.members, Member{ID: n.ID, Ready: rapid.Bool().Draw(t, "ready")})
			}
			g.nodes = r.Nodes
			g.settle(t.Fatalf)
		}
	})
}
