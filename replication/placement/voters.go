package placement

import (
	"cmp"
	"slices"

	"github.com/skeinmesh/skein/transport/peer"
)

// Member is a node in the configuration of the region's metadata group.
type Member struct {
	ID    peer.ID
	Voter bool
	Ready bool // it has followed the log for some time and is not behind
}

// VoterAct is what to do with a member of the metadata group.
type VoterAct string

const (
	Promote VoterAct = "promote" // a non-voter gets a vote
	Demote  VoterAct = "demote"  // a voter loses its vote and goes on following
	Drop    VoterAct = "drop"    // a member leaves the configuration
)

// VoterStep is a change of the metadata group's configuration.
type VoterStep struct {
	Act  VoterAct
	Node peer.ID
	Why  Why
}

// wantVoters is how many voters the metadata group should have: one node
// cannot be more, two are worse than one (either's loss stops both), three
// survive one loss, and nine nodes can spare five for two.
func wantVoters(nodes int) int {
	switch {
	case nodes >= 9:
		return 5
	case nodes >= 3:
		return 3
	}
	return 1
}

// Voters says which change of the metadata group's configuration is due: one
// at a time, and none while it has no healthy quorum or would have none after.
//
// From one voter to three leads only over two, and with two the loss of either
// stops the group. So the first is promoted only when two that are ready and
// alive stand by, and the second at once after; should it be lost in between,
// any other that is ready is promoted, and if the region has no three nodes any
// more, the second vote is taken back. From three to five, likewise. A dead
// voter is replaced when another is ready; it is never dropped without, unless
// its node has left: should it come back, so does the redundancy.
//
// A member that is not among nodes is taken to have left: nodes are registered
// before they join the group.
func Voters(nodes []Node, members []Member) (VoterStep, bool) {
	g := newElectorate(nodes, members)
	if g.healthy < quorum(len(g.voters)) {
		return VoterStep{}, false
	}
	if s, ok := g.dropLeft(); ok {
		return s, true
	}
	want := wantVoters(g.eligible)
	worst, why := g.worst()
	switch {
	case why != "" && why != WhyDraining && len(g.ready) > 0 && g.staysWithout(worst):
		return VoterStep{Demote, worst.ID, why}, true
	case why == WhyDraining && len(g.ready) > 0 && len(g.voters) <= want:
		return VoterStep{Promote, g.ready[0].ID, why}, true
	case why == WhyDraining && g.staysWithout(worst) && (len(g.voters) > want || g.eligible < 3):
		return VoterStep{Demote, worst.ID, why}, true
	case why == WhyDead && len(g.voters) > want && g.healthy >= 3:
		return VoterStep{Demote, worst.ID, why}, true
	case why != "":
		return VoterStep{}, false
	case len(g.voters) < want && len(g.ready) > 0 && (len(g.voters)%2 == 0 || len(g.ready) > 1):
		return VoterStep{Promote, g.ready[0].ID, WhyGrow}, true
	case len(g.voters) > want:
		if least := g.least(); g.staysWithout(least) {
			return VoterStep{Demote, least.ID, WhySurplus}, true
		}
	}
	return VoterStep{}, false
}

// electorate is the metadata group with what is known of its nodes.
type electorate struct {
	nodes    map[peer.ID]Node
	members  []Member
	voters   []Member // by ID
	ready    []Member // non-voters that could be promoted, best first
	healthy  int      // voters that can vote now
	eligible int
}

func newElectorate(nodes []Node, members []Member) *electorate {
	g := &electorate{nodes: map[peer.ID]Node{}, members: slices.Clone(members)}
	for _, n := range nodes {
		g.nodes[n.ID] = n
	}
	for _, n := range g.nodes {
		if n.eligible() {
			g.eligible++
		}
	}
	slices.SortFunc(g.members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	zones := map[string]int{}
	for _, m := range g.members {
		n := g.nodes[m.ID]
		switch {
		case m.Voter:
			g.voters = append(g.voters, m)
			zones[n.Zone]++
			if n.Alive && n.State != Gone {
				g.healthy++
			}
		case m.Ready && n.Alive && n.State == Active:
			g.ready = append(g.ready, m)
		}
	}
	slices.SortStableFunc(g.ready, func(a, b Member) int {
		return cmp.Compare(zones[g.nodes[a.ID].Zone], zones[g.nodes[b.ID].Zone])
	})
	return g
}

// staysWithout reports whether the group has a healthy quorum, and a voter,
// without one of its voters.
func (g *electorate) staysWithout(m Member) bool {
	left, healthy := len(g.voters)-1, g.healthy
	if n := g.nodes[m.ID]; n.Alive && n.State != Gone {
		healthy--
	}
	return left > 0 && healthy >= quorum(left)
}

// dropLeft finds a member whose node has left the region.
func (g *electorate) dropLeft() (VoterStep, bool) {
	for _, m := range g.members {
		n, known := g.nodes[m.ID]
		if known && n.State != Gone {
			continue
		}
		if !m.Voter || g.staysWithout(m) {
			return VoterStep{Drop, m.ID, WhyGone}, true
		}
	}
	return VoterStep{}, false
}

// worst is the voter that should not stay one, and why.
func (g *electorate) worst() (worst Member, why Why) {
	for _, m := range g.voters {
		switch n := g.nodes[m.ID]; {
		case n.dead():
			return m, WhyDead
		case n.State == Draining:
			worst, why = m, WhyDraining
		}
	}
	return worst, why
}

// least is the voter that is needed least: one that is down, then one in the
// zone with the most, then the one whose ID comes last.
func (g *electorate) least() Member {
	zones := map[string]int{}
	for _, m := range g.voters {
		zones[g.nodes[m.ID].Zone]++
	}
	return slices.MaxFunc(g.voters, func(a, b Member) int {
		x, y := g.nodes[a.ID], g.nodes[b.ID]
		up := func(n Node) int {
			if n.Alive {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(up(x), up(y)), cmp.Compare(zones[x.Zone], zones[y.Zone]), cmp.Compare(a.ID, b.ID))
	})
}
