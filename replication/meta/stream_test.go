package meta

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

func orders() Definition {
	return Definition{Name: "orders", Filter: json.RawMessage(`{"prefix": {"type": "order."}}`)}
}

func TestStreamsOutsideTheLimitsAreRefusedWithTheLimit(t *testing.T) {
	for _, x := range []struct {
		change func(*Definition)
		says   string
	}{
		{func(d *Definition) { d.Name = "" }, "1 to 64 characters"},
		{func(d *Definition) { d.Name = "Orders" }, "a-z, 0-9"},
		{func(d *Definition) { d.Name = ".." }, "a letter or a digit"},
		{func(d *Definition) { d.Namespace = strings.Repeat("a", 65) }, "1 to 64 characters"},
		{func(d *Definition) { d.Filter = json.RawMessage("{") }, "not JSON"},
		{func(d *Definition) { d.Filter = json.RawMessage(`"` + strings.Repeat("a", MaxFilter) + `"`) }, "16384"},
		{func(d *Definition) { d.Partitions = 65 }, "1 to 64"},
		{func(d *Definition) { d.Replicas = 8 }, "1 to 7"},
		{func(d *Definition) { d.Retention.Age = -1 }, "not negative"},
		{func(d *Definition) { d.Retention.Bytes = -1 }, "not negative"},
		{func(d *Definition) { d.Dedup.Events = 1 << 40 }, "1000000"},
		{func(d *Definition) { d.Placement = "stretch:eu,us" }, `"home:REGION"`},
		{func(d *Definition) { d.Placement = "home" }, `"home:REGION"`},
		{func(d *Definition) { d.Placement = "home:eu,us" }, `"home:REGION"`},
		{func(d *Definition) { d.Placement = "local:eu,eu" }, `"local`},
		{func(d *Definition) { d.Placement = "local:" }, `"local`},
	} {
		d := orders().WithDefaults()
		if err := d.Check(); err != nil {
			t.Fatal(err)
		}
		x.change(&d)
		if err := d.Check(); err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%.200q\nshould say %q", fmt.Sprint(err), x.says)
		}
	}
	for s, want := range map[string]string{"local": "false []", "local:eu,us/east": "false [eu us/east]", "home:eu": "true [eu]"} {
		home, regions, err := ParsePlacement(s)
		if got := fmt.Sprint(home, regions); err != nil || got != want {
			t.Errorf("%s is %s (%v)", s, got, err)
		}
	}
}

func TestAStreamsNameIsItsOwn(t *testing.T) {
	r := newRig(t.Fatalf)
	made := r.do(&CreateStream{ID{1}, orders().WithDefaults()}).(Stream)
	if made.Dedup != (Window{10 * time.Minute, 200_000}) || made.Owner != "eu" || made.Version != r.Applied() {
		t.Fatalf("%+v", made)
	}
	r.do(&CreateStream{ID{1}, orders().WithDefaults()}) // its answer was lost
	r.refused(ErrExists, &CreateStream{ID{2}, orders().WithDefaults()})
	if got, ok := r.StreamNamed("default", "orders"); !ok || got.UUID != (ID{1}) {
		t.Fatalf("%+v", got)
	}
}

func TestAStreamIsUpdatedAtTheVersionThatWasRead(t *testing.T) {
	r := newRig(t.Fatalf)
	made := r.do(&CreateStream{ID{1}, orders().WithDefaults()}).(Stream)
	d := made.Definition
	d.Retention.Events = 10
	next := r.do(&UpdateStream{ID{1}, made.Version, d}).(Stream)
	if next.Version <= made.Version || next.Retention.Events != 10 {
		t.Fatalf("%+v", next)
	}
	d.Retention.Events = 11
	r.refused(ErrConflict, &UpdateStream{ID{1}, made.Version, d})
	d.Partitions = 2
	r.refused(ErrRefused, &UpdateStream{ID{1}, next.Version, d})
}

func TestADeletedStreamCanBeHadBackForADay(t *testing.T) {
	r := newRig(t.Fatalf)
	r.do(&CreateStream{ID{1}, orders().WithDefaults()})
	r.refused(ErrRefused, &PurgeStream{ID{1}})
	r.do(&DeleteStream{ID{1}, "me"})
	if _, ok := r.StreamNamed("default", "orders"); ok {
		t.Fatal("a deleted stream still has its name")
	}
	r.now = r.now.Add(Grace - time.Second)
	r.refused(ErrRefused, &PurgeStream{ID{1}})
	r.do(&UndeleteStream{ID{1}})
	if got, ok := r.StreamNamed("default", "orders"); !ok || got.Tombstone != nil {
		t.Fatalf("had back: %+v", got)
	}
	r.do(&DeleteStream{ID{1}, "me"})
	r.do(&CreateStream{ID{2}, orders().WithDefaults()})
	r.refused(ErrExists, &UndeleteStream{ID{1}})
	r.now = r.now.Add(Grace)
	r.refused(ErrRefused, &UndeleteStream{ID{1}})
	r.do(&PurgeStream{ID{1}})
	r.do(&PurgeStream{ID{1}})
	r.refused(ErrUnknown, &UndeleteStream{ID{1}})
	if _, ok := r.Grave(ID{1}); !ok {
		t.Fatal("no grave")
	}
	r.refused(ErrInvalid, &CreateStream{ID{1}, Definition{Name: "other"}.WithDefaults()})
}

func TestAPurgeEndsAssignmentAndDedicatedPartitions(t *testing.T) {
	r := newRig(t.Fatalf)
	r.join(1)
	d := orders().WithDefaults()
	d.Dedicated = true
	r.do(&CreateStream{ID{1}, d})
	r.do(&CreatePartition{ID: ID{8}, Want: 1, Nodes: []peer.ID{"n1"}})
	r.do(&CreatePartition{ID: ID{9}, Stream: ID{1}, Want: 1, Nodes: []peer.ID{"n1"}})
	r.refused(ErrRefused, &AssignStream{Stream: ID{1}, Partitions: []uint32{0}})
	r.do(&AssignStream{Stream: ID{1}, Partitions: []uint32{1}})
	r.refused(ErrRefused, &RetirePartition{ID{9}})
	r.do(&DeleteStream{ID{1}, ""})
	if _, ok := r.Assignment(ID{1}); !ok {
		t.Fatal("a deleted stream loses its partitions before it is purged")
	}
	r.now = r.now.Add(Grace)
	r.do(&PurgeStream{ID{1}})
	p, ok := r.Partition(ID{9})
	if _, assigned := r.Assignment(ID{1}); assigned || !ok || p.Retired.IsZero() {
		t.Fatalf("after the purge: %+v", p)
	}
	r.refused(ErrRefused, &BeginChange{Partition: ID{9}, Add: "n1", Remove: p.Replicas[0].ReplicaID})
	r.do(&MarkReplica{ID{9}, p.Replicas[0].ReplicaID, Erased})
	if _, ok := r.Partition(ID{9}); ok {
		t.Fatal("a partition stays that all have deleted")
	}
	if p, _ := r.Partition(ID{8}); !p.Retired.IsZero() {
		t.Fatal("a shared partition went, too")
	}
	r.refused(ErrRefused, &CreatePartition{ID: ID{9}, Stream: ID{1}, Want: 1, Nodes: []peer.ID{"n1"}})
}

// abroad is a stream of another region, at a version.
func abroad(epoch, version uint64) Stream {
	return Stream{UUID: ID{3}, Definition: orders().WithDefaults(), Owner: "us", OwnerEpoch: epoch, Version: version, Created: time.Unix(1000, 0).UTC()}
}

func TestAnAssignmentIsMadeOnce(t *testing.T) {
	r := newRig(t.Fatalf)
	r.join(1)
	for i := range 3 {
		r.do(&CreatePartition{ID: ID{byte(i + 1)}, Want: 1, Nodes: []peer.ID{"n1"}})
	}
	d := orders().WithDefaults()
	d.Partitions = 2
	r.do(&CreateStream{ID{1}, d})
	r.refused(ErrUnknown, &AssignStream{Stream: ID{1}, Partitions: []uint32{0, 7}})
	r.refused(ErrInvalid, &AssignStream{Stream: ID{1}, Partitions: []uint32{0, 0}})
	r.refused(ErrInvalid, &AssignStream{Stream: ID{1}, Partitions: []uint32{0, 1, 2}})
	r.refused(ErrUnknown, &AssignStream{Stream: ID{2}, Partitions: []uint32{0}})
	r.do(&AssignStream{Stream: ID{1}, Partitions: []uint32{2, 0}})
	if a := r.do(&AssignStream{Stream: ID{1}, Partitions: []uint32{1}}).(Assignment); fmt.Sprint(a.Partitions) != "[2 0]" {
		t.Fatalf("assigned again: %v", a.Partitions)
	}
}

func TestAForeignDefinitionGivesWayOnlyToANewerOne(t *testing.T) {
	r := newRig(t.Fatalf)
	r.join(1)
	r.do(&CreatePartition{ID: ID{1}, Want: 1, Nodes: []peer.ID{"n1"}})
	d := abroad(1, 5)
	r.refused(ErrUnknown, &LearnStream{d})
	r.do(&AssignStream{Stream: d.UUID, Partitions: []uint32{0}, Foreign: &d})
	r.refused(ErrConflict, &LearnStream{abroad(1, 5)})
	r.refused(ErrConflict, &LearnStream{abroad(1, 4)})
	r.do(&LearnStream{abroad(1, 6)})
	r.do(&LearnStream{abroad(2, 1)})
	r.refused(ErrConflict, &LearnStream{abroad(1, 9)})
	if a, _ := r.Assignment(d.UUID); a.Foreign.OwnerEpoch != 2 || fmt.Sprint(a.Partitions) != "[0]" {
		t.Fatalf("%+v", a)
	}
}

func TestAForeignStreamEndsOnlyByItsOwnersGrave(t *testing.T) {
	r := newRig(t.Fatalf)
	r.join(1)
	r.do(&CreatePartition{ID: ID{1}, Want: 1, Nodes: []peer.ID{"n1"}})
	d := abroad(1, 5)
	r.do(&AssignStream{Stream: d.UUID, Partitions: []uint32{0}, Foreign: &d})
	d.Version, d.Tombstone = 6, &Tombstone{At: r.now}
	r.do(&LearnStream{d})
	r.now = r.now.Add(10 * Grace)
	r.refused(ErrConflict, &DropStream{Grave{UUID: d.UUID, Owner: "us", OwnerEpoch: 1, Version: 6}})
	r.refused(ErrConflict, &DropStream{Grave{UUID: d.UUID, Owner: "ap", OwnerEpoch: 1, Version: 7}})
	if _, ok := r.Assignment(d.UUID); !ok {
		t.Fatal("a tombstone alone ended it")
	}
	r.do(&DropStream{Grave{UUID: d.UUID, Owner: "us", OwnerEpoch: 1, Version: 7}})
	if _, ok := r.Assignment(d.UUID); ok {
		t.Fatal("it is still assigned")
	}
	r.refused(ErrRefused, &AssignStream{Stream: d.UUID, Partitions: []uint32{0}, Foreign: new(abroad(1, 5))})
}

func TestARegionHasSoManyStreamsAndSaysSo(t *testing.T) {
	r := newRig(t.Fatalf)
	for i := range MaxStreams {
		d := orders().WithDefaults()
		d.Name = fmt.Sprint("s", i)
		r.do(&CreateStream{ID{byte(i), byte(i >> 8), byte(i >> 16), 1}, d})
	}
	_, err := r.try(&CreateStream{ID{9, 9, 9, 9}, orders().WithDefaults()})
	if err == nil || !strings.Contains(err.Error(), "20000") {
		t.Fatal(err)
	}
	snap := r.Snapshot()
	if err := New("eu").Restore(snap); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d streams: a snapshot of %d bytes", MaxStreams, len(snap))
}
