package away

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
)

var homeLog = "outbox/" + hex.EncodeToString(home[:]) + "/log"

// words is a log that can be looked at while it is written.
type words struct {
	mu  sync.Mutex // guards the field below
	buf bytes.Buffer
}

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func (w *words) has(all ...string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !slices.ContainsFunc(all, func(s string) bool { return !strings.Contains(w.buf.String(), s) })
}

// begin opens an outbox that says what it logs.
func begin(t *testing.T, disk *storetest.Disk, r *region) (*Outbox, *words) {
	t.Helper()
	said := &words{}
	o, err := Open(Config{
		FS: disk, Dir: "outbox", Files: segment.NewFiles(disk, 8, 0), Send: r.send,
		Log: slog.New(slog.NewTextHandler(said, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return o, said
}

// waitingOn is a disk with an outbox in which n records wait, and the name of its file.
func waitingOn(t *testing.T, n int) (disk *storetest.Disk, file string) {
	t.Helper()
	disk = storetest.NewDisk()
	o := open(t, disk, &region{down: true}, 0)
	if err := errors.Join(o.Put(t.Context(), home, records(0, n)), o.Close()); err != nil {
		t.Fatal(err)
	}
	names, err := disk.List(homeLog)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	return disk, homeLog + "/" + names[0]
}

// without are the records up to one, without some.
func without(to int, lost ...int) []string {
	return slices.DeleteFunc(wanted(to), func(s string) bool {
		return slices.ContainsFunc(lost, func(n int) bool { return s == fmt.Sprint(n) })
	})
}

// A bit flips in what waits: Verify says so, and the node does when it starts. All that
// is whole is sent, in order, and what is damaged stays on the disk as it is.
func TestDamageOfWhatWaitsIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, file := waitingOn(t, 100)
		if found, err := Verify(disk, "outbox"); err != nil || found.Waiting != 100 || len(found.Damage)+len(found.Notes) > 0 {
			t.Fatalf("nothing is damaged: %+v, %v", found, err)
		}
		if err := disk.Flip(file, 4*int64(len(disk.Bytes(file)))); err != nil {
			t.Fatal(err)
		}
		damaged := disk.Bytes(file)
		found, err := Verify(disk, "outbox")
		if err != nil || len(found.Notes)+len(found.Damage) == 0 || found.Waiting != 99 {
			t.Errorf("damage in the middle: %+v, %v", found, err)
		}
		r := &region{}
		o, said := begin(t, disk, r)
		defer o.Close()
		time.Sleep(time.Second) // simulated
		if !said.has("level=ERROR", "are lost", "damaged", "record 49") {
			t.Errorf("the node said %q", &said.buf)
		}
		if got := r.arrived(); !slices.Equal(got, without(100, 49)) {
			t.Errorf("%d records arrived of 99: %v", len(got), got)
		}
		if aside := strings.Replace(file, "/log/", "/damaged/", 1); !bytes.Equal(disk.Bytes(aside), damaged) {
			t.Error("what is damaged was not set aside")
		}
		if found, err := Verify(disk, "outbox"); err != nil || found.Waiting != 0 || len(found.Damage) != 1 {
			t.Errorf("set aside: %+v, %v", found, err)
		}
	})
}

// Wherever a bit flips in what waits, the header included, the outbox is opened, sends
// all but the record that it is in, and takes more.
func TestADamagedOutboxIsOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole, file := waitingOn(t, 20)
		for bit := int64(0); bit < 8*int64(len(whole.Bytes(file))); bit += 3 {
			disk, r := whole.Clone(), &region{}
			if err := disk.Flip(file, bit); err != nil {
				t.Fatal(err)
			}
			o, said := begin(t, disk, r)
			if err := o.Put(t.Context(), home, records(20, 25)); err != nil {
				t.Fatalf("bit %d: %v", bit, err)
			}
			time.Sleep(time.Second) // simulated
			if err := o.Close(); err != nil {
				t.Fatal(err)
			}
			lost := 0
			for n := range 25 {
				if !slices.Contains(r.arrived(), fmt.Sprint(n)) {
					lost++
				}
			}
			if lost > 1 || lost == 1 && bit < 56*8 || !slices.IsSortedFunc(r.arrived(), byNumber) || !said.has("level=ERROR") {
				t.Fatalf("bit %d: %d records are lost of 25: %v, and it said %q", bit, lost, r.arrived(), &said.buf)
			}
		}
	})
}

func byNumber(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// What waits is damaged while the node runs: it goes over that, says so, and takes and
// sends the rest.
func TestDamageWhileTheNodeRunsHoldsUpNothing(t *testing.T) {
	for name, hurt := range map[string]func(disk *storetest.Disk, file string) error{
		"data": func(disk *storetest.Disk, file string) error { return disk.Flip(file, 8*(56+38*50+37)) },
		"head": func(disk *storetest.Disk, file string) error { return disk.Flip(file, 8*(56+38*50+4)) },
		"a sector": func(disk *storetest.Disk, file string) (err error) {
			for at := int64(1024); at < 1536; at++ {
				err = errors.Join(err, disk.Flip(file, 8*at+at%8))
			}
			return err
		},
		"short": func(disk *storetest.Disk, file string) error { return disk.Cut(file, 56+38*50+5) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, file := waitingOn(t, 100)
				r := &region{down: true}
				o, said := begin(t, disk, r)
				defer o.Close()
				time.Sleep(time.Second) // simulated
				if err := hurt(disk, file); err != nil {
					t.Fatal(err)
				}
				if err := o.Put(t.Context(), home, records(100, 110)); err != nil {
					t.Fatal(err)
				}
				r.set(false)
				time.Sleep(3 * pauseMax) // simulated
				if err := o.Put(t.Context(), home, records(110, 120)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second) // simulated
				got := r.arrived()
				if n := o.Waiting(); n != 0 || !slices.IsSortedFunc(got, byNumber) || !slices.Contains(got, "119") {
					t.Errorf("%d wait, and %v arrived", n, got)
				}
				if want := map[string]int{"data": 119, "head": 119, "a sector": 105}[name]; len(got) < want {
					t.Errorf("%d records arrived: %v", len(got), got)
				}
				if !said.has("level=ERROR", "are lost", home.String()) {
					t.Errorf("the node said %q", &said.buf)
				}
			})
		})
	}
}

// The disk has no room to copy what is whole of a damaged log: the outbox is opened all
// the same, and all of the log stays.
func TestADamagedOutboxIsOpenedOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, file := waitingOn(t, 100)
		if err := disk.Flip(file, 8*20); err != nil {
			t.Fatal(err)
		}
		damaged := disk.Bytes(file)
		disk.Limit(disk.Used() + 1000)
		r := &region{}
		o, said := begin(t, disk, r)
		if !said.has("level=ERROR", "cannot be copied", "no space left") {
			t.Errorf("the node said %q", &said.buf)
		}
		if aside := strings.Replace(file, "/log/", "/damaged/", 1); !bytes.Equal(disk.Bytes(aside), damaged) {
			t.Error("what is damaged was not set aside")
		}
		disk.Limit(0)
		if err := o.Put(t.Context(), home, records(100, 110)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // simulated
		if got := r.arrived(); len(got) != 10 {
			t.Errorf("%v arrived", got)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// A scrub finds what is damaged while it waits, long before it is sent.
func TestAScrubFindsDamageInWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, file := waitingOn(t, 100)
		r := &region{down: true}
		o, said := begin(t, disk, r)
		defer o.Close()
		check := func(waiting int64, told bool) {
			t.Helper()
			if err := o.Scrub(t.Context(), 1<<20); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * pauseMax) // simulated
			if n := o.Waiting(); n != waiting || said.has("level=ERROR") != told {
				t.Errorf("%d wait, and the node said %q", n, &said.buf)
			}
		}
		check(100, false)
		if err := disk.Flip(file, 8*2000); err != nil {
			t.Fatal(err)
		}
		check(99, true)
		check(99, true)
		r.set(false)
		time.Sleep(3 * pauseMax) // simulated
		if got := r.arrived(); o.Waiting() != 0 || len(got) != 99 || said.has("damaged-2") {
			t.Errorf("%d arrived, and the node said %q", len(got), &said.buf)
		}
	})
}

// A disk that damages whatever is written to it is not filled with what is set aside.
func TestWhatIsSetAsideIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, _ := waitingOn(t, 100)
		o, said := begin(t, disk, &region{down: true})
		defer o.Close()
		for range maxDamaged + 3 {
			names, err := disk.List(homeLog)
			if err != nil || len(names) == 0 {
				t.Fatal(names, err)
			}
			if err := disk.Flip(homeLog+"/"+names[0], 8*1000); err != nil {
				t.Fatal(err)
			}
			if err := o.Scrub(t.Context(), 1<<20); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * pauseMax) // simulated
		}
		names, err := disk.List(strings.TrimSuffix(homeLog, "/log"))
		aside := len(slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, damagedDir) }))
		if err != nil || aside != maxDamaged || !said.has("remove them") {
			t.Errorf("%d logs are set aside: %v; the node said %q", aside, err, &said.buf)
		}
	})
}

// While it cannot be noted on the disk that something has arrived, it is not sent again.
func TestWhatHasArrivedIsNotSentAgainThoughTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, _ := waitingOn(t, 100)
		r := &region{}
		disk.Limit(disk.Used())
		o := open(t, disk, r, 0)
		time.Sleep(time.Hour) // simulated
		if len(r.got) != 100 || o.Waiting() != 0 {
			t.Errorf("%d records have arrived of 100, %d wait", len(r.got), o.Waiting())
		}
		disk.Limit(0)
		time.Sleep(time.Minute) // simulated
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		o = open(t, disk, r, 0)
		defer o.Close()
		time.Sleep(time.Minute) // simulated
		if len(r.got) != 100 {
			t.Errorf("%d records have arrived of 100 when the node has started again", len(r.got))
		}
	})
}

// Whichever sync fails while a damaged log is replaced: what is whole of it is sent, at
// the next start at the latest, or nothing could be copied and all is set aside as it is.
func TestARescueThatIsInterruptedIsFinished(t *testing.T) {
	sent := 0
	for n := 1; n < 15; n++ {
		disk, file := waitingOn(t, 20)
		if err := disk.Flip(file, 8*700); err != nil {
			t.Fatal(err)
		}
		damaged := disk.Bytes(file)
		disk.FailSync(n, errors.New("the disk is unwell"))
		r := &region{}
		synctest.Test(t, func(t *testing.T) {
			for range 2 { // it may not start the first time
				o, err := Open(Config{FS: disk, Dir: "outbox", Files: segment.NewFiles(disk, 8, 0), Send: r.send})
				disk.FailSync(0, nil)
				if err == nil {
					time.Sleep(time.Minute) // simulated
					err = o.Close()
				}
				if err != nil {
					t.Log(err)
				}
			}
		})
		aside := bytes.Equal(disk.Bytes(strings.Replace(file, "/log/", "/damaged/", 1)), damaged)
		switch got := len(r.arrived()); {
		case !aside:
			t.Errorf("sync %d fails: what is damaged is not set aside", n)
		case got == 19:
			sent++
		case got > 0:
			t.Errorf("sync %d fails: %d records have arrived of 19", n, got)
		}
	}
	if sent < 10 {
		t.Errorf("only %d times what was whole was sent", sent)
	}
}
