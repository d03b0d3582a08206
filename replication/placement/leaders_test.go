package placement

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestLeadersEndInBalanceOneTransferANodeAtATime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegion(alive(rapid.IntRange(1, 6).Draw(t, "nodes")), t.Fatalf)
		r.found(rapid.IntRange(1, 24).Draw(t, "partitions"), 3)
		drained := -1
		if len(r.Nodes) > 3 && rapid.Bool().Draw(t, "drain") {
			drained = rapid.IntRange(0, len(r.Nodes)-1).Draw(t, "drained")
			r.Nodes[drained].State = Draining
		}
		for rounds := 0; ; rounds++ {
			list := Leaders(r.View)
			if len(list) == 0 {
				break
			}
			if rounds > len(r.Partitions)*len(r.Partitions) {
				t.Fatalf("no end of transfers: %+v", list)
			}
			busy := map[peer.ID]bool{}
			for _, x := range list {
				if busy[x.From] || busy[x.To] {
					t.Fatalf("a node takes part twice: %+v", list)
				}
				busy[x.From], busy[x.To] = true, true
				p := r.partition(x.Partition)
				if p.Leader != x.From || !holds(*p, x.To) {
					t.Fatalf("%+v of %+v", x, *p)
				}
				p.Leader = x.To
			}
		}
		leads := map[peer.ID]int{}
		for _, p := range r.Partitions {
			leads[p.Leader]++
		}
		if drained >= 0 && leads[nodeID(drained)] > 0 {
			t.Fatalf("the drained node leads %d", leads[nodeID(drained)])
		}
		for _, p := range r.Partitions {
			for _, x := range p.Replicas {
				if r.node(x.Node).State == Active && leads[p.Leader] > leads[x.Node]+1 {
					t.Fatalf("%s leads %d, and %s could take one and leads %d", p.Leader, leads[p.Leader], x.Node, leads[x.Node])
				}
			}
		}
	})
}

// Nodes that know only who leads what they keep themselves, and ask before they
// hand anything over, come to an end, too.
func TestLeadersEndInBalanceWhenEachNodeKnowsItsOwnAndAsks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegion(alive(rapid.IntRange(3, 7).Draw(t, "nodes")), t.Fatalf)
		r.found(rapid.IntRange(1, 24).Draw(t, "partitions"), 3)
		leads := func(id peer.ID) (n int) {
			for _, p := range r.Partitions {
				if p.Leader == id {
					n++
				}
			}
			return n
		}
		for i := range r.Partitions { // anyhow
			p := &r.Partitions[i]
			p.Leader = p.Replicas[rapid.IntRange(0, len(p.Replicas)-1).Draw(t, "leader")].Node
		}
		said := map[peer.ID]int{}
		for idle, steps := 0, 0; idle < len(r.Nodes); steps++ {
			if steps > 100*len(r.Partitions)*len(r.Nodes) {
				t.Fatalf("no end of transfers")
			}
			self := r.Nodes[steps%len(r.Nodes)].ID
			if steps%len(r.Nodes) == 0 {
				clear(said) // it does not count for long
			}
			idle++
			asked := map[peer.ID]bool{}
			for range 2 * len(r.Nodes) {
				at := slices.IndexFunc(Leaders(r.seenBy(self, said)), func(x Transfer) bool { return x.From == self })
				if at < 0 {
					break
				}
				x := Leaders(r.seenBy(self, said))[at]
				if !asked[x.To] {
					asked[x.To], said[x.To] = true, leads(x.To)
					continue
				}
				if leads(x.From) <= leads(x.To)+1 {
					t.Fatalf("%s leads %d and hands one to %s, which leads %d", x.From, leads(x.From), x.To, leads(x.To))
				}
				r.partition(x.Partition).Leader = x.To
				idle = 0
				break
			}
		}
	})
}

// seenBy is the region as one node knows it, with what others said.
func (r *region) seenBy(self peer.ID, said map[peer.ID]int) View {
	v := View{Nodes: slices.Clone(r.Nodes), Partitions: slices.Clone(r.Partitions)}
	for i := range v.Nodes {
		v.Nodes[i].Leads = said[v.Nodes[i].ID]
	}
	for i := range v.Partitions {
		if !holds(v.Partitions[i], self) {
			v.Partitions[i].Leader = ""
		}
	}
	return v
}
