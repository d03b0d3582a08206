package journal

import (
	"errors"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

// written is a journal's disk, and what its groups must have.
type written struct {
	disk   *storetest.Disk
	cfg    Config
	models []model
}

// life writes some segments of many groups. The journal is then closed, or ends
// as a process that is killed.
func life(t *testing.T, rng *rand.Rand, steps int, closed bool) *written {
	disk := storetest.NewDisk()
	w := &written{disk, small(disk), make([]model, 6)}
	w.cfg.MarkAfter = 1 << 40
	j := open(t, w.cfg)
	for range steps {
		n := rng.IntN(len(w.models))
		op := random(rng, w.models[n], 1)
		if op.kind == "forget" {
			continue
		}
		if err := op.do(j.Group(id(n))); err != nil {
			t.Fatal(err)
		}
		w.models[n] = w.models[n].after(op)
	}
	if !closed {
		disk.Kill()
	}
	j.Close()
	disk.Start()
	return w
}

// judge opens the journal and counts the groups that lost something. All others
// must have all they had.
func (w *written) judge(t *testing.T, disk *storetest.Disk) (corrupt int) {
	t.Helper()
	cfg := w.cfg
	cfg.FS = disk
	j, err := Open(cfg)
	if err != nil {
		if !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("open: %v", err)
		}
		return len(w.models)
	}
	defer j.Close()
	for n := range w.models {
		g := j.Group(id(n))
		err := g.Err()
		if err == nil {
			if err := w.models[n].check(g); err != nil {
				t.Fatalf("group %d was damaged and does not say so: %v", n, err)
			}
			continue
		}
		corrupt++
		var where *store.CorruptError
		if !errors.As(err, &where) || !errors.Is(err, store.ErrCorrupt) || where.File == "" || where.Log != id(n).String() {
			t.Fatalf("group %d: %v, want where it was damaged", n, err)
		}
		var e store.Entry
		if _, err := g.FirstIndex(); !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("first index of a corrupt group: %v", err)
		}
		if err := errors.Join(g.Get(1, &e), g.Append(storetest.Entries(1, 1, 1)), g.SetValues(store.Value{Key: "k"})); !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("a corrupt group is used: %v", err)
		}
		if err := g.Forget(); err != nil {
			t.Fatalf("forget a corrupt group: %v", err)
		}
		if err := errors.Join(g.Err(), g.Append(storetest.Entries(5, 6, 1))); err != nil {
			t.Fatalf("a group that was begun anew: %v", err)
		}
	}
	return corrupt
}

// Every bit of a journal that was written is found when it changes; and what it
// belongs to is all that is lost.
func TestAFlippedBitIsFoundWhereverItIs(t *testing.T) {
	for _, closed := range []bool{true, false} {
		for seed := range seeds(t, 4) {
			rng := rand.New(rand.NewPCG(uint64(seed), 3))
			w := life(t, rng, 60, closed)
			before, err := Verify(w.disk, w.cfg.Dir)
			if err != nil || before.Err() != nil {
				t.Fatalf("undamaged: %v, %v", err, before.Err())
			}
			names, _ := w.disk.List(w.cfg.Dir)
			for _, name := range names {
				file := path.Join(w.cfg.Dir, name)
				end := writtenBytes(w.disk.Bytes(file))
				for bit := rng.Int64N(64); bit < end*8; bit += 1 + rng.Int64N(2500) {
					disk := w.disk.Clone()
					if err := disk.Flip(file, bit); err != nil {
						t.Fatal(err)
					}
					report, err := Verify(disk, w.cfg.Dir)
					if err != nil {
						t.Fatalf("verify: %v", err)
					}
					if report.Err() == nil && !preallocated(w.disk.Bytes(file), bit/8) {
						t.Fatalf("closed %v, seed %d: bit %d of byte %d in %s is flipped, and nobody sees it", closed, seed, bit%8, bit/8, name)
					}
					for _, f := range report.Findings {
						if f.File != name || f.Offset > bit/8 || f.Offset < bit/8-4096 {
							t.Fatalf("byte %d of %s was damaged, reported is %v", bit/8, name, f)
						}
					}
					if corrupt := w.judge(t, disk); corrupt > 1 {
						t.Fatalf("closed %v, seed %d: byte %d of %s damaged %d groups: %v", closed, seed, bit/8, name, corrupt, report.Err())
					}
				}
			}
		}
	}
}

// writtenBytes is how much of a file holds anything, in whole sectors.
func writtenBytes(b []byte) int64 {
	end := int64(len(b))
	for end > 0 && b[end-1] == 0 {
		end--
	}
	return toSector(end)
}

// preallocated reports whether nothing was written to the sector of a byte: what
// happens there harms nobody.
func preallocated(b []byte, at int64) bool {
	from := at &^ (sectorSize - 1)
	return nonZero(b[from:min(from+sectorSize, int64(len(b)))]) < 0
}

func TestATruncatedFileIsFound(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 4))
		w := life(t, rng, 100, seed%2 == 0)
		names, _ := w.disk.List(w.cfg.Dir)
		for _, name := range names {
			file := path.Join(w.cfg.Dir, name)
			size := int64(len(w.disk.Bytes(file)))
			for range 20 {
				disk := w.disk.Clone()
				if err := disk.Cut(file, rng.Int64N(size)); err != nil {
					t.Fatal(err)
				}
				report, err := Verify(disk, w.cfg.Dir)
				if err == nil && report.Err() == nil {
					t.Fatalf("seed %d: %s was cut from %d bytes to %d, and nobody sees it", seed, name, size, len(disk.Bytes(file)))
				}
				w.judge(t, disk)
			}
		}
	}
}

func TestAMissingFileIsFound(t *testing.T) {
	w := life(t, rand.New(rand.NewPCG(5, 5)), 300, true)
	names, _ := w.disk.List(w.cfg.Dir)
	if len(names) < 3 {
		t.Fatalf("%d files, want some", len(names))
	}
	for i, name := range names {
		disk := w.disk.Clone()
		if err := disk.Remove(path.Join(w.cfg.Dir, name)); err != nil {
			t.Fatal(err)
		}
		report, err := Verify(disk, w.cfg.Dir)
		if err != nil || report.Err() == nil {
			t.Fatalf("%s, the %d. of %d, is gone: %v, %+v", name, i, len(names), err, report)
		}
		w.judge(t, disk)
	}
}

// A lost sector is the hardest: nothing of it is left that could tell whose it
// was.
func TestALostSectorIsFound(t *testing.T) {
	w := life(t, rand.New(rand.NewPCG(6, 6)), 150, true)
	names, _ := w.disk.List(w.cfg.Dir)
	for _, name := range names {
		file := path.Join(w.cfg.Dir, name)
		data := w.disk.Bytes(file)
		for at := int64(0); at+sectorSize <= int64(len(data)); at += sectorSize {
			if nonZero(data[at:at+sectorSize]) < 0 {
				continue
			}
			disk := w.disk.Clone()
			bad := append([]byte(nil), data...)
			clear(bad[at : at+sectorSize])
			disk.Put(file, bad)
			if report, err := Verify(disk, w.cfg.Dir); err == nil && report.Err() == nil {
				t.Fatalf("the sector at byte %d of %s is gone, and nobody sees it", at, name)
			}
			w.judge(t, disk)
		}
	}
}

// An entry that is damaged while the journal runs is found when it is read.
func TestDamageIsFoundWhileRunning(t *testing.T) {
	disk := storetest.NewDisk()
	cfg := small(disk)
	cfg.CacheBytes = -1
	j := open(t, cfg)
	for n := range 2 {
		if err := j.Group(id(n)).Append(storetest.Entries(1, 10, 1)); err != nil {
			t.Fatal(err)
		}
	}
	file := path.Join(cfg.Dir, fileName(1))
	at := strings.Index(string(disk.Bytes(file)), "entry 7 of term 1")
	if err := disk.Flip(file, int64(at)*8+3); err != nil {
		t.Fatal(err)
	}
	var e store.Entry
	if err := j.Group(id(0)).Get(6, &e); err != nil {
		t.Fatal(err)
	}
	var where *store.CorruptError
	if err := j.Group(id(0)).Get(7, &e); !errors.As(err, &where) || where.File != fileName(1) || where.Offset != int64(at)-headSize {
		t.Fatalf("a damaged entry: %v", err)
	}
	if err := j.Group(id(0)).Append(storetest.Entries(11, 11, 1)); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("the group goes on: %v", err)
	}
	if err := j.Group(id(1)).Append(storetest.Entries(11, 11, 1)); err != nil {
		t.Errorf("the other group does not go on: %v", err)
	}
	if s := j.Stats(); s.Corrupt != 1 || s.Groups != 2 {
		t.Errorf("%+v", s)
	}
	// It stays so, whatever becomes of the segment.
	j.Close()
	j = open(t, cfg)
	if err := j.Group(id(0)).Err(); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("after opening again: %v", err)
	}
	storetest.CheckLog(t, j.Group(id(1)), storetest.Entries(1, 11, 1))
}

// A group whose values were damaged has only older ones left. It does not come
// to trust them, however often the journal is opened.
func TestACorruptGroupStaysSoUntilItIsForgotten(t *testing.T) {
	disk := storetest.NewDisk()
	j := open(t, small(disk))
	g := j.Group(id(1))
	for _, vote := range []string{"first", "second"} {
		if err := g.SetValues(store.Value{Key: "vote", Data: []byte(vote)}); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	file := path.Join(j.cfg.Dir, fileName(1))
	at := strings.Index(string(disk.Bytes(file)), "second")
	if err := disk.Flip(file, int64(at)*8); err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		j = open(t, small(disk))
		g = j.Group(id(1))
		if vote, err := g.Value("vote"); !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("opened for the %d. time, the vote is %q, %v", n+1, vote, err)
		}
		if n == 3 {
			if err := g.Forget(); err != nil {
				t.Fatal(err)
			}
		}
		j.Close()
	}
	j = open(t, small(disk))
	if _, err := j.Group(id(1)).Value("vote"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after it was forgotten: %v", err)
	}
}

// Where a whole round is gone, there may have been a group of which nothing else
// is known: a group nobody knows must not begin as if it were new.
func TestAGroupThatMayHaveBeenLostIsNotNew(t *testing.T) {
	disk := storetest.NewDisk()
	j := open(t, small(disk))
	for n := range 2 {
		if err := j.Group(id(n)).SetValues(store.Value{Key: "vote", Data: []byte("of one group")}); err != nil {
			t.Fatal(err)
		}
	}
	disk.Kill()
	j.Close()
	disk.Start()
	file := path.Join(j.cfg.Dir, fileName(1))
	data := disk.Bytes(file)
	at := strings.Index(string(data), "of one group") &^ (sectorSize - 1)
	clear(data[at:][:sectorSize])
	disk.Put(file, data)
	for range 3 {
		j = open(t, small(disk))
		for _, n := range []int{0, 7} { // the one that was lost, and one that never was
			if err := j.Group(id(n)).Err(); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("group %d: %v, want ErrCorrupt", n, err)
			}
		}
		j.Close()
	}
	j = open(t, small(disk))
	if err := errors.Join(j.Group(id(7)).Forget(), j.Group(id(7)).Append(storetest.Entries(1, 2, 1))); err != nil {
		t.Fatal(err)
	}
	j.Close()
	j = open(t, small(disk))
	storetest.CheckLog(t, j.Group(id(7)), storetest.Entries(1, 2, 1))
}

// Zeros that were written are not taken for sectors that a crash has lost, so
// damage to the last round is told from a torn one.
func TestDamageIsFoundAmongZeros(t *testing.T) {
	disk := storetest.NewDisk()
	j := open(t, small(disk))
	if err := j.Group(id(1)).Append([]store.Entry{{Index: 1, Data: make([]byte, 4000), Extensions: []byte("ext")}}); err != nil {
		t.Fatal(err)
	}
	disk.Kill()
	j.Close()
	disk.Start()
	file := path.Join(j.cfg.Dir, fileName(1))
	at := strings.Index(string(disk.Bytes(file)), "ext")
	for _, where := range []int{at, at - 10, at - 2000, at - 4000, at - 4100} {
		damaged := disk.Clone()
		if err := damaged.Flip(file, int64(where)*8); err != nil {
			t.Fatal(err)
		}
		report, err := Verify(damaged, j.cfg.Dir)
		if err != nil || report.Err() == nil {
			t.Errorf("byte %d is damaged, and nobody sees it: %v", where, err)
		}
	}
}
