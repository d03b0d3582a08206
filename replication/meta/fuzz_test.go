package meta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"time"

	"github.com/skeinmesh/skein/transport/peer"
)

// lived is a state with some of everything.
func lived(fatal func(string, ...any)) *rig {
	r := newRig(fatal)
	for i := range 4 {
		r.join(i)
	}
	r.do(&CreatePartition{ID: ID{1}, Want: 3, Nodes: []peer.ID{"n0", "n1", "n2"}})
	r.do(&CreatePartition{ID: ID{2}, Stream: ID{2}, Want: 3, Nodes: []peer.ID{"n0", "n1", "n2"}})
	r.do(&BeginChange{Partition: ID{1}, Add: "n3"})
	r.do(&CreateStream{ID{1}, orders().WithDefaults()})
	r.do(&AssignStream{Stream: ID{1}, Partitions: []uint32{0}})
	d := abroad(1, 5)
	r.do(&AssignStream{Stream: d.UUID, Partitions: []uint32{0}, Foreign: &d})
	r.do(&DropStream{Grave{UUID: d.UUID, Owner: "us", OwnerEpoch: 1, Version: 7}})
	r.do(&DeleteStream{ID{1}, "me"})
	r.do(&FoundRegion{Name: "eu", By: "n0"})
	return r
}

func FuzzApply(f *testing.F) {
	for _, c := range []Command{
		&RegisterNode{ID: "n9", Boot: 1, Instance: ID{9}, Level: 1}, &SetNodeState{"n1", Gone}, &RaiseLevel{2},
		&CreatePartition{ID: ID{9}, Want: 1, Nodes: []peer.ID{"n1"}}, &SetWant{ID{1}, 3},
		&MarkReplica{ID{1}, ReplicaID{"n0", 1}, Lost}, &RetirePartition{ID{2}},
		&BeginChange{Partition: ID{2}, Add: "n3", Remove: ReplicaID{"n0", 2}, RemoveFirst: true},
		&AdvanceChange{ID{1}, 7, Learn}, &UndoChange{ID{1}, 7},
		&CreateStream{ID{4}, Definition{Name: "x"}.WithDefaults()}, &UndeleteStream{ID{1}}, &PurgeStream{ID{1}},
		&AssignStream{Stream: ID{4}, Partitions: []uint32{0}}, &LearnStream{abroad(1, 6)}, &FoundRegion{Name: "us", By: "n0"},
	} {
		cmd, err := Encode(time.Unix(1_700_000_100, 0), c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(cmd, cmd)
	}
	start := lived(f.Fatalf).Snapshot()
	f.Fuzz(func(t *testing.T, one, two []byte) {
		s := New("eu")
		if err := s.Restore(start); err != nil {
			t.Fatal(err)
		}
		for _, cmd := range [][]byte{one, two} {
			if _, err := s.Apply(s.Applied()+1, cmd); err != nil && Code(err) == "" {
				t.Fatalf("an error of no kind: %v", err)
			}
		}
		snap, again := s.Snapshot(), New("eu")
		if err := again.Restore(snap); err != nil {
			if s.AgreedLevel() > Level && errors.Is(err, ErrTooNew) {
				return
			}
			t.Fatalf("%v\n%s", err, snap)
		}
		if !bytes.Equal(again.Snapshot(), snap) {
			t.Fatalf("restored, it is another:\n%s\n%s", again.Snapshot(), snap)
		}
	})
}

func FuzzRestore(f *testing.F) {
	good := lived(f.Fatalf).Snapshot()
	f.Add(good[snapshotHeader:], []byte("\x01{}"))
	f.Add([]byte("{}"), []byte("\x01{}"))
	cmd, err := Encode(time.Unix(1_700_000_100, 0), &AdvanceChange{ID{1}, 7, Learn})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[snapshotHeader:], cmd)
	f.Fuzz(func(t *testing.T, body, cmd []byte) {
		s := New("eu")
		_ = s.Restore(body) // as it is: most often no snapshot
		if err := s.Restore(seal(body)); err != nil {
			if Code(err) == "" {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		// Whatever was taken can be worked with and written again.
		_, _ = s.Apply(s.Applied()+1, cmd)
		first := s.Snapshot()
		again := New("eu")
		if err := again.Restore(first); err != nil && s.AgreedLevel() <= Level {
			t.Fatalf("%v\n%s", err, first)
		}
	})
}

// seal puts the right header before a snapshot's JSON.
func seal(body []byte) []byte {
	b := make([]byte, snapshotHeader)
	copy(b, snapshotMagic)
	binary.LittleEndian.PutUint16(b[4:], snapshotVersion)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(b, body...)
}

func TestADamagedOrForeignSnapshotIsRefusedAndTheStateStays(t *testing.T) {
	good := lived(t.Fatalf).Snapshot()
	if again := New("eu"); again.Restore(good) != nil || !bytes.Equal(again.Snapshot(), good) {
		t.Fatalf("restored, it is another:\n%s\n%s", again.Snapshot(), good)
	}
	other := newRig(t.Fatalf)
	other.join(7)
	before := other.Snapshot()
	for i := 0; i < len(good); i += 7 {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if err := other.Restore(bad); err == nil {
			t.Fatalf("byte %d is damaged, and nobody notices", i)
		}
		if err := other.Restore(good[:i]); err == nil {
			t.Fatalf("cut at %d, and nobody notices", i)
		}
	}
	if err := New("us").Restore(good); !errors.Is(err, ErrRefused) {
		t.Fatalf("region us takes eu's snapshot: %v", err)
	}
	if !bytes.Equal(other.Snapshot(), before) {
		t.Fatal("a refused snapshot changed the state")
	}
}
