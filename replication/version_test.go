package replication

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

// contents is what lies on a disk below a directory, by name.
func contents(d *storetest.Disk, dir string) map[string]string {
	list := map[string]string{}
	for _, name := range files(d, dir) {
		list[name] = string(d.Bytes(name))
	}
	return list
}

// When a later version has decided something that this one cannot read, a node does
// not go on without it: it takes part in nothing, and says which versions these are.
func TestANodeThatIsTooOldForTheMetadataTakesPartInNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.until("three vote on the metadata", func() bool { return w.metaVoters() == 3 })
		cmd, err := meta.Encode(time.Now(), &meta.RaiseLevel{Level: 1})
		w.check(err)
		cmd[0]++
		// An older leader does not take it up when it is asked to.
		var m *Member
		w.until("somebody leads", func() bool {
			for i := range w.nodes {
				if n := w.nodes[i].running(); n.meta.group().IsLeader() {
					m = n
				}
			}
			return m != nil
		})
		if answer := m.Answer(t.Context(), "n2", append([]byte{askPropose}, cmd...)); answer[0] != refused || !bytes.Contains(answer, []byte("version 2 of the format")) {
			t.Errorf("it is proposed: %q", answer)
		}
		was := m.meta.state().Snapshot()
		if _, _, err := m.meta.group().Apply(t.Context(), cmd); err != nil { // as a later version would
			t.Fatal(err)
		}
		w.until("those who hear of it stop", func() bool {
			stopped := 0
			for _, n := range w.nodes {
				if err := n.running().Fenced(); errors.Is(err, meta.ErrOutdated) && strings.Contains(err.Error(), "version 2 of the format: this node knows 1") {
					stopped++
				}
			}
			return stopped >= 2 // without a quorum the third does not hear of it
		})
		if !bytes.Equal(m.meta.state().Snapshot(), was) {
			t.Error("the metadata is another")
		}
		for i := range w.nodes {
			w.crash(i, false)
			w.start(i) // and again, from the disk
		}
		w.until("the nodes stop again", func() bool {
			return w.nodes[0].running().Fenced() != nil || w.nodes[1].running().Fenced() != nil
		})
	})
}

// A partition's entry of a later version is not passed over: the replica stays
// closed, what it has kept stays as it is, and the node's other replicas go on.
func TestAnEntryOfALaterVersionClosesTheReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1)
		s := w.stream("orders", 2)
		w.until("the replicas are there", func() bool { return w.whole(1) })
		l := w.publish(s, 1)
		l.goesOn(20)
		l.stop()
		l.wg.Wait()
		m := w.nodes[0].running()
		p, err := m.local(l.parts[0])
		w.check(err)
		kept := readReplica(t, p, s.UUID)
		entry := append([]byte{2, 1}, make([]byte, 20)...)
		if _, result, err := p.Group().Apply(t.Context(), entry); err != nil || !strings.Contains(fmt.Sprint(result), "version 2, this one knows 1") {
			t.Fatalf("%v, %v", result, err)
		}
		w.until("the replica is closed", func() bool { _, err := m.local(l.parts[0]); return errors.Is(err, ErrElsewhere) })
		part, _ := m.Meta().Partition(meta.ID(p.Group().ID()))
		dir := m.replicaDir(part.Number, part.Replicas[0].Epoch)
		logs := func() map[string]string {
			all := contents(w.nodes[0].disk, dir)
			maps.DeleteFunc(all, func(name, _ string) bool { return !strings.HasSuffix(name, ".seg") })
			return all
		}
		before := logs()
		for range 2 {
			time.Sleep(time.Minute) // simulated
			if _, err := m.local(l.parts[0]); !errors.Is(err, ErrElsewhere) {
				t.Error("it was opened again")
			}
			if m.Fenced() != nil {
				t.Error(m.Fenced())
			}
			after := logs()
			for name, was := range before { // what was in memory only may be written by now
				if !strings.HasPrefix(after[name], was) {
					t.Errorf("%s was touched", name)
				}
			}
			if part, known := m.Meta().Partition(meta.ID(p.Group().ID())); !known || part.Replicas[0].Lost {
				t.Error("it is given up as lost")
			}
			if other, err := m.local(l.parts[1]); err != nil {
				t.Errorf("the other partition: %v", err)
			} else if len(readReplica(t, other, s.UUID)) == 0 {
				t.Error("the other partition has lost what it kept")
			}
			w.crash(0, false)
			w.start(0)
			m = w.nodes[0].running()
			w.until("the other replica is open", func() bool { _, err := m.local(l.parts[1]); return err == nil })
		}
		if len(kept) == 0 {
			t.Error("nothing was kept")
		}
	})
}

// A directory that a later version has written to is refused with both versions,
// whichever file says so first, and stays as it is.
func TestADirectoryOfALaterVersionIsRefusedUntouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, 1)
		s := w.stream("orders", 1)
		w.until("the replica is there", func() bool { return w.whole(1) })
		l := w.publish(s, 1)
		w.grow(l)
		l.stop()
		l.wg.Wait()
		w.stop(0)
		n := w.nodes[0]
		disk := n.disk
		for _, c := range []struct {
			kind   string
			bump   func(b []byte)
			says   string
			closed bool // one replica stays closed, and the node opens
		}{
			{"/meta/", func(b []byte) { b[4]++; sealSnapshot(b) }, "version 2, this one knows 1", false},
			{"/meta/", func(b []byte) {
				at := bytes.Index(b, []byte("SKNM"))
				b[at+4]++
				sealSnapshot(b)
			}, "version 2 of the format: this program knows 1", false},
			{"/partitions/", func(b []byte) {
				b[len(b)-snapshotData(b)]++
				sealSnapshot(b)
			}, "version 2, this one knows 1", true},
		} {
			n.disk = disk.Clone()
			var name string
			for _, f := range files(n.disk, "streams") {
				if strings.Contains(f, c.kind) && strings.HasSuffix(f, "/snapshot") {
					name = f
				}
			}
			b := n.disk.Bytes(name)
			if b == nil {
				t.Fatalf("no snapshot in %s", c.kind)
			}
			c.bump(b)
			n.disk.Put(name, b)
			before := contents(n.disk, "streams")
			report, err := VerifyDir(n.disk, "streams")
			if err == nil {
				err = errors.New(strings.Join(report.Damage, "; "))
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: verify says %v, want %q", name, err, c.says)
			}
			if c.closed {
				continue
			}
			cfg := n.config()
			m, err := Open(cfg)
			if err == nil {
				m.Close()
			}
			if !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", name, err, c.says)
			}
			after := contents(n.disk, "streams")
			for f := range before {
				if !strings.Contains(f, "/journal/") && after[f] != before[f] { // which notes that it was opened
					t.Errorf("%s was touched", f)
				}
			}
		}
		n.disk = disk
	})
}

// snapshotData is how many bytes of a snapshot file are the state machine's.
func snapshotData(b []byte) int { return len(b) - 16 - int(binary.LittleEndian.Uint32(b[12:])) }

// sealSnapshot puts the checksum right of a snapshot file that was changed.
func sealSnapshot(b []byte) {
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(b[8:], crc32.Update(crc32.Checksum(b[:8], table), table, b[12:]))
}
