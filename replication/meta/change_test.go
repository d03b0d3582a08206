package meta

import (
	"slices"
	"testing"

	"github.com/skeinmesh/skein/transport/peer"
)

// threeOfFive is a region of five nodes with a partition on three of them.
func threeOfFive(t *testing.T) *rig {
	r := newRig(t.Fatalf)
	for i := range 5 {
		r.join(i)
	}
	r.do(&CreatePartition{ID: ID{1}, Want: 3, Nodes: []peer.ID{"n0", "n1", "n2"}})
	return r
}

func (r *rig) partition() Partition { return r.Partitions()[0] }

// advance ends the phase that a change must be in.
func (r *rig) advance(done Phase) Partition {
	p := r.partition()
	if p.Change == nil {
		r.fatal("no change is under way, %s was to end", done)
	}
	return r.do(&AdvanceChange{p.ID, p.Change.Index, done}).(Partition)
}

func nodesOf(p Partition) (list []string) {
	for _, r := range p.Replicas {
		list = append(list, string(r.Node)+" "+string(r.Role))
	}
	return list
}

func TestAReplicaIsReplacedStepByStep(t *testing.T) {
	r := threeOfFive(t)
	old := r.partition().Replicas[0].ReplicaID
	r.do(&BeginChange{Partition: ID{1}, Add: "n3", Remove: old})
	for _, x := range []struct {
		done Phase
		then []string
	}{
		{Learn, []string{"n0 voter", "n1 voter", "n2 voter", "n3 learner"}},
		{Promote, []string{"n0 voter", "n1 voter", "n2 voter", "n3 voter"}},
		{Remove, []string{"n1 voter", "n2 voter", "n3 voter"}},
	} {
		if got := nodesOf(r.advance(x.done)); !slices.Equal(got, x.then) {
			t.Fatalf("after %s: %v, want %v", x.done, got, x.then)
		}
	}
	if p := r.partition(); p.Change != nil || len(p.Initial) != 3 || p.Initial[0] != old {
		t.Fatalf("in the end: %+v", p)
	}
}

func TestADownReplicaIsRemovedBeforeItsSuccessorVotes(t *testing.T) {
	r := threeOfFive(t)
	r.do(&BeginChange{Partition: ID{1}, Add: "n3", Remove: r.partition().Replicas[0].ReplicaID, RemoveFirst: true})
	r.advance(Learn)
	if got := nodesOf(r.advance(Remove)); !slices.Equal(got, []string{"n1 voter", "n2 voter", "n3 learner"}) {
		t.Fatal(got)
	}
	r.advance(Promote)
}

func TestOneChangeAtATime(t *testing.T) {
	r := threeOfFive(t)
	r.do(&BeginChange{Partition: ID{1}, Add: "n3"})
	r.refused(ErrConflict, &BeginChange{Partition: ID{1}, Add: "n4"})
	change := r.partition().Change.Index
	r.refused(ErrConflict, &AdvanceChange{ID{1}, change, Promote})
	r.refused(ErrConflict, &AdvanceChange{ID{1}, change + 1, Learn})
	r.advance(Learn)
	r.refused(ErrConflict, &AdvanceChange{ID{1}, change, Learn}) // proposed twice
	r.advance(Promote)
	r.refused(ErrConflict, &AdvanceChange{ID{1}, change, Promote})
}

func TestAnUndoneChangesIdentityIsSpent(t *testing.T) {
	r := threeOfFive(t)
	r.do(&BeginChange{Partition: ID{1}, Add: "n3"})
	spent := r.partition().Change.Add
	r.do(&UndoChange{ID{1}, r.partition().Change.Index})
	r.advance(Undo)
	r.refused(ErrUnknown, &MarkReplica{ID{1}, spent, Bootstrapped})
	r.do(&BeginChange{Partition: ID{1}, Add: "n3"})
	if got := r.partition().Change.Add; got.Epoch <= spent.Epoch {
		t.Fatalf("%v after %v", got, spent)
	}
	r.advance(Learn)
	r.advance(Promote)
	r.refused(ErrConflict, &UndoChange{ID{1}, 1})
}

func TestTheQuorumIsNotGivenUp(t *testing.T) {
	r := threeOfFive(t)
	p := r.partition()
	r.do(&MarkReplica{p.ID, p.Replicas[0].ReplicaID, Lost})
	r.refused(ErrRefused, &BeginChange{Partition: p.ID, Remove: p.Replicas[1].ReplicaID})
	r.refused(ErrRefused, &MarkReplica{p.ID, p.Replicas[0].ReplicaID, Bootstrapped})
	// The lost one may come back on its own node, under another epoch.
	r.do(&BeginChange{Partition: p.ID, Add: "n0", Remove: p.Replicas[0].ReplicaID, RemoveFirst: true})
	if got := r.partition().Change; got.Add.Node != "n0" || got.Add.Epoch == got.Remove.Epoch {
		t.Fatalf("%+v", got)
	}
	r.advance(Learn)
	r.advance(Remove)
	r.advance(Promote)

	one := newRig(t.Fatalf)
	one.join(0)
	one.do(&CreatePartition{ID: ID{1}, Want: 1, Nodes: []peer.ID{"n0"}})
	one.refused(ErrRefused, &BeginChange{Partition: ID{1}, Remove: one.partition().Replicas[0].ReplicaID})
}

func TestChangesThatMakeNoSenseAreRefused(t *testing.T) {
	r := threeOfFive(t)
	r.do(&SetNodeState{"n4", Draining})
	r.refused(ErrInvalid, &BeginChange{Partition: ID{1}})
	r.refused(ErrUnknown, &BeginChange{Partition: ID{9}, Add: "n3"})
	r.refused(ErrRefused, &BeginChange{Partition: ID{1}, Add: "n4"})
	r.refused(ErrRefused, &BeginChange{Partition: ID{1}, Add: "nobody"})
	r.refused(ErrRefused, &BeginChange{Partition: ID{1}, Add: "n1"})
	r.refused(ErrUnknown, &BeginChange{Partition: ID{1}, Remove: ReplicaID{"n0", 99}})
	r.refused(ErrInvalid, &BeginChange{Partition: ID{1}, Add: "n3", RemoveFirst: true})
	r.refused(ErrInvalid, &BeginChange{Partition: ID{1}, Add: "n3", Remove: ReplicaID{Epoch: 1}})
}

func TestAPartitionIsBegunOnce(t *testing.T) {
	r := threeOfFive(t)
	p := r.partition()
	again := r.do(&CreatePartition{ID: ID{1}, Want: 3, Nodes: []peer.ID{"n2", "n3", "n4"}}).(Partition)
	if !slices.Equal(again.Initial, p.Initial) {
		t.Fatalf("begun again with %v", again.Initial)
	}
	r.refused(ErrExists, &CreatePartition{ID: ID{1}, Stream: ID{5}, Want: 1, Nodes: []peer.ID{"n3"}})
	r.refused(ErrRefused, &CreatePartition{ID: ID{2}, Want: 2, Nodes: []peer.ID{"n3", "n3"}})
	r.refused(ErrRefused, &RetirePartition{ID{1}})
	r.refused(ErrRefused, &MarkReplica{ID{1}, p.Replicas[0].ReplicaID, Erased})
	if next := r.do(&CreatePartition{ID: ID{2}, Want: 1, Nodes: []peer.ID{"n3"}}).(Partition); next.Number != p.Number+1 {
		t.Fatalf("number %d after %d", next.Number, p.Number)
	}
}

func TestApplyTellsWhatChanged(t *testing.T) {
	r := threeOfFive(t)
	for _, x := range []struct {
		c    Command
		want Parts
	}{
		{&SetWant{ID{1}, 5}, Partitions},
		{&SetWant{ID{1}, 5}, 0},
		{&BeginChange{Partition: ID{1}, Add: "n3"}, Partitions | Nodes},
		{&CreateStream{ID{1}, orders().WithDefaults()}, Streams},
		{&AssignStream{Stream: ID{1}, Partitions: []uint32{0}}, Assignments},
		{&AssignStream{Stream: ID{1}, Partitions: []uint32{0}}, 0},
		{&FoundRegion{Name: "eu", By: "n1"}, Regions},
		{&FoundRegion{Name: "eu", By: "n2"}, 0},
	} {
		got, err := r.try(x.c)
		if err != nil || got.Changed != x.want {
			t.Errorf("%s changed %b (%v), want %b", x.c.kind(), got.Changed, err, x.want)
		}
	}
}
