package segment_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
)

// salvaged is which records are read, of a log in which records of 100 bytes lie.
func salvaged(t *testing.T, disk *storetest.Disk, from int64) (offsets map[int64]bool, lost []error) {
	t.Helper()
	before := contents(t, disk, "/log")
	offsets, last := map[int64]bool{}, int64(-1)
	lost, err := segment.Salvage(disk, "/log", from, func(offset int64, r segment.Record) error {
		if offset <= last || offset < from || len(r.Data) != 100 {
			t.Fatalf("a record of %d bytes at %d, after %d", len(r.Data), offset, last)
		}
		offsets[offset], last = true, offset
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if contents(t, disk, "/log") != before {
		t.Fatal("the directory was changed")
	}
	return offsets, lost
}

// Of a damaged log all is read but the records that the damage is in.
func TestASalvageReadsAllThatIsWhole(t *testing.T) {
	disk, m := written(t, 40)
	if got, lost := salvaged(t, disk, 10); len(got) != 30 || lost != nil {
		t.Fatalf("nothing is damaged: %d records, %v", len(got), lost)
	}
	for i, f := range m.Files {
		for bit := int64(0); bit < f.Bytes*8; bit += 7 {
			hurt := disk.Clone()
			if err := hurt.Flip(filePath("/log", f.First), bit); err != nil {
				t.Fatal(err)
			}
			got, lost := salvaged(t, hurt, 0)
			hit, want := f.First+(bit/8-56)/136, 39
			if bit < 56*8 {
				hit, want = -1, 40
			}
			if len(got) != want || got[hit] || len(lost) == 0 || !errors.Is(lost[0], store.ErrCorrupt) {
				t.Fatalf("bit %d of file %d: %d records, %v", bit, i, len(got), lost)
			}
			if _, err := segment.Open(config(hurt), nil); i == len(m.Files)-1 && hit < 39 && !errors.Is(err, store.ErrCorrupt) {
				t.Fatalf("bit %d: the last file is opened, and cut before whole records: %v", bit, err)
			}
		}
	}
	for name, hurt := range map[string]struct {
		do   func(d *storetest.Disk) error
		want int
	}{
		"a file is gone":      {func(d *storetest.Disk) error { return d.Remove(filePath("/log", 14)) }, 26},
		"a file is cut short": {func(d *storetest.Disk) error { return d.Cut(filePath("/log", 14), 56+136*3+40) }, 29},
		"the end is torn":     {func(d *storetest.Disk) error { return d.Cut(filePath("/log", 28), 56+136*3+40) }, 31},
		"much of a file": {func(d *storetest.Disk) error {
			b := d.Bytes(filePath("/log", 14))
			clear(b[56+136+10 : 56+5*136+10])
			d.Put(filePath("/log", 14), b)
			return nil
		}, 35},
	} {
		d := disk.Clone()
		if err := hurt.do(d); err != nil {
			t.Fatal(err)
		}
		if got, lost := salvaged(t, d, 0); len(got) != hurt.want || len(lost) == 0 {
			t.Errorf("%s: %d records, %v", name, len(got), lost)
		}
	}
	stop := errors.New("stop")
	if _, err := segment.Salvage(disk, "/log", 0, func(int64, segment.Record) error { return fmt.Errorf("%w here", stop) }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}
