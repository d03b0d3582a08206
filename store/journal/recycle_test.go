package journal

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

// fill appends until so many more segments were made.
func fill(t *testing.T, j *Journal, g *Group, segments uint64) {
	t.Helper()
	last, err := g.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	for until := j.Stats().Created + segments; j.Stats().Created < until; {
		last++
		if err := g.Append([]store.Entry{{Index: last, Data: make([]byte, 2000)}}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSegmentsGoWhenNobodyNeedsThemAndValuesStay(t *testing.T) {
	disk := storetest.NewDisk()
	told := make(chan []ID, 1000)
	cfg := small(disk)
	cfg.HoldSegments = 3
	cfg.OnHeldBack = func(groups []ID) { told <- groups }
	j := open(t, cfg)
	laggard, busy, quiet := j.Group(id(1)), j.Group(id(2)), j.Group(id(3))
	if err := errors.Join(
		quiet.SetValues(store.Uint64Value("term", 9)),
		laggard.Append(storetest.Entries(1, 2, 1)),
	); err != nil {
		t.Fatal(err)
	}
	fill(t, j, busy, 6)
	for groups := range told {
		if !slices.Contains(groups, laggard.ID()) {
			t.Fatalf("told %v, the laggard is %v", groups, laggard.ID())
		}
		if len(groups) == 1 || len(groups) == 2 && slices.Contains(groups, busy.ID()) {
			break
		}
		t.Fatalf("told %v", groups)
	}
	last, _ := busy.LastIndex()
	if err := busy.DeleteRange(1, last-1); err != nil {
		t.Fatal(err)
	}
	if s := j.Stats(); s.Dropped != 0 {
		t.Errorf("%d segments went that were needed", s.Dropped)
	}
	if err := laggard.DeleteRange(1, 1); err != nil {
		t.Fatal(err)
	}
	if s := j.Stats(); s.Dropped != 0 {
		t.Errorf("%d segments went that were needed", s.Dropped)
	}
	if err := laggard.DeleteRange(1, 2); err != nil {
		t.Fatal(err)
	}
	j.Close() // waits for the recycler
	j = open(t, cfg)
	fill(t, j, j.Group(id(2)), 1)
	j.Close()
	names, _ := disk.List(cfg.Dir)
	if len(names) > 4 || names[0] == fileName(1) {
		t.Errorf("%q are left", names)
	}
	j = open(t, cfg)
	if n, err := store.Uint64(j.Group(id(3)), "term"); n != 9 || err != nil {
		t.Errorf("the value of a group whose segment is gone: %d, %v", n, err)
	}
	storetest.CheckLog(t, j.Group(id(1)), nil)
	if first, _ := j.Group(id(2)).FirstIndex(); first != last {
		t.Errorf("the busy group begins at %d, want %d", first, last)
	}
	if got := j.Groups(); !slices.Equal(got, []ID{id(1), id(2), id(3)}) {
		t.Errorf("groups %v", got)
	}
}

func TestAForgottenGroupIsGone(t *testing.T) {
	disk := storetest.NewDisk()
	j := open(t, small(disk))
	g := j.Group(id(1))
	if err := errors.Join(
		g.Append(storetest.Entries(1, 9, 1)), g.SetValues(store.Value{Key: "vote"}),
		j.Group(id(2)).Append(storetest.Entries(1, 1, 1)),
		g.Forget(), g.Forget(),
	); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		storetest.CheckLog(t, g, nil)
		if _, err := g.Value("vote"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("its value: %v", err)
		}
		if got := j.Groups(); !slices.Equal(got, []ID{id(2)}) {
			t.Errorf("groups %v", got)
		}
		j.Close()
		j = open(t, small(disk))
		g = j.Group(id(1))
	}
	if err := g.Append(storetest.Entries(4, 5, 1)); err != nil {
		t.Fatal(err)
	}
	j.Close()
	storetest.CheckLog(t, open(t, small(disk)).Group(id(1)), storetest.Entries(4, 5, 1))
}

// A vote, its term and whatever else is set at once cost one sync; and what all
// groups do while the disk is busy costs one together.
func TestManyChangesShareOneSync(t *testing.T) {
	synctest.Test(t, manyChangesShareOneSync)
}

func manyChangesShareOneSync(t *testing.T) {
	disk := storetest.NewDisk()
	cfg := small(disk)
	cfg.MarkAfter = 1 << 40
	j := open(t, cfg)
	before := disk.Counts()
	if err := j.Group(id(0)).SetValues(store.Uint64Value("term", 1), store.Uint64Value("voteTerm", 1), store.Value{Key: "vote", Data: []byte("n")}); err != nil {
		t.Fatal(err)
	}
	if err := j.Group(id(0)).SetValues(store.Uint64Value("term", 1)); err != nil { // is set
		t.Fatal(err)
	}
	if now := disk.Counts(); now.Syncs != before.Syncs+1 || now.Writes != before.Writes+1 {
		t.Errorf("%d syncs and %d writes for an election, want 1", now.Syncs-before.Syncs, now.Writes-before.Writes)
	}
	const groups = 20
	release := disk.Hang()
	var all sync.WaitGroup
	for n := range groups {
		all.Go(func() {
			if err := j.Group(id(n)).Append(storetest.Entries(1, 3, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	synctest.Wait() // all wait; some may have gone ahead
	before = disk.Counts()
	release()
	all.Wait()
	if now := disk.Counts(); now.Syncs-before.Syncs > 2 {
		t.Errorf("%d syncs for what %d groups did while the disk was busy, want 1 or 2", now.Syncs-before.Syncs, groups)
	}
	if s := j.Stats(); s.Entries != 3*groups || s.Changes != groups+1 {
		t.Errorf("%+v", s)
	}
	j.Close()
}

func TestWhatIsTooLargeIsRefused(t *testing.T) {
	j := open(t, small(storetest.NewDisk()))
	g := j.Group(id(1))
	for name, err := range map[string]error{
		"an entry":    g.Append([]store.Entry{{Index: 1, Data: make([]byte, MaxEntryBytes+1)}}),
		"extensions":  g.Append([]store.Entry{{Index: 1, Extensions: make([]byte, MaxExtensionBytes+1)}}),
		"a key":       g.SetValues(store.Value{Key: strings.Repeat("k", 256)}),
		"values":      g.SetValues(store.Value{Key: "k", Data: make([]byte, MaxValuesBytes)}),
		"many values": g.SetValues(store.Value{Key: "k", Data: make([]byte, MaxValuesBytes/2)}, store.Value{Key: "l", Data: make([]byte, MaxValuesBytes/2)}),
	} {
		if !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", name, err)
		}
	}
	// What is larger than a segment has one to itself.
	large := []store.Entry{{Index: 1, Data: bytes.Repeat([]byte("large"), 20_000)}}
	if err := g.Append(large); err != nil {
		t.Fatal(err)
	}
	storetest.CheckLog(t, g, large)
}

func TestADumpTellsEveryRecord(t *testing.T) {
	disk := storetest.NewDisk()
	cfg := small(disk)
	if _, err := Verify(disk, "/nowhere"); err == nil {
		t.Error("verified a directory that is not there")
	}
	j := open(t, cfg)
	g := j.Group(id(7))
	if err := errors.Join(g.Append(storetest.Entries(1, 3, 5)), g.DeleteRange(3, 3), g.SetValues(store.Value{Key: "vote", Data: []byte("me")})); err != nil {
		t.Fatal(err)
	}
	j.Close()
	open(t, cfg).Close() // a second segment, with a checkpoint
	var out bytes.Buffer
	report, err := Dump(disk, cfg.Dir, &out)
	if err != nil || report.Err() != nil {
		t.Fatal(err, report.Err())
	}
	for _, want := range []string{
		"entry  " + id(7).String() + " #2 index 2 term 5 kind 5, 17+0 bytes",
		"delete " + id(7).String() + " #4 from 3 to 3",
		`values ` + id(7).String() + ` #5 "vote"=6d65`,
		"state  " + id(7).String() + " #5 from 1 to 2 \"vote\"=6d65",
		"close",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if report.Mesh != "mesh" || report.Node != "node" || report.Groups != 1 || report.Entries != 2 || report.Segments != 2 || !report.Closed {
		t.Errorf("%+v", report)
	}
}
