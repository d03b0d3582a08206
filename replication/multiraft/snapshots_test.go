package multiraft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

// keptSnapshot is a snapshot as it lies on a disk.
func keptSnapshot(t testing.TB) []byte {
	t.Helper()
	d := storetest.NewDisk()
	s, err := OpenSnapshots(d, ".")
	if err != nil {
		t.Fatal(err)
	}
	k, err := s.Create(raft.SnapshotVersionMax, 7, 2, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Write([]byte("the state of things")); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	return d.Bytes("snapshot")
}

// No bit of a snapshot can change without being noticed, nor can its end be gone.
func TestADamagedSnapshotIsNoticed(t *testing.T) {
	whole := keptSnapshot(t)
	if _, data, err := parseSnapshot(whole); err != nil || string(data) != "the state of things" {
		t.Fatalf("%q, %v", data, err)
	}
	for bit := range 8 * len(whole) {
		b := append([]byte(nil), whole...)
		b[bit/8] ^= 1 << (bit % 8)
		if _, _, err := parseSnapshot(b); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("bit %d of byte %d: %v", bit%8, bit/8, err)
		}
	}
	for n := range whole {
		if _, _, err := parseSnapshot(whole[:n]); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

// A replica may take a snapshot while a leader's, which covers more, is installed.
func TestASnapshotDoesNotTakeThePlaceOfOneThatCoversMore(t *testing.T) {
	d := storetest.NewDisk()
	s, err := OpenSnapshots(d, ".")
	if err != nil {
		t.Fatal(err)
	}
	create := func(index uint64) raft.SnapshotSink {
		k, err := s.Create(raft.SnapshotVersionMax, index, 2, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	own, leaders := create(7), create(9)
	if err := leaders.Close(); err != nil {
		t.Fatal(err)
	}
	if err := own.Close(); !errors.Is(err, errOvertaken) {
		t.Errorf("the older one: %v", err)
	}
	if s, err = OpenSnapshots(d, "."); err != nil {
		t.Fatal(err)
	}
	if index, _ := s.Latest(); index != 9 {
		t.Errorf("the snapshot up to entry %d is kept, not 9", index)
	}
}

func FuzzSnapshot(f *testing.F) {
	f.Add(keptSnapshot(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		parseSnapshot(b)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(64*len(b)+64<<10) {
			t.Fatalf("%d bytes of memory for %d bytes", took, len(b))
		}
	})
}

func TestASnapshotOfALaterVersionIsRefusedUntouched(t *testing.T) {
	b := keptSnapshot(t)
	b[4]++
	binary.LittleEndian.PutUint32(b[8:], checksum(b))
	d := storetest.NewDisk()
	d.Put("snapshot", b)
	if _, err := OpenSnapshots(d, "."); !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), "version 2, this one knows 1") {
		t.Errorf("%v", err)
	}
	if !bytes.Equal(d.Bytes("snapshot"), b) {
		t.Error("it was touched")
	}
}
