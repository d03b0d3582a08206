package replication

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/store"
)

// Each kind of file, flipped and cut, is found out by verify, with the file's name,
// and by nothing else is the rest of the directory said to be damaged.
func TestVerifyFindsDamageInEveryKindOfFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := grown(t, 2, 2)
		l.stop()
		l.wg.Wait()
		w.stop(1)
		disk := w.nodes[1].disk
		whole, err := VerifyDir(disk, "streams")
		if err != nil || len(whole.Damage) > 0 {
			t.Fatalf("before any damage: %v, %v", whole.Damage, err)
		}
		for _, h := range harms() {
			d := disk.Clone()
			what := h.do(w, d)
			if what == "" {
				t.Fatalf("%s: there is no such file", h.name)
			}
			name, _, _ := strings.Cut(what, " ")
			report, err := VerifyDir(d, "streams")
			if err != nil {
				t.Errorf("%s: %s: %v", h.name, what, err)
				continue
			}
			// The end of a log's newest file may be what a crash left of an append, as far
			// as no snapshot needs it.
			told := append(slices.Clone(report.Damage), report.Notes...)
			file := name[strings.LastIndex(name, "/")+1:]
			if !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, file) }) {
				t.Errorf("%s: %s: verify says %q", h.name, what, told)
			}
			for _, line := range report.Damage {
				t.Logf("%s: %s", h.name, line)
			}
		}
	})
}

// While a node runs, its scrubber finds what has become of its files: a snapshot
// is written again, a replica whose files cannot be replaced is made anew, and in the
// end verify finds nothing.
func TestTheScrubberFindsDamageInEveryKindOfFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := grown(t, 2, 1)
		n := w.nodes[1]
		for _, h := range harms() {
			if strings.Contains(h.name, "journal") {
				continue // of it only what is still needed is read again: see below
			}
			w.harm(h, 1)
			w.scrub(1)
			w.until("all partitions have their replicas", func() bool { return w.whole(3) })
		}
		l.stop()
		l.wg.Wait()
		w.scrub(1)                // of what was not certain to be on the disk when it was damaged
		time.Sleep(2 * scrubSoon) // simulated: and once more what nobody could replace at once
		w.until("all partitions have their replicas", func() bool { return w.whole(3) })
		w.stop(1)
		report, err := VerifyDir(n.disk, "streams")
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Damage) > 0 {
			t.Errorf("after the scrub: %q", report.Damage)
		}
		w.start(1)
		l.end(3)
	})
}

// An entry of the journal that a replica still needs is read again while the node
// runs, though it is in memory, too: the replica fails and is made anew under
// another epoch, and nothing is lost.
func TestTheScrubberFindsADamagedEntry(t *testing.T) {
	for _, kind := range []string{"partition", "metadata"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, s := three(t, 2)
				l := w.publish(s, 1)
				l.goesOn(30)
				n := w.nodes[1]
				if kind == "metadata" { // one that began in this start waits for the next
					w.crash(1, true)
					w.start(1)
					w.until("three vote on the metadata", func() bool { return w.metaVoters() == 3 })
				}
				m := n.running()
				group, log := m.meta.group(), m.meta.log()
				if kind == "partition" {
					p, err := m.local(l.parts[0])
					w.check(err)
					group, log = p.Group(), m.logs.Replica(journalID(p.Group().ID(), p.Group().Self().Epoch))
				}
				last, err := log.LastIndex()
				w.check(err)
				var e store.Entry
				w.check(log.Get(last, &e))
				for len(e.Data) < 16 {
					last--
					w.check(log.Get(last, &e))
				}
				w.flipWhere(n, "/journal/", e.Data)
				old := named{group.ID(), group.Self()}
				w.scrub(1)
				w.until("the replica has another epoch", func() bool {
					m := n.running()
					return m != nil && !replicasOf(m)[old] && w.whole(3)
				})
				w.until("three vote on the metadata", func() bool { return w.metaVoters() == 3 })
				if errors.Is(n.running().Fenced(), errRival) {
					t.Error("the node is out of its region")
				}
				l.goesOn(20)
				time.Sleep(time.Second) // simulated
				l.end(3)
				w.outlive(l, 1)
			})
		})
	}
}

// flipWhere flips a bit of some bytes in a node's files, wherever they are.
func (w *town) flipWhere(n *townNode, dir string, data []byte) {
	w.t.Helper()
	done := false
	for _, name := range files(n.disk, "streams") {
		if !strings.Contains(name, dir) {
			continue
		}
		if at := strings.Index(string(n.disk.Bytes(name)), string(data)); at >= 0 {
			w.check(n.disk.Flip(name, int64(8*(at+len(data)/2))))
			done = true
		}
	}
	if !done {
		w.t.Fatal("the entry is nowhere on the disk")
	}
}

// A replica of the metadata that began in this start is not begun anew before the next:
// its epoch would be that of the next start, which might find nothing and take it for
// its own.
func TestAMetadataReplicaOfThisStartWaitsForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := three(t, 1)
		n := w.nodes[1]
		m := n.running()
		log := m.meta.log()
		last, err := log.LastIndex()
		w.check(err)
		var e store.Entry
		w.check(log.Get(last, &e))
		for len(e.Data) < 16 {
			last--
			w.check(log.Get(last, &e))
		}
		w.flipWhere(n, "/journal/", e.Data)
		w.scrub(1)
		w.until("the damage is found", func() bool { return m.meta.replica.Load().failed.Load() != nil })
		time.Sleep(20 * time.Second) // simulated
		if epoch := m.meta.group().Self().Epoch; epoch > n.self.Boot {
			t.Errorf("it began under epoch %d in start %d", epoch, n.self.Boot)
		}
		w.crash(1, true)
		w.start(1)
		w.until("three vote on the metadata", func() bool { return w.metaVoters() == 3 })
	})
}
