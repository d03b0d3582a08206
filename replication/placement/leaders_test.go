package placement

import (
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
