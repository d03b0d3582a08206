package segment_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
)

// written is a disk with a synced log of n records of 100 bytes, in files of
// fourteen, and its manifest.
func written(t testing.TB, n int) (*storetest.Disk, segment.Manifest) {
	t.Helper()
	disk := storetest.NewDisk()
	l := open(t, config(disk), &segment.Manifest{})
	appendTo(t, l, n, 100)
	m := syncLog(t, l)
	disk.Kill()
	disk.Start()
	return disk, m
}

func TestAFlippedBitIsNeverServed(t *testing.T) {
	disk, m := written(t, 20)
	for i, f := range m.Files {
		for bit := int64(56 * 8); bit < f.Bytes*8; bit += 5 {
			hurt := disk.Clone()
			if err := hurt.Flip(filePath("/log", f.First), bit); err != nil {
				t.Fatal(err)
			}
			l, err := segment.Open(config(hurt), &m)
			if err != nil {
				t.Fatal(err)
			}
			next, err := readFrom(t, l, 0, 100)
			var where *store.CorruptError
			if !errors.As(err, &where) || where.File != filePath("/log", f.First) {
				t.Fatalf("bit %d of file %d is flipped; reading ended at %d with %v", bit, i, next, err)
			}
			if hit := (bit/8 - 56) / 136; next != f.First+hit || where.Offset != 56+hit*136 {
				t.Fatalf("bit %d of file %d is flipped; reading ended at %d: %v", bit, i, next, err)
			}
			l.Close()
		}
	}
}

func TestADamagedHeaderIsFoundAtOpen(t *testing.T) {
	disk, m := written(t, 20)
	for bit := int64(0); bit < 56*8; bit++ {
		hurt := disk.Clone()
		if err := hurt.Flip(filePath("/log", 0), bit); err != nil {
			t.Fatal(err)
		}
		before := hurt.Bytes(filePath("/log", 0))
		_, err := segment.Open(config(hurt), &m)
		if !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("bit %d of a header is flipped: %v", bit, err)
		}
		if !bytes.Equal(hurt.Bytes(filePath("/log", 0)), before) {
			t.Fatal("the file was changed")
		}
	}
}

func TestATruncatedOrMissingFileIsNamedAtOpen(t *testing.T) {
	disk, m := written(t, 40)
	for i, f := range m.Files {
		for _, size := range []int64{0, 10, 56, 57, 300, f.Bytes - 1} {
			hurt := disk.Clone()
			if err := hurt.Cut(filePath("/log", f.First), size); err != nil {
				t.Fatal(err)
			}
			_, err := segment.Open(config(hurt), &m)
			var missing *segment.MissingError
			if !errors.As(err, &missing) || !errors.Is(err, store.ErrCorrupt) || len(missing.Files) != 1 || missing.Files[0] != f {
				t.Fatalf("file %d has %d bytes: %v", i, size, err)
			}
		}
		hurt := disk.Clone()
		if err := hurt.Remove(filePath("/log", f.First)); err != nil {
			t.Fatal(err)
		}
		if _, err := segment.Open(config(hurt), &m); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("file %d is gone: %v", i, err)
		}
		if missing, err := segment.Missing(config(hurt), m); err != nil || len(missing) != 1 || missing[0] != f {
			t.Fatalf("file %d is gone; missing are %v, %v", i, missing, err)
		}
	}
}

func TestADamagedIndexIsMadeAnew(t *testing.T) {
	disk := storetest.NewDisk()
	c := config(disk)
	c.FileBytes = 1 << 20
	l := open(t, c, &segment.Manifest{})
	appendTo(t, l, 4000, 400)
	m := syncLog(t, l)
	index := indexPath("/log", 0)
	good := disk.Bytes(index)
	if len(good) < 7*16 {
		t.Fatalf("the index of a file of 1 MiB has %d bytes", len(good))
	}
	for name, hurt := range map[string]func() error{
		"removed":   func() error { return disk.Remove(index) },
		"cut":       func() error { return disk.Cut(index, 50) },
		"empty":     func() error { return disk.Cut(index, 0) },
		"flipped":   func() error { return disk.Flip(index, int64(len(good))*4) },
		"another's": func() error { disk.Put(index, bytes.Replace(good, logID[:3], []byte{9, 9, 9}, 1)); return nil },
		"huge":      func() error { disk.Put(index, make([]byte, 4<<20)); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			if err := hurt(); err != nil {
				t.Fatal(err)
			}
			l := open(t, c, &m)
			if next, err := readFrom(t, l, 2000, 400); next != 4000 || err != nil {
				t.Fatal(next, err)
			}
			if offset, err := l.OffsetAt(15005); offset != 1501 || err != nil {
				t.Fatal(offset, err)
			}
			if !bytes.Equal(disk.Bytes(index), good) {
				t.Fatal("the index was not made anew")
			}
		})
	}
}

func TestFilesOfAnotherLogOrANewerFormatAreRefusedUntouched(t *testing.T) {
	disk, m := written(t, 40)
	newer := disk.Bytes(filePath("/log", m.Files[1].First))
	newer[8] = 2
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(newer[12:], crc32.Update(crc32.Checksum(newer[:12], table), table, newer[16:56]))
	for name, refused := range map[string]struct {
		spoil func(*storetest.Disk) segment.Config
		want  error
	}{
		"another log": {func(d *storetest.Disk) segment.Config {
			c := config(d)
			c.ID = segment.ID{7}
			return c
		}, store.ErrForeign},
		"a newer format": {func(d *storetest.Disk) segment.Config {
			d.Put(filePath("/log", m.Files[1].First), newer)
			return config(d)
		}, store.ErrNewer},
	} {
		t.Run(name, func(t *testing.T) {
			d := disk.Clone()
			c := refused.spoil(d)
			before := contents(t, d, "/log")
			for _, manifest := range []*segment.Manifest{nil, {}, &m} {
				if _, err := segment.Open(c, manifest); !errors.Is(err, refused.want) {
					t.Fatalf("open: %v, want %v", err, refused.want)
				}
			}
			if contents(t, d, "/log") != before {
				t.Fatal("the directory was changed")
			}
		})
	}
}

// contents is all that lies in a directory.
func contents(t testing.TB, d *storetest.Disk, dir string) string {
	t.Helper()
	names, err := d.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "%s %x\n", name, d.Bytes(dir+"/"+name))
	}
	return b.String()
}

func TestALogOpenedAsItLiesLosesNoMoreThanATornTail(t *testing.T) {
	disk, m := written(t, 40)
	last := m.Files[len(m.Files)-1]
	for cut := last.Bytes; cut >= 0; cut -= 7 {
		torn := disk.Clone()
		if err := torn.Cut(filePath("/log", last.First), cut); err != nil {
			t.Fatal(err)
		}
		l, err := segment.Open(config(torn), nil)
		if err != nil {
			t.Fatal(err)
		}
		want := last.First + max(0, cut-56)/136
		if next, err := readFrom(t, l, 0, 100); next != want || err != nil {
			t.Fatalf("%d bytes of the last file are left; it was read to %d, want %d: %v", cut, next, want, err)
		}
		appendTo(t, l, 20, 100)
		if next, err := readFrom(t, l, 0, 100); next != want+20 || err != nil {
			t.Fatal(next, err)
		}
		l.Close()
	}
	hole := disk.Clone()
	if err := hole.Remove(filePath("/log", m.Files[1].First)); err != nil {
		t.Fatal(err)
	}
	if _, err := segment.Open(config(hole), nil); !errors.Is(err, store.ErrCorrupt) {
		t.Fatalf("a file is gone: %v", err)
	}
}

func TestVerifySaysWhatIsWrongAndWhere(t *testing.T) {
	disk, m := written(t, 40)
	check := func(d *storetest.Disk, m *segment.Manifest) segment.Report {
		t.Helper()
		before := contents(t, d, "/log")
		r, err := segment.Verify(d, "/log", m)
		if err != nil {
			t.Fatal(err)
		}
		if contents(t, d, "/log") != before {
			t.Fatal("verify changed the directory")
		}
		return r
	}
	for _, manifest := range []*segment.Manifest{nil, &m} {
		if r := check(disk, manifest); r.Damage != nil || r.Tail != nil || r.Records != 40 || r.ID != logID || r.Bytes != m.Bytes() {
			t.Fatalf("%+v", r)
		}
	}
	spoilt := func(do func(*storetest.Disk) error) *storetest.Disk {
		d := disk.Clone()
		if err := do(d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	last := m.Files[len(m.Files)-1]
	cut := spoilt(func(d *storetest.Disk) error { return d.Cut(filePath("/log", last.First), last.Bytes-3) })
	if r := check(cut, nil); r.Tail == nil || r.Damage != nil {
		t.Fatalf("a torn tail: %+v", r)
	}
	if r := check(cut, &m); len(r.Damage) != 1 {
		t.Fatalf("a torn tail that was synced: %+v", r)
	}
	for name, d := range map[string]*storetest.Disk{
		"data":   spoilt(func(d *storetest.Disk) error { return d.Flip(filePath("/log", 14), 8000) }),
		"header": spoilt(func(d *storetest.Disk) error { return d.Flip(filePath("/log", 14), 300) }),
		"index":  spoilt(func(d *storetest.Disk) error { return d.Flip(indexPath("/log", 14), 300) }),
		"gone":   spoilt(func(d *storetest.Disk) error { return d.Remove(filePath("/log", 14)) }),
	} {
		r := check(d, nil)
		if len(r.Damage) != 1 || !errors.Is(r.Damage[0], store.ErrCorrupt) {
			t.Errorf("%s: %+v", name, r.Damage)
		}
		var where *store.CorruptError
		if name == "data" && (!errors.As(r.Damage[0], &where) || where.Offset != 56+136*6) {
			t.Errorf("%s: the place is not named: %v", name, r.Damage)
		}
		if name != "gone" && !strings.Contains(fmt.Sprint(r.Damage), "0014.") {
			t.Errorf("%s: the file is not named: %v", name, r.Damage)
		}
	}
}

func TestDumpGivesAllRecordsAndEndsAtDamage(t *testing.T) {
	disk, _ := written(t, 40)
	dump := func() (n int64, err error) {
		err = segment.Dump(disk, "/log", func(offset int64, r segment.Record) error {
			if offset != n || !same(r, numbered(n, 1, 100)[0]) {
				t.Fatalf("record %d is dumped as %d", n, offset)
			}
			n++
			return nil
		})
		return n, err
	}
	if n, err := dump(); n != 40 || err != nil {
		t.Fatal(n, err)
	}
	if err := disk.Flip(filePath("/log", 14), (56+136*3+50)*8); err != nil {
		t.Fatal(err)
	}
	if n, err := dump(); n != 17 || !errors.Is(err, store.ErrCorrupt) {
		t.Fatal(n, err)
	}
}

func TestALengthThatIsWrongIsNotBelieved(t *testing.T) {
	disk, m := written(t, 3)
	raw := disk.Bytes(filePath("/log", 0))
	head := raw[56:][:36]
	binary.LittleEndian.PutUint32(head[4:], 1<<31) // with a checksum that is right
	binary.LittleEndian.PutUint32(head, headChecksum(0, head))
	disk.Put(filePath("/log", 0), raw)
	l := open(t, config(disk), &m)
	if _, err := l.Reader(0).Read(nil); !errors.Is(err, store.ErrCorrupt) {
		t.Fatal(err)
	}
}

func headChecksum(offset uint32, head []byte) uint32 {
	return crc32.Update(offset, crc32.MakeTable(crc32.Castagnoli), head[4:36])
}

func FuzzOpen(f *testing.F) {
	disk, m := written(f, 20)
	f.Add(disk.Bytes(filePath("/log", 0)), disk.Bytes(indexPath("/log", 0)), m.AppendTo(nil))
	f.Add([]byte("SKEINSEG"), []byte("SKEINIDX"), []byte{1})
	f.Fuzz(func(t *testing.T, data, index, manifest []byte) {
		disk := storetest.NewDisk()
		if err := disk.MkdirAll("/log"); err != nil {
			t.Fatal(err)
		}
		disk.Put(filePath("/log", 0), data)
		disk.Put(indexPath("/log", 0), index)
		disk.Put(filePath("/log", 14), data)
		manifests := []*segment.Manifest{nil}
		if m, _, err := segment.ParseManifest(manifest); err == nil {
			manifests = append(manifests, &m)
		}
		for _, m := range manifests {
			d := disk.Clone()
			if _, err := segment.Verify(d, "/log", m); err != nil && !errors.Is(err, store.ErrNewer) && !errors.Is(err, store.ErrForeign) {
				t.Fatal(err)
			}
			l, err := segment.Open(config(d), m)
			if err != nil {
				continue
			}
			r, buf := l.Reader(l.Start()), make([]byte, 100)
			for b, err := r.Read(buf); err == nil && b.Len() > 0; b, err = r.Read(buf) {
				for range b.Records() {
				}
			}
			_, _ = l.OffsetAt(5)
			_ = l.Keys((l.Start()+l.Next())/2, func(int64, int64, segment.Key) bool { return true })
			if _, err := l.Append(numbered(0, 30, 100)); err != nil {
				t.Fatal(err)
			}
			_ = l.Sync()
			l.Close()
		}
	})
}
