package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store/journal"
	"github.com/skeinmesh/skein/store/storetest"
)

var (
	orders   = LogID{1}
	payments = LogID{2}
	day      = Window{Age: 24 * time.Hour, Events: 10_000}
)

func record(log LogID, n int) Record {
	var key Key
	binary.LittleEndian.PutUint64(key[:], uint64(n)+1)
	return Record{Log: log, Window: day, Key: key, Data: fmt.Appendf(nil, "record %d of log %d", n, log[0])}
}

func records(log LogID, from, to int) (list []Record) {
	for n := from; n < to; n++ {
		list = append(list, record(log, n))
	}
	return list
}

func TestReplicasHaveTheSameRecordsAtTheSameOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		_, p := c.leader()
		for i := range 20 {
			list := append(records(orders, 50*i, 50*i+50), records(payments, 10*i, 10*i+10)...)
			results, err := p.Append(t.Context(), list)
			if err != nil {
				t.Fatal(err)
			}
			for j, r := range results {
				want := int64(50*i + j)
				if j >= 50 {
					want = int64(10*i + j - 50)
				}
				if r != (Appended{Offset: want}) {
					t.Fatalf("record %d of append %d: %+v, want offset %d", j, i, r, want)
				}
			}
		}
		if n := len(c.same(orders)); n != 1000 {
			t.Errorf("%d records", n)
		}
		if n := len(c.same(payments)); n != 200 {
			t.Errorf("%d records", n)
		}
	})
}

func TestWhatIsOfferedAgainIsKeptOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		at, p := c.leader()
		if _, err := p.Append(t.Context(), records(orders, 0, 100)); err != nil {
			t.Fatal(err)
		}
		again := func(when string) {
			t.Helper()
			_, p := c.leader()
			results, err := p.Append(t.Context(), []Record{record(orders, 30), record(orders, 99), record(payments, 30)})
			if err != nil {
				t.Fatal(err)
			}
			if results[0] != (Appended{30, true}) || results[1] != (Appended{99, true}) {
				t.Errorf("%s: %+v", when, results)
			}
		}
		again("at once")
		c.crash(at, true)
		c.start(at)
		again("by another leader")
		for i := range c.nodes {
			c.stop(i)
		}
		for i := range c.nodes {
			c.start(i)
		}
		again("after all were restarted")
		if n := len(c.same(orders)); n != 100 {
			t.Errorf("%d records", n)
		}
	})
}

func TestTheWindowEndsAsTheLogsSettingsSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		_, p := c.leader()
		say := func(n int, w Window) Appended {
			t.Helper()
			r := record(orders, n)
			r.Window = w
			results, err := p.Append(t.Context(), []Record{r})
			if err != nil {
				t.Fatal(err)
			}
			return results[0]
		}
		short := Window{Age: time.Minute, Events: 3}
		for n := range 5 {
			say(n, short)
		}
		for _, want := range []struct {
			n   int
			dup bool
		}{{4, true}, {2, true}, {1, false}} {
			if got := say(want.n, short); got.Duplicate != want.dup {
				t.Errorf("record %d again: %+v", want.n, got)
			}
		}
		time.Sleep(61 * time.Second) // simulated
		if got := say(4, short); got.Duplicate {
			t.Errorf("after a minute: %+v", got)
		}
		if got := say(3, day); !got.Duplicate {
			t.Errorf("with a longer window: %+v", got)
		}
		if got := say(3, Window{}); got.Duplicate {
			t.Errorf("without a window: %+v", got)
		}
		c.same(orders)
	})
}

func TestOnlyTheLeaderAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		at, _ := c.leader()
		_, err := c.nodes[(at+1)%3].part.Append(t.Context(), records(orders, 0, 1))
		if !errors.Is(err, multiraft.ErrNotLeader) {
			t.Error(err)
		}
	})
}

func TestATrimIsTheSameOnAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		_, p := c.leader()
		if _, err := p.Append(t.Context(), records(orders, 0, 5000)); err != nil {
			t.Fatal(err)
		}
		if err := p.Trim(t.Context(), orders, 4321); err != nil {
			t.Fatal(err)
		}
		for i := range c.nodes {
			if i == 2 {
				break
			}
			if err := c.nodes[i].part.Group().Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for i := range c.nodes {
			c.crash(i, true)
			c.start(i)
		}
		list := c.same(orders)
		if list[0].offset != 4321 || len(list) != 679 {
			t.Errorf("%d records from %d on", len(list), list[0].offset)
		}
	})
}

func TestADroppedLogIsGoneAndItsNameIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		_, p := c.leader()
		if _, err := p.Append(t.Context(), append(records(orders, 0, 5), records(payments, 0, 5)...)); err != nil {
			t.Fatal(err)
		}
		if err := p.Group().Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Drop(t.Context(), orders); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Log(orders); !errors.Is(err, ErrGone) {
			t.Error(err)
		}
		results, err := p.Append(t.Context(), records(orders, 3, 4))
		if err != nil || results[0] != (Appended{}) {
			t.Error(results, err)
		}
		for i := range c.nodes {
			c.crash(i, false)
			c.start(i)
		}
		if list := c.same(orders); len(list) != 1 {
			t.Error(list)
		}
	})
}

func TestWaitersHearOfRecordsAndOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		at, p := c.leader()
		if _, err := p.Append(t.Context(), records(orders, 0, 1)); err != nil {
			t.Fatal(err)
		}
		c.settled()
		l, err := c.nodes[(at+1)%3].part.Log(orders) // at a follower
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan error, 2)
		go func() {
			heard <- l.Wait(t.Context(), 1)
			heard <- l.Wait(t.Context(), 2)
		}()
		synctest.Wait()
		if len(heard) > 0 {
			t.Fatal("heard of what is not there")
		}
		if _, err := p.Append(t.Context(), records(orders, 1, 2)); err != nil {
			t.Fatal(err)
		}
		if err := <-heard; err != nil {
			t.Error(err)
		}
		if err := p.Drop(t.Context(), orders); err != nil {
			t.Fatal(err)
		}
		if err := <-heard; !errors.Is(err, ErrGone) {
			t.Error(err)
		}
	})
}

// A replica that is new gets the files of the logs, and then the entries since.
func TestANewReplicaFetchesWhatItHasNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		at, p := c.leader()
		for i := range 10 {
			if _, err := p.Append(t.Context(), records(orders, 1000*i, 1000*i+1000)); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Trim(t.Context(), orders, 2000); err != nil {
			t.Fatal(err)
		}
		lost := (at + 1) % 3
		c.crash(lost, true)
		c.nodes[lost].disk = storetest.NewDisk()
		c.nodes[lost].epoch = 2
		for range 2 { // so that the entries are no longer in the log
			if _, err := p.Append(t.Context(), records(payments, 0, 300)); err != nil {
				t.Fatal(err)
			}
			for range trailing {
				if _, err := p.Append(t.Context(), records(payments, 0, 1)); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Group().Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if first, err := c.nodes[at].journal.Group(journal.ID(c.group)).FirstIndex(); err != nil || first < 2 {
			t.Fatalf("the log still begins with entry %d: %v", first, err)
		}
		c.start(lost)
		old := multiraft.Replica{Node: c.nodes[lost].id, Epoch: 1}
		if err := p.Group().RemoveServer(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if err := p.Group().AddVoter(t.Context(), multiraft.Replica{Node: old.Node, Epoch: 2}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Append(t.Context(), records(orders, 10_000, 10_100)); err != nil {
			t.Fatal(err)
		}
		if n := len(c.same(orders)); n != 8100 {
			t.Errorf("%d records", n)
		}
		if n := c.nodes[lost].host.Stats().SnapshotsReceived; n == 0 {
			t.Error("no snapshot came")
		}
		c.crash(lost, true)
		c.start(lost)
		if n := len(c.same(orders)); n != 8100 {
			t.Errorf("%d records after a crash", n)
		}
	})
}

// What is removed after a snapshot is not what Apply makes at that moment.
func TestALogThatIsBeingMadeIsNotSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		_, p := c.leader()
		if _, err := p.Append(t.Context(), records(orders, 0, 1)); err != nil {
			t.Fatal(err)
		}
		if err := p.Drop(t.Context(), orders); err != nil {
			t.Fatal(err)
		}
		dropped, made := p.config(orders, 0).Dir, p.config(payments, 1).Dir
		if err := p.cfg.FS.MkdirAll(made); err != nil { // as far as Apply may have come
			t.Fatal(err)
		}
		if err := p.Group().Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.sweep(); err != nil {
			t.Fatal(err)
		}
		names, err := p.cfg.FS.List(p.dir())
		if err != nil || len(names) != 1 || names[0] != filepath.Base(made) {
			t.Errorf("%v: %v, want %s and not %s", err, names, made, dropped)
		}
	})
}
