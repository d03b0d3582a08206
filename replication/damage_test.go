package replication

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
)

// files lists the files of a disk below a directory.
func files(d *storetest.Disk, dir string) (list []string) {
	names, err := d.List(dir)
	if err != nil {
		return nil
	}
	for _, name := range names {
		if full := path.Join(dir, name); d.Bytes(full) != nil {
			list = append(list, full)
		} else {
			list = append(list, files(d, full)...)
		}
	}
	return list
}

// harm is something that happens to a file, whose name has all of these parts.
type harm struct {
	name  string
	parts []string
	last  bool // the last file of that kind, else the first
	cut   bool // the end of it is gone, else a bit is flipped
}

func harms() (list []harm) {
	for _, cut := range []bool{false, true} {
		how := "a bit of "
		if cut {
			how = "the end of "
		}
		for _, of := range []struct {
			what  string
			parts []string
			last  bool
		}{
			{"the journal", []string{"/journal/"}, false},
			{"the journal's end", []string{"/journal/"}, true},
			{"a full file of a log", []string{".seg"}, false},
			{"the newest file of a log", []string{".seg"}, true},
			{"an index", []string{".idx"}, false},
			{"a partition's snapshot", []string{"/partitions/", "/snapshot"}, false},
			{"the metadata's snapshot", []string{"/meta/", "/snapshot"}, false},
		} {
			list = append(list, harm{how + of.what, of.parts, of.last, cut})
		}
	}
	return list
}

// find finds the file that is harmed; empty if there is none.
func (h harm) find(d *storetest.Disk) string {
	list := slices.DeleteFunc(files(d, "streams"), func(name string) bool {
		for _, part := range h.parts {
			if !strings.Contains(name, part) {
				return true
			}
		}
		return len(d.Bytes(name)) == 0
	})
	switch {
	case len(list) == 0:
		return ""
	case h.last:
		return list[len(list)-1]
	}
	return list[0]
}

// do harms a file where something stands.
func (h harm) do(w *town, d *storetest.Disk) string {
	name := h.find(d)
	if name == "" {
		return ""
	}
	b := d.Bytes(name)
	end := len(b)
	for end > 0 && b[end-1] == 0 {
		end--
	}
	at := int64(end / 3)
	if h.cut {
		w.check(d.Cut(name, at))
	} else {
		w.check(d.Flip(name, 8*at+int64(w.rng.IntN(8))))
	}
	return fmt.Sprintf("%s at byte %d of %d", name, at, end)
}

// harm harms a node's file, which there must be.
func (w *town) harm(h harm, node int) {
	w.t.Helper()
	what := h.do(w, w.nodes[node].disk)
	if what == "" {
		w.t.Fatalf("%s: there is no such file in %v", h.name, files(w.nodes[node].disk, "streams"))
	}
	w.t.Log(what)
}

func (w *town) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// three is a region of three nodes that all vote on the metadata, and have all replicas
// of a stream.
func three(t *testing.T, partitions int) (*town, meta.Stream) {
	t.Helper()
	w := newTown(t, 3)
	s := w.stream("orders", partitions)
	w.until("the replicas are there", func() bool { return w.whole(3) })
	w.until("three vote on the metadata", func() bool { return w.metaVoters() == 3 })
	return w, s
}

// grown is such a region with a load, and files of every kind.
func grown(t *testing.T, partitions, publishers int) (*town, *load) {
	t.Helper()
	w, s := three(t, partitions)
	l := w.publish(s, publishers)
	w.grow(l)
	return w, l
}

// grow publishes until logs have full files, snapshots are there, and the journal
// has let go of some files.
func (w *town) grow(l *load) {
	w.t.Helper()
	w.fill(l, 800)
	last := map[multiraft.GroupID]uint64{}
	for _, n := range w.nodes {
		for _, g := range n.running().host.Groups() {
			last[g.ID()] = max(last[g.ID()], g.Stats().Last)
		}
	}
	for _, n := range w.nodes {
		for _, g := range n.running().host.Groups() {
			w.until("a snapshot of all that is kept", func() bool {
				return g.Stats().Applied >= last[g.ID()] && g.Snapshot(w.t.Context()) == nil
			})
		}
	}
	w.fill(l, 100)
}

// scrub has a round of a node's scrubber done, which is due within the hour.
func (w *town) scrub(i int) {
	w.t.Helper()
	m := w.nodes[i].running()
	was := m.rounds.Load()
	m.suspect()
	w.until("the scrubber has done a round", func() bool { return m.rounds.Load() > was })
}

// fill appends events of one KiB, which nobody checks the order of but all
// replicas must have, at offsets that are acknowledged.
func (w *town) fill(l *load, events int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	m := w.anyone()
	for _, number := range l.parts {
		for done := 0; done < events; done += 50 {
			var list []partition.Record
			l.mu.Lock()
			for range 50 {
				l.filled++
				e := event(l.stream.UUID, fillers+l.filled)
				e.Data = append(e.Data, strings.Repeat(" x", 512)...)
				list = append(list, e)
				l.tries[fillers+l.filled] = true
			}
			first := fillers + l.filled - 49
			l.mu.Unlock()
			results, err := m.Append(ctx, number, list)
			w.check(err)
			l.mu.Lock()
			for i, r := range results {
				l.acked[first+i] = place{number, r.Offset}
			}
			l.mu.Unlock()
		}
	}
}

const fillers = 100 * perPublisher

func (w *town) anyone() *Member {
	for _, n := range w.nodes {
		if m := n.running(); m != nil && m.Fenced() == nil {
			return m
		}
	}
	w.t.Fatal("no node runs")
	return nil
}

// A bit flips, or the end of a file is gone, on one of three replicas: the
// replica is made anew or the file replaced, nothing that was acknowledged is
// lost, and no replica votes that has lost something.
func TestBitflipMinority(t *testing.T) {
	for i, h := range harms() {
		if !testing.Short() || i%2 == 0 { // under the race detector, either will do
			t.Run(h.name+"/found at the start", func(t *testing.T) { foundAtTheStart(t, h) })
		}
		if !testing.Short() || i%2 == 1 {
			t.Run(h.name+"/while it runs", func(t *testing.T) { harmedWhileItRuns(t, h) })
		}
	}
}

func foundAtTheStart(t *testing.T, h harm) {
	synctest.Test(t, func(t *testing.T) {
		w, l := grown(t, 2, 2)
		w.crash(1, false)
		w.harm(h, 1)
		l.goesOn(50)
		w.start(1)
		l.goesOn(100)
		w.until("all partitions have their replicas", func() bool { return w.whole(3) })
		w.scrub(1)
		w.until("three vote on the metadata", func() bool { return w.metaVoters() == 3 })
		l.end(3)
		w.outlive(l, 1)
	})
}

func harmedWhileItRuns(t *testing.T, h harm) {
	synctest.Test(t, func(t *testing.T) {
		w, l := grown(t, 2, 2)
		w.harm(h, 1)
		l.goesOn(50)
		w.scrub(1)
		l.goesOn(50)
		w.crash(1, true)
		w.start(1)
		l.goesOn(100)
		w.until("all partitions have their replicas", func() bool { return w.whole(3) })
		l.end(3)
		w.outlive(l, 1)
	})
}

// outlive lets the two other nodes fail one after the other, so that what the
// mended one has is needed.
func (w *town) outlive(l *load, mended int) {
	w.t.Helper()
	for i := range w.nodes {
		if i != mended {
			w.crash(i, true)
			m := w.nodes[mended].running()
			w.until("what was acknowledged can be read", func() bool {
				for _, number := range l.parts {
					if _, err := m.Read(w.t.Context(), Read{Partition: number, Log: l.stream.UUID, From: FromEarliest}); err != nil {
						return false
					}
					if _, err := m.Append(w.t.Context(), number, []partition.Record{event(l.stream.UUID, 50*perPublisher+i)}); err != nil {
						return false
					}
				}
				return true
			})
			w.start(i)
			w.until("all partitions have their replicas", func() bool { return w.whole(3) })
		}
	}
}

// A reader that meets damage is answered by another replica, and the file is
// replaced soon.
func TestADamagedReplicaIsNotReadFrom(t *testing.T) {
	for _, h := range harms() {
		if h.parts[0] == ".seg" {
			t.Run(h.name, func(t *testing.T) { readDamaged(t, h) })
		}
	}
}

func readDamaged(t *testing.T, h harm) {
	synctest.Test(t, func(t *testing.T) {
		w, l := grown(t, 1, 1)
		s := l.stream
		l.stop()
		l.wg.Wait()
		m := w.nodes[1].running()
		w.until("all is here", func() bool {
			p, err := m.local(l.parts[0])
			return err == nil && len(readReplica(t, p, s.UUID)) == l.count()
		})
		w.harm(h, 1)
		w.until("all events are read, while the replica may be made anew", func() bool {
			return len(w.read(m, l.parts[0], s.UUID)) == l.count()
		})
		w.until("the replica is well again", func() bool {
			p, err := m.local(l.parts[0])
			if err != nil {
				return false
			}
			log, err := p.Log(partition.LogID(s.UUID))
			if err != nil {
				return false
			}
			at := int64(0)
			for at < int64(l.count()) && err == nil {
				var b segment.Batch
				b, err = log.Reader(at).Read(make([]byte, 64<<10))
				at += int64(b.Len())
			}
			return err == nil
		})
	})
}
