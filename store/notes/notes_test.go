package notes

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

const file = "dir/notes"

func disk(t *testing.T) *storetest.Disk {
	t.Helper()
	d := storetest.NewDisk()
	if err := d.MkdirAll("dir"); err != nil {
		t.Fatal(err)
	}
	return d
}

func open(t *testing.T, d *storetest.Disk) *Book {
	t.Helper()
	b, err := Open(d, file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func text(b *Book) map[string]string {
	all := map[string]string{}
	for k, v := range b.All() {
		all[k] = string(v)
	}
	return all
}

// What Write has returned for is there after the power has gone at any moment, and a
// key that it has not returned for has its value of before or of after.
func TestWhatIsWrittenSurvivesPowerLoss(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		d := disk(t)
		b := open(t, d)
		sure := map[string]string{}
		var maybe map[string]string // with the write that failed
		d.CrashAfter(20+rng.IntN(400), rng)
		for i := 0; ; i++ {
			notes := make([]Note, 1+rng.IntN(4))
			next := maps.Clone(sure)
			for k := range notes {
				notes[k] = Note{Key: fmt.Sprint(rng.IntN(20)), Value: bytes.Repeat([]byte{'a' + byte(i%26)}, rng.IntN(4000))}
				if rng.IntN(4) == 0 {
					notes[k].Value = nil
					delete(next, notes[k].Key)
				} else {
					next[notes[k].Key] = string(notes[k].Value)
				}
			}
			maybe = next
			if err := b.Write(notes); err != nil {
				break
			}
			sure = next
		}
		b.Close()
		d.Start()
		got := open(t, d)
		if err := got.Damaged(); err != nil {
			t.Logf("seed %d: %v", seed, err) // a torn write in the midst of an unsynced batch
		}
		have := text(got)
		for i := range 20 {
			k := fmt.Sprint(i)
			h, has := have[k]
			was, had := sure[k]
			is, there := maybe[k]
			if (h != was || has != had) && (h != is || has != there) {
				t.Fatalf("seed %d: %s has %.20q, want %.20q or %.20q", seed, k, h, was, is)
			}
		}
		if err := got.Write([]Note{{Key: "after", Value: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		if again := open(t, d); text(again)["after"] != "x" {
			t.Fatalf("seed %d: what is written after the crash is lost", seed)
		}
	}
}

func TestADamagedLineCostsItselfAlone(t *testing.T) {
	d := disk(t)
	b := open(t, d)
	for i := range 10 {
		if err := b.Write([]Note{{Key: fmt.Sprint("k", i), Value: []byte("value")}}); err != nil {
			t.Fatal(err)
		}
	}
	line := (&Note{Key: "k0", Value: []byte("value")}).lineSize()
	if err := d.Flip(file, 8*(int64(len(header()))+3*line+12)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it changes nothing
		if damage, err := Verify(d, file); err != nil || len(damage) != 1 || !strings.Contains(damage[0].Error(), file) {
			t.Errorf("verified: %v, %v", damage, err)
		}
	}
	got := open(t, d)
	if all := text(got); len(all) != 9 || all["k3"] != "" || all["k9"] != "value" {
		t.Errorf("of ten notes with one damaged there are %v", all)
	}
	var where *store.CorruptError
	if !errors.As(got.Damaged(), &where) || where.Offset != int64(len(header()))+3*line {
		t.Errorf("the damage is told as %v", got.Damaged())
	}
}

// However often values change, the file does not grow beyond what they need.
func TestTheFileIsReplacedWhenMostOfItIsOutOfDate(t *testing.T) {
	d := disk(t)
	b := open(t, d)
	for i := range 1000 {
		if err := b.Write([]Note{{Key: fmt.Sprint(i % 10), Value: bytes.Repeat([]byte{'v'}, 1000)}}); err != nil {
			t.Fatal(err)
		}
	}
	if b.size > 2*slack+20_000 {
		t.Errorf("10 KB of notes take %d bytes", b.size)
	}
	if got := open(t, d); !maps.Equal(text(got), text(b)) {
		t.Error("the replaced file has something else")
	}
}

// A full disk refuses, and takes again once there is room; what was there stays.
func TestAFullDiskCostsNothingThatWasThere(t *testing.T) {
	d := disk(t)
	b := open(t, d)
	if err := b.Write([]Note{{Key: "a", Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	d.Limit(100)
	if err := b.Write([]Note{{Key: "b", Value: make([]byte, 200)}}); !errors.Is(err, store.ErrFull) {
		t.Fatalf("a full disk says %v", err)
	}
	d.Limit(0)
	if err := b.Write([]Note{{Key: "c", Value: []byte("3")}}); err != nil {
		t.Fatal(err)
	}
	if got := text(open(t, d)); !maps.Equal(got, map[string]string{"a": "1", "c": "3"}) {
		t.Errorf("there is %v", got)
	}
}

// After a sync that failed nothing is written any more: nobody knows what is there.
func TestAFailedSyncEndsTheWriting(t *testing.T) {
	d := disk(t)
	b := open(t, d)
	d.FailSync(1, errors.New("I/O error"))
	for range 2 {
		if err := b.Write([]Note{{Key: "a", Value: []byte("1")}}); !errors.Is(err, store.ErrFailed) {
			t.Fatalf("it says %v", err)
		}
	}
	if len(b.All()) != 0 {
		t.Error("what may not be on the disk counts")
	}
}

func TestWhatIsNoFileOfNotesIsRefusedUntouched(t *testing.T) {
	for content, want := range map[string]error{
		"skein notes 2\n": store.ErrNewer, "[]\n": store.ErrCorrupt, "": store.ErrCorrupt, "skein notes 1": store.ErrCorrupt,
	} {
		d := disk(t)
		if err := store.Replace(d, file, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(d, file); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", content, err, want)
		}
		if damage, err := Verify(d, file); !errors.Is(errors.Join(append(damage, err)...), want) {
			t.Errorf("%q is verified: %v, %v", content, damage, err)
		}
	}
	b := open(t, disk(t))
	for _, n := range []Note{{}, {Key: "a b"}, {Key: "a", Value: []byte("1\n2")}} {
		if b.Write([]Note{n}) == nil {
			t.Errorf("%q is taken", n)
		}
	}
}

func FuzzOpen(f *testing.F) {
	n := Note{Key: "k", Value: []byte(`{"a":1}`)}
	f.Add(n.appendTo([]byte(header())))
	f.Add([]byte(header() + "00000000 k\n\nxx"))
	f.Fuzz(func(t *testing.T, content []byte) {
		d := disk(t)
		if err := store.Replace(d, file, content); err != nil {
			t.Fatal(err)
		}
		b, err := Open(d, file)
		if err != nil {
			return
		}
		if err := b.Write([]Note{n}); err != nil {
			t.Fatal(err)
		}
		if again := open(t, d); !maps.Equal(text(again), text(b)) {
			t.Fatalf("%v is read again as %v", text(b), text(again))
		}
	})
}
