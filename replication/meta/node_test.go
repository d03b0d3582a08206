package meta

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

func TestARestoredImageOrACloneIsRefused(t *testing.T) {
	r := newRig(t.Fatalf)
	first := &RegisterNode{ID: "n1", Boot: 7, Instance: ID{1}, Level: Level}
	r.do(first)
	r.do(first) // the same start, whose answer was lost
	r.refused(ErrClone, &RegisterNode{ID: "n1", Boot: 7, Instance: ID{2}, Level: Level})
	r.refused(ErrClone, &RegisterNode{ID: "n1", Boot: 6, Instance: ID{3}, Level: Level})
	if n := r.do(&RegisterNode{ID: "n1", Boot: 8, Instance: ID{4}, Level: Level}).(Node); n.Boot != 8 {
		t.Fatalf("after the next start: %+v", n)
	}
}

func TestANodeThatIsGoneComesBackByStarting(t *testing.T) {
	r := newRig(t.Fatalf)
	r.join(1)
	r.do(&SetNodeState{"n1", Gone})
	r.refused(ErrRefused, &SetNodeState{"n1", Active})
	n := r.do(&RegisterNode{ID: "n1", Boot: 2, Instance: ID{9}, Level: Level}).(Node)
	if n.State != Active {
		t.Fatalf("%+v", n)
	}
}

func TestForgottenNodesLeaveNoEpochToBeReused(t *testing.T) {
	r := newRig(t.Fatalf)
	r.join(0)
	r.do(&CreatePartition{ID: ID{1}, Stream: ID{7}, Want: 1, Nodes: []peer.ID{"n0"}})
	used := r.Partitions()[0].Replicas[0].Epoch
	r.do(&RetirePartition{ID{1}})
	r.do(&SetNodeState{"n0", Gone})
	if list := r.Partitions(); len(list) != 0 {
		t.Fatalf("a retired partition whose nodes are gone stays: %+v", list)
	}
	for i := 1; i < MaxNodes; i++ {
		r.join(i)
	}
	r.join(MaxNodes) // n0 is forgotten
	if _, ok := r.Node("n0"); ok {
		t.Fatal("the node that was gone longest is still there")
	}
	r.refused(ErrLimit, &RegisterNode{ID: "more", Boot: 1, Instance: ID{1}, Level: Level})
	r.do(&SetNodeState{"n5", Gone})
	if n := r.do(&RegisterNode{ID: "n0", Boot: 1, Instance: ID{1}, Level: Level}).(Node); n.NextEpoch <= used {
		t.Fatalf("epoch %d was used, and %d is next", used, n.NextEpoch)
	}
}

func TestCommandsThatAreTooNewAreRefusedAndRemembered(t *testing.T) {
	r := newRig(t.Fatalf)
	r.join(1)
	before := r.Snapshot()
	_, err := r.Apply(r.Applied()+1, []byte("\x01"+`{"kind":"moon.land","level":2,"now":1,"body":{}}`))
	if !errors.Is(err, ErrTooNew) {
		t.Fatal(err)
	}
	// A known kind with a field that came later: its level tells.
	_, err = r.Apply(r.Applied()+1, []byte("\x01"+`{"kind":"node.state","level":2,"now":1,"body":{"id":"n1","state":"gone","why":"x"}}`))
	if !errors.Is(err, ErrTooNew) {
		t.Fatal(err)
	}
	if got := r.Refused(); len(got) != 2 || got[0].Kind != "moon.land" || got[0].Count != 1 || got[0].Level != 2 {
		t.Fatalf("remembered: %+v", got)
	}
	if string(before) == string(r.Snapshot()) {
		t.Fatal("the snapshot does not remember")
	}
	for i := range 3 * maxRefused {
		_, _ = r.Apply(r.Applied()+1, fmt.Appendf([]byte{1}, `{"kind":"k%d","level":2,"now":1,"body":{}}`, i))
	}
	if n := len(r.Refused()); n != maxRefused {
		t.Fatalf("%d kinds are remembered", n)
	}
}

func TestTheLevelRisesWhenEveryNodeKnowsIt(t *testing.T) {
	r := newRig(t.Fatalf)
	r.refused(ErrRefused, &RaiseLevel{2})
	r.join(1)
	r.do(&RegisterNode{ID: "n2", Boot: 1, Instance: ID{2}, Level: 2})
	r.refused(ErrRefused, &RaiseLevel{2})
	r.do(&RegisterNode{ID: "n1", Boot: 2, Instance: ID{3}, Level: 2})
	r.do(&RaiseLevel{2})
	if r.AgreedLevel() != 2 {
		t.Fatal("the level stays")
	}
	r.refused(ErrTooNew, &RegisterNode{ID: "n3", Boot: 1, Instance: ID{3}, Level: 1})
	if err := New("eu").Restore(r.Snapshot()); !errors.Is(err, ErrTooNew) {
		t.Fatalf("a program of level %d takes a snapshot of level 2: %v", Level, err)
	}
}

func TestARegionIsFoundedOnce(t *testing.T) {
	r := newRig(t.Fatalf)
	first := r.do(&FoundRegion{Name: "eu/west", By: "n1"}).(Region)
	r.now = r.now.Add(time.Hour)
	if again := r.do(&FoundRegion{Name: "eu/west", By: "n2"}).(Region); again != first || again.FoundedBy != "n1" {
		t.Fatalf("founded again: %+v", again)
	}
	r.refused(ErrInvalid, &FoundRegion{Name: "-eu", By: "n1"})
	old := time.Date(2020, 1, 2, 3, 4, 5, 6, time.UTC)
	if got := r.do(&FoundRegion{Name: "us", By: "n1", At: old}).(Region); !got.FoundedAt.Equal(old) {
		t.Fatalf("taken over: %+v", got)
	}
	for i := 2; i < MaxRegions; i++ {
		r.do(&FoundRegion{Name: fmt.Sprint("r", i), By: "n1"})
	}
	r.refused(ErrLimit, &FoundRegion{Name: "one-more", By: "n1"})
	r.do(&FoundRegion{Name: "us", By: "n3"})
}

func TestTimeDoesNotRunBackwards(t *testing.T) {
	r := newRig(t.Fatalf)
	r.join(1)
	r.now = r.now.Add(-time.Hour)
	if n := r.do(&RegisterNode{ID: "n2", Boot: 1, Instance: ID{1}, Level: Level}).(Node); !n.Since.Equal(r.now.Add(time.Hour)) {
		t.Fatalf("registered at %v", n.Since)
	}
}

func TestAnIndexIsAppliedOnce(t *testing.T) {
	r := newRig(t.Fatalf)
	r.join(1)
	cmd, err := Encode(r.now, &SetNodeState{"n1", Gone})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Apply(r.Applied(), cmd); !errors.Is(err, ErrReplayed) {
		t.Fatal(err)
	}
	if n, _ := r.Node("n1"); n.State != Active {
		t.Fatal("a command was applied again")
	}
}

func TestErrorsKeepTheirKindOverTheWire(t *testing.T) {
	for code, kind := range coded() {
		err := refuse(kind, "something")
		if got := Code(err); got != code {
			t.Errorf("%v has code %q, want %q", err, got, code)
		}
		if back := FromCode(code, err.Error()); !errors.Is(back, kind) || back.Error() != err.Error() {
			t.Errorf("%q came back as %v", code, back)
		}
	}
	if back := FromCode("of-the-future", "text"); back.Error() != "text" || Code(back) != "" {
		t.Errorf("an unknown code came back as %v", back)
	}
}

// A command in a later format is not passed over, since others apply it; nor is the
// state that of the region any more.
func TestACommandOfALaterFormatStops(t *testing.T) {
	r := newRig(t.Fatalf)
	r.join(1)
	cmd, err := Encode(r.now, &RaiseLevel{1})
	if err != nil {
		t.Fatal(err)
	}
	cmd[0]++
	before := r.Snapshot()
	if _, err := r.Apply(r.Applied()+1, cmd); !errors.Is(err, ErrOutdated) || !strings.Contains(err.Error(), "version 2 of the format: this node knows 1") {
		t.Errorf("%v", err)
	}
	if !bytes.Equal(r.Snapshot(), before) {
		t.Error("the state is another")
	}
	if err := Readable(cmd); !errors.Is(err, ErrOutdated) {
		t.Errorf("it is said to be readable: %v", err)
	}
	before[4]++
	if err := New("eu").Restore(before); !errors.Is(err, ErrTooNew) || !strings.Contains(err.Error(), "version 2 of the format: this program knows 1") {
		t.Errorf("a snapshot: %v", err)
	}
}
