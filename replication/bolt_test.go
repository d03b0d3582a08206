package replication

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/skeinmesh/skein/store"
)

// boltTown is a town whose nodes keep their logs in raft-boltdb, on the real disk:
// bbolt has no other.
func boltTown(t *testing.T, n int) *town {
	w := newTownOf(t, n, func(n *townNode) { n.dir = filepath.Join(t.TempDir(), "streams") })
	w.until("the metadata has its voters", func() bool { return w.metaVoters() == n })
	return w
}

// With raft-boltdb in the journal's place a region keeps what it acknowledged, over
// crashes of any node and of all, and a replica that was wiped is made anew.
func TestARegionKeepsStreamsInBolt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := boltTown(t, 3)
		s := w.stream("orders", 2)
		w.until("the replicas are there", func() bool { return w.whole(3) })
		l := w.publish(s, 2)
		l.goesOn(30)
		for i := range 3 {
			w.crash(i, false)
			l.goesOn(10)
			w.start(i)
			w.until("all partitions have their replicas", func() bool { return w.whole(3) })
		}
		for i := range 3 {
			w.crash(i, false)
		}
		for i := range 3 {
			w.start(i)
		}
		l.goesOn(30)
		w.crash(2, false)
		if err := os.RemoveAll(w.nodes[2].dir); err != nil {
			t.Fatal(err)
		}
		w.start(2)
		l.goesOn(30)
		l.end(3)
	})
}

// A file of raft-boltdb that is damaged on one node is found when it starts, and by
// its scrubber, and offline; the replica is made anew.
func TestADamagedBoltFileCostsItsReplicaAlone(t *testing.T) {
	for _, how := range []string{"a bit, found at the start", "the end, found at the start", "a bit, found while it runs"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := boltTown(t, 3)
				s := w.stream("orders", 1)
				w.until("the replicas are there", func() bool { return w.whole(3) })
				l := w.publish(s, 1)
				l.goesOn(30)
				n := w.nodes[1]
				m := n.running()
				p, err := m.local(l.parts[0])
				w.check(err)
				old := named{p.Group().ID(), p.Group().Self()}
				id := journalID(old.group, old.Epoch)
				path := filepath.Join(n.dir, "bolt", hex.EncodeToString(id[:])+boltSuffix)
				var e store.Entry
				w.until("the replica has events in its log", func() bool {
					last, err := m.logs.Replica(id).LastIndex()
					w.check(err)
					for at := max(last, 1) - 1; at > 0 && m.logs.Replica(id).Get(at, &e) == nil; at-- {
						if len(e.Data) >= 16 {
							return true
						}
					}
					return false // they are with the others: this one follows
				})
				running := strings.HasSuffix(how, "runs")
				if !running {
					w.stop(1)
				}
				data, err := os.ReadFile(path)
				w.check(err)
				if strings.HasPrefix(how, "the end") {
					w.check(os.Truncate(path, int64(len(data)/3)))
				} else {
					flipAll(t, path, data, e.Data)
				}
				if running {
					w.scrub(1)
				} else {
					report, err := VerifyDir(nil, n.dir)
					if err != nil || len(report.Damage) != 1 || !strings.Contains(report.Damage[0], filepath.Base(path)) {
						t.Errorf("verify says %q, %v", report.Damage, err)
					}
					l.goesOn(10)
					w.start(1)
				}
				w.until("the replica has another epoch", func() bool { return !replicasOf(n.running())[old] && w.whole(3) })
				l.goesOn(20)
				l.end(3)
			})
		})
	}
}

// flipAll flips a bit of some bytes wherever they are in a file: pages that are not
// used any more have them, too.
func flipAll(t *testing.T, path string, data, of []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := false
	for at := 0; ; {
		next := strings.Index(string(data[at:]), string(of))
		if next < 0 {
			break
		}
		at += next + len(of)
		found = true
		if _, err := f.WriteAt([]byte{data[at-1] ^ 4}, int64(at-1)); err != nil {
			t.Fatal(err)
		}
	}
	if !found {
		t.Fatal("the entry is not in the file")
	}
}

// A directory is opened with the store that it was made with, by the node that
// made it.
func TestADirectoryOfAnotherLogStoreIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := boltTown(t, 1)
		w.stop(0)
		n := w.nodes[0]
		for what, c := range map[string]struct {
			change func(*Config)
			says   string
			is     error
		}{
			"another store": {func(c *Config) { c.LogStore = Journal }, "was made with the log store bolt, and cannot be opened with journal", nil},
			"another node":  {func(c *Config) { c.Self.ID = "another" }, `of node "node-0"`, store.ErrForeign},
			"another mesh":  {func(c *Config) { c.Mesh = "another" }, `in mesh "m"`, store.ErrForeign},
		} {
			cfg := n.config()
			c.change(&cfg)
			m, err := Open(cfg)
			if err == nil {
				m.Close()
				t.Fatalf("%s: it is opened", what)
			}
			if !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s: %v", what, err)
			}
		}
		owner := filepath.Join(n.dir, "bolt", boltOwnerFile)
		w.check(os.WriteFile(owner, []byte(`{"format":2,"mesh":"m","node":"node-0"}`), 0o600))
		if _, err := Open(n.config()); !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), "format 2, this one knows up to 1") {
			t.Errorf("a later format: %v", err)
		}
		w.check(os.WriteFile(owner, []byte(`{"format":1,"mesh":"m","node":"node-0"}`), 0o600))
		j := newTown(t, 1)
		j.stop(0)
		cfg := j.nodes[0].config()
		cfg.LogStore = Bolt
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "was made with the log store journal, and cannot be opened with bolt") {
			t.Errorf("a journal's directory: %v", err)
		}
	})
}
