package placement

import (
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestStepsEndAndKeepAHealthyQuorumWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegion(drawNodes(t, rapid.Bool().Draw(t, "zones")), t.Fatalf)
		r.found(rapid.IntRange(1, 12).Draw(t, "partitions"), rapid.IntRange(1, 5).Draw(t, "want"))
		for range rapid.IntRange(1, 8).Draw(t, "disturbances") {
			disturb(t, r)
			if rapid.Bool().Draw(t, "settle") {
				r.settle()
				continue
			}
			// Leave some changes under way while the next disturbance comes.
			for _, s := range Next(r.View) {
				r.begin(s)
				if p := r.partition(s.Partition); rapid.Bool().Draw(t, "finish") && p.Change != nil && r.survives(p, s) {
					r.finish(s)
				}
			}
		}
	})
}

// survives reports whether a change's new replica is still well.
func (r *region) survives(p *Group, s Step) bool {
	return s.Add == "" || r.node(s.Add).Alive && !p.Change.Add.Lost
}

func TestLoadsAreWithinTheirBoundsInTheEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegion(alive(rapid.IntRange(1, 7).Draw(t, "nodes")), t.Fatalf)
		for range rapid.IntRange(1, 3).Draw(t, "batches") {
			r.found(rapid.IntRange(1, 20).Draw(t, "partitions"), rapid.IntRange(1, 5).Draw(t, "want"))
		}
		r.settle()
		r.checkBounds()
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			if rapid.Bool().Draw(t, "join") {
				r.Nodes = append(r.Nodes, alive(len(r.Nodes) + 1)[len(r.Nodes)])
			} else {
				r.Nodes[rapid.IntRange(0, len(r.Nodes)-1).Draw(t, "drained")].State = Draining
				if !slices.ContainsFunc(r.Nodes, Node.eligible) {
					return
				}
			}
			r.settle()
			r.checkBounds()
		}
	})
}

func TestZonesHoldNoMoreOfAPartitionThanTheyMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := drawNodes(t, true)
		want := rapid.IntRange(1, 5).Draw(t, "want")
		r := newRegion(nodes, t.Fatalf)
		r.found(rapid.IntRange(1, 16).Draw(t, "partitions"), want)
		if rapid.Bool().Draw(t, "move a node") {
			r.Nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "which")].Zone = "d"
		}
		r.settle()

		sizes := map[string]int{}
		for _, n := range r.Nodes {
			sizes[n.Zone]++
		}
		rf, most := min(want, len(nodes)), 0
		for room := 0; room < rf; {
			most++
			room = 0
			for _, s := range sizes {
				room += min(s, most)
			}
		}
		plan := newPlan(r.View)
		for _, p := range r.Partitions {
			in := map[string]int{}
			for _, x := range p.Replicas {
				in[r.node(x.Node).Zone]++
			}
			for z, n := range in {
				if n > most {
					t.Fatalf("%d replicas of %x in zone %s, %d are enough", n, p.ID[:2], z, most)
				}
			}
		}
		for i := range plan.nodes {
			if plan.load[i] > plan.most(i) || plan.load[i] < plan.least(i) {
				t.Fatalf("%+v has %d replicas, its share is %.2f", plan.nodes[i], plan.load[i], plan.share[i])
			}
		}
	})
}

func TestTheSameViewGetsTheSameStepsInWhateverOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegion(drawNodes(t, true), t.Fatalf)
		r.found(rapid.IntRange(1, 8).Draw(t, "partitions"), 3)
		for range 3 {
			disturb(t, r)
		}
		shuffled := View{
			Nodes:      rapid.Permutation(r.Nodes).Draw(t, "order of nodes"),
			Partitions: rapid.Permutation(r.Partitions).Draw(t, "order of partitions"),
		}
		if a, b := Next(r.View), Next(shuffled); !reflect.DeepEqual(a, b) {
			t.Fatalf("steps differ:\n%+v\n%+v", a, b)
		}
		if a, b := Leaders(r.View), Leaders(shuffled); !reflect.DeepEqual(a, b) {
			t.Fatalf("transfers differ:\n%+v\n%+v", a, b)
		}
	})
}

func TestADeadNodesReplicasAreReplacedAfterFiveMinutes(t *testing.T) {
	r := newRegion(alive(4), t.Fatalf)
	r.found(8, 3)
	dead := r.Partitions[0].Replicas[0].Node
	n := r.node(dead)
	n.Alive, n.Down = false, DeadAfter-1
	if steps := Next(r.View); len(steps) != 0 {
		t.Fatalf("steps before it is dead: %+v", steps)
	}
	n.Down = DeadAfter
	steps := Next(r.View)
	if len(steps) == 0 || steps[0].Why != WhyDead || !steps[0].RemoveFirst {
		t.Fatalf("steps when it is dead: %+v", steps)
	}
	r.settle()
	if left := r.loads()[dead]; left != 0 {
		t.Fatalf("%d replicas are left on the dead node", left)
	}
}

func TestADeadNodeKeepsItsVotesWhileNoneCanTakeThem(t *testing.T) {
	r := newRegion(alive(3), t.Fatalf)
	r.found(4, 3)
	r.Nodes[0].Alive, r.Nodes[0].Down = false, 2*DeadAfter
	if steps := Next(r.View); len(steps) != 0 {
		t.Fatalf("steps with nobody to take over: %+v", steps)
	}
}

func TestADrainedNodeIsEmptiedAtOnceAndARegionOfOneIsNot(t *testing.T) {
	r := newRegion(alive(4), t.Fatalf)
	r.found(8, 3)
	r.Nodes[1].State = Draining
	r.settle()
	if left := r.loads()[nodeID(1)]; left != 0 {
		t.Fatalf("%d replicas are left on the drained node", left)
	}
	one := newRegion(alive(1), t.Fatalf)
	one.found(2, 3)
	one.Nodes[0].State = Draining
	if steps := Next(one.View); len(steps) != 0 {
		t.Fatalf("the only replicas are to go: %+v", steps)
	}
}

func TestReplicasAreAddedAsNodesJoin(t *testing.T) {
	r := newRegion(alive(1), t.Fatalf)
	r.found(8, 3)
	for count := 1; count <= 5; count++ {
		r.Nodes = alive(count)
		r.settle()
		for _, p := range r.Partitions {
			if len(p.Replicas) != min(3, count) {
				t.Fatalf("%d replicas with %d nodes", len(p.Replicas), count)
			}
		}
		r.checkBounds()
	}
}

func TestALostReplicaBeginsAnewOnItsOwnNode(t *testing.T) {
	r := newRegion(alive(5), t.Fatalf)
	r.found(1, 3)
	lost := &r.Partitions[0].Replicas[1]
	lost.Lost = true
	steps := Next(r.View)
	if len(steps) != 1 || steps[0].Add != lost.Node || steps[0].Remove != *lost || steps[0].Why != WhyLost {
		t.Fatalf("steps: %+v", steps)
	}
}

func TestAChangeWhoseNewNodeDiesIsGivenUp(t *testing.T) {
	r := newRegion(alive(4), t.Fatalf)
	r.found(1, 3)
	r.Partitions[0].Want = 4
	s := Next(r.View)[0]
	r.begin(s)
	if again := Next(r.View); len(again) != 0 {
		t.Fatalf("steps while a change is under way: %+v", again)
	}
	n := r.node(s.Add)
	n.Alive, n.Down = false, DeadAfter
	steps := Next(r.View)
	if len(steps) != 1 || !steps[0].Undo {
		t.Fatalf("steps after the death of the new node: %+v", steps)
	}
	r.Partitions[0].Change.Undoable = false
	if steps := Next(r.View); len(steps) != 0 {
		t.Fatalf("a change past its return is undone: %+v", steps)
	}
}

func TestInitialPlacesEvenlyAndOnNodesThatAreThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := alive(rapid.IntRange(1, 9).Draw(t, "nodes"))
		down := rapid.IntRange(0, len(nodes)-1).Draw(t, "down")
		for i := range down {
			nodes[i].Alive = false
		}
		r := newRegion(nodes, t.Fatalf)
		r.found(rapid.IntRange(1, 30).Draw(t, "partitions"), 3)
		for _, p := range r.Partitions {
			if want := min(3, len(nodes)-down); len(p.Replicas) != want {
				t.Fatalf("%d replicas, want %d", len(p.Replicas), want)
			}
			for _, x := range p.Replicas {
				if !r.node(x.Node).Alive {
					t.Fatalf("a first replica on %s, which is down", x.Node)
				}
			}
		}
		r.Nodes = r.Nodes[down:]
		r.checkBounds()
	})
}

// The first node has two replicas too many, and the heavy one has room; but
// the heavy one has all partitions of the first already, so a third node must
// hand one on.
func TestANodeWithTooMuchGivesThroughAThirdIfItMust(t *testing.T) {
	r := newRegion(alive(4), t.Fatalf)
	const light, c, d, heavy = 0, 1, 2, 3
	r.Nodes[heavy].Weight = 3
	on := func(count, a, b int) {
		for range count {
			r.Partitions = append(r.Partitions, Group{ID: id(len(r.Partitions)), Want: 2, Replicas: []Replica{r.replica(nodeID(a), true), r.replica(nodeID(b), true)}})
		}
	}
	on(6, light, heavy)
	on(2, c, heavy)
	on(2, d, heavy)
	on(2, c, d)
	r.settle()
	if got := r.loads()[nodeID(light)]; got > 5 {
		t.Fatalf("%d replicas stay on a node whose share is 4: %v", got, r.loads())
	}
}
