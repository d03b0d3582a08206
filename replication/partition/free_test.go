package partition

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// segments are the files that a node's disk has of a log.
func (n *testNode) segments(t *testing.T, id LogID) (names []string, bytes int64) {
	t.Helper()
	dirs, err := n.disk.List("partition/logs")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if !strings.HasPrefix(dir, id.String()+"-") {
			continue
		}
		dir = filepath.Join("partition/logs", dir)
		files, err := n.disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			names = append(names, name)
			if strings.HasSuffix(name, ".seg") {
				bytes += int64(len(n.disk.Bytes(filepath.Join(dir, name))))
			}
		}
	}
	return names, bytes
}

// frees waits until the disks of all nodes that run have of a log what it says it
// consists of, and no more, and fails the test if that takes longer than it may.
func (c *cluster) frees(id LogID) {
	c.t.Helper()
	c.settled()
	began := time.Now()
	for i, n := range c.nodes {
		if n.part == nil {
			continue
		}
		for {
			var want int64
			l, err := n.part.Log(id)
			if err == nil {
				for _, f := range l.Files() {
					want += f.Bytes
				}
				if err := l.segment().Flush(); err != nil {
					c.t.Fatal(err)
				}
			}
			names, got := n.segments(c.t, id)
			if got == want && (err == nil || len(names) == 0) {
				break
			}
			if time.Since(began) > freeAfter+freeEvery+time.Second {
				c.t.Fatalf("node %d has %d bytes in %v on its disk, and says %d", i, got, names, want)
			}
			time.Sleep(100 * time.Millisecond) // simulated
		}
	}
}

// Nothing else is appended that would bring a snapshot about.
func TestTrimmedFilesGoSoonFromAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		_, p := c.leader()
		for i := range 5 {
			if _, err := p.Append(t.Context(), records(orders, 1000*i, 1000*i+1000)); err != nil {
				t.Fatal(err)
			}
		}
		l, err := p.Log(orders)
		if err != nil {
			t.Fatal(err)
		}
		files := l.Files()
		if len(files) < 5 {
			t.Fatalf("%d files", len(files))
		}
		for _, to := range []int64{files[1].Next, files[2].Next + 5, l.Next()} {
			if err := p.Trim(t.Context(), orders, to); err != nil {
				t.Fatal(err)
			}
			c.frees(orders)
		}
		if names, _ := c.nodes[0].segments(t, orders); len(names) > 0 {
			t.Errorf("of a log without records there are %v", names)
		}
		for i := range c.nodes {
			c.crash(i, true)
		}
		for i := range c.nodes {
			c.start(i)
		}
		c.frees(orders)
		_, p = c.leader()
		results, err := p.Append(t.Context(), records(orders, 5000, 5001))
		if err != nil || results[0].Offset != 5000 {
			t.Errorf("%+v, %v", results, err)
		}
		if list := c.same(orders); len(list) != 1 {
			t.Errorf("%d records", len(list))
		}
	})
}

func TestADroppedLogLeavesNothingOnTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		at, p := c.leader()
		if _, err := p.Append(t.Context(), append(records(orders, 0, 5), records(payments, 0, 5)...)); err != nil {
			t.Fatal(err)
		}
		if err := p.Group().Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		late := (at + 1) % 3
		c.stop(late)
		if err := p.Drop(t.Context(), orders); err != nil {
			t.Fatal(err)
		}
		c.frees(orders)
		c.start(late)
		c.frees(orders)
		if n := len(c.same(payments)); n != 5 {
			t.Errorf("of the other log %d records are left", n)
		}
	})
}

// A replica that was too far behind hears of a log's end by a snapshot, which does not
// have it.
func TestALogThatALeadersSnapshotLacksLeavesNothingOnTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		at, p := c.leader()
		if _, err := p.Append(t.Context(), append(records(orders, 0, 5), records(payments, 0, 5)...)); err != nil {
			t.Fatal(err)
		}
		late := (at + 1) % 3
		c.settled()
		c.stop(late)
		more := func() {
			for range 2 * trailing {
				if _, err := p.Append(t.Context(), records(payments, 0, 1)); err != nil {
					t.Fatal(err)
				}
			}
		}
		more()
		if err := p.Drop(t.Context(), orders); err != nil {
			t.Fatal(err)
		}
		more() // so that the entry is no longer in the log
		if err := p.Group().Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.start(late)
		c.frees(orders)
		if n := c.nodes[late].host.Stats().SnapshotsReceived; n == 0 {
			t.Error("no snapshot came")
		}
	})
}

// A replica may end when its snapshot is kept and before files are removed.
func TestFilesThatASnapshotLeftGoAtTheNextStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		_, p := c.leader()
		if _, err := p.Append(t.Context(), append(records(orders, 0, 5), records(payments, 0, 5)...)); err != nil {
			t.Fatal(err)
		}
		l, err := p.Log(orders)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Group().Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		left := filepath.Join(p.config(orders, l.born()).Dir, "0000000000000000000.seg")
		data := c.nodes[0].disk.Bytes(left)
		if err := p.Drop(t.Context(), orders); err != nil {
			t.Fatal(err)
		}
		c.frees(orders)
		c.stop(0)
		if err := c.nodes[0].disk.MkdirAll(filepath.Dir(left)); err != nil {
			t.Fatal(err)
		}
		c.nodes[0].disk.Put(left, data)
		c.start(0)
		if names, _ := c.nodes[0].segments(t, orders); len(names) > 0 {
			t.Errorf("there are %v", names)
		}
	})
}

// Many trims bring few snapshots about.
func TestSnapshotsThatFreeFilesAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		_, p := c.leader()
		taken, last := 0, uint64(0)
		for i := range 60 {
			results, err := p.Append(t.Context(), records(orders, 10*i, 10*i+10))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Trim(t.Context(), orders, results[9].Offset+1); err != nil {
				t.Fatal(err)
			}
			if index, _ := p.snaps.Latest(); index != last {
				taken, last = taken+1, index
			}
			time.Sleep(time.Second) // simulated
		}
		if most := int(time.Minute / freeEvery); taken > most || taken < most/2 {
			t.Errorf("%d snapshots in a minute", taken)
		}
		c.frees(orders)
	})
}

// What keeps a snapshot from being taken may pass.
func TestFilesGoWhenASnapshotCanBeTakenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		_, p := c.leader()
		for _, list := range [][]Record{records(orders, 0, 3000), records(payments, 0, 1), records(payments, 1, 50)} {
			if _, err := p.Append(t.Context(), list); err != nil {
				t.Fatal(err)
			}
		}
		disk := c.nodes[0].disk
		disk.Limit(disk.Used() + 600) // for the trim, but not for payments that only the journal has
		if err := p.Trim(t.Context(), orders, 3000); err != nil {
			t.Fatal(err)
		}
		if err := p.Group().Snapshot(t.Context()); err == nil {
			t.Fatal("a snapshot was taken on a full disk")
		}
		time.Sleep(2 * freeEvery) // simulated
		disk.Limit(0)
		c.frees(orders)
	})
}
