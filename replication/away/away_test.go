package away

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
)

var home = ID{7}

// region is where records go, when it can be reached.
type region struct {
	mu   sync.Mutex // guards the fields below
	down bool
	got  []string
}

var errDown = errors.New("no way leads there")

func (r *region) send(_ context.Context, _ ID, records []segment.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return errDown
	}
	for _, rec := range records {
		r.got = append(r.got, string(rec.Data))
	}
	return nil
}

func (r *region) set(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// arrived is what has come, without what came twice in a row of batches.
func (r *region) arrived() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(r.got), func(s string) bool {
		was := seen[s]
		seen[s] = true
		return was
	})
}

func open(t *testing.T, disk store.FS, r *region, most int64) *Outbox {
	t.Helper()
	o, err := Open(Config{FS: disk, Dir: "outbox", Files: segment.NewFiles(disk, 8, 0), Send: r.send, MaxBytes: most})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// waiting is how many records wait.
func waiting(o *Outbox) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if b := o.boxes[home]; b != nil {
		return b.log.Next() - b.sent
	}
	return 0
}

func records(from, to int) (list []segment.Record) {
	for n := from; n < to; n++ {
		list = append(list, segment.Record{Time: int64(n), Data: fmt.Append(nil, n)})
	}
	return list
}

func wanted(to int) (list []string) {
	for n := range to {
		list = append(list, fmt.Sprint(n))
	}
	return list
}

func TestWhatWaitsGoesOutInOrderWhenTheWayIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &region{down: true}
		o := open(t, storetest.NewDisk(), r, 0)
		defer o.Close()
		for n := range 50 {
			if err := o.Put(t.Context(), home, records(10*n, 10*n+10)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // simulated
		if n := waiting(o); n != 500 {
			t.Errorf("%d records wait", n)
		}
		r.set(false)
		time.Sleep(2 * pauseMax) // simulated
		if got := r.arrived(); !slices.Equal(got, wanted(500)) {
			t.Errorf("%d records arrived: %v", len(got), got)
		}
		if n := waiting(o); n != 0 {
			t.Errorf("%d records still wait", n)
		}
	})
}

// What Put has taken survives a power loss, whenever it comes, and arrives in order.
func TestWhatWaitsSurvivesACrash(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			disk, r := storetest.NewDisk(), &region{down: true}
			o := open(t, disk, r, 0)
			var taken []string
			next := 0
			for range 6 {
				disk.CrashAfter(1+rng.IntN(60), rng)
				r.set(rng.IntN(2) == 0)
				for range 20 {
					put := records(next, next+3)
					next += 3
					if o.Put(t.Context(), home, put) != nil {
						break // they may arrive, all or some
					}
					for _, rec := range put {
						taken = append(taken, string(rec.Data))
					}
					time.Sleep(20 * time.Millisecond) // simulated
				}
				disk.Crash(rng)
				o.Close()
				disk.Start()
				o = open(t, disk, r, 0)
			}
			r.set(false)
			time.Sleep(3 * pauseMax) // simulated
			got := r.arrived()
			lost := slices.DeleteFunc(taken, func(s string) bool { return slices.Contains(got, s) })
			if len(lost) > 0 || !slices.IsSortedFunc(got, byNumber) {
				t.Errorf("seed %d: records %v are lost of %v", seed, lost, got)
			}
			o.Close()
		})
	}
}

func TestAFullOutboxRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &region{down: true}
		o := open(t, storetest.NewDisk(), r, 1000)
		defer o.Close()
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ {
			err = o.Put(t.Context(), home, records(n, n+1))
		}
		if !errors.Is(err, ErrFull) || n < 10 {
			t.Errorf("after %d records: %v", n, err)
		}
		r.set(false)
		time.Sleep(3 * pauseMax) // simulated
		if got := r.arrived(); !slices.Equal(got, wanted(n-1)) {
			t.Errorf("%d of %d records arrived", len(got), n-1)
		}
	})
}

// What is noted of how far a box is has a version, which is refused if it is a later
// one; without one it is of before there were versions.
func TestANoteOfALaterVersionIsRefusedUntouched(t *testing.T) {
	disk := storetest.NewDisk()
	dir := "outbox/" + hex.EncodeToString(home[:])
	if err := errors.Join(disk.MkdirAll(dir), writeSent(disk, dir, 1234)); err != nil {
		t.Fatal(err)
	}
	note := disk.Bytes(dir + "/sent")
	note[4]++
	binary.LittleEndian.PutUint32(note[16:], crc32.Checksum(note[:16], castagnoli()))
	disk.Put(dir+"/sent", note)
	_, err := Open(Config{FS: disk, Dir: "outbox", Files: segment.NewFiles(disk, 8, 0), Send: new(region).send})
	if !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), "version 2, this one knows 1") {
		t.Errorf("%v", err)
	}
	if !bytes.Equal(disk.Bytes(dir+"/sent"), note) {
		t.Error("it was touched")
	}
	if sent, err := parseSent(binary.LittleEndian.AppendUint64(nil, 1234)); err != nil || sent != 1234 {
		t.Errorf("a note without a version: %d, %v", sent, err)
	}
}

// No damage of the note loses what waits: then more is sent than need be.
func TestADamagedNoteLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := storetest.NewDisk()
		r := &region{}
		o := open(t, whole, r, 0)
		if err := o.Put(t.Context(), home, records(0, 10)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // simulated
		r.set(true)
		if err := errors.Join(o.Put(t.Context(), home, records(10, 20)), o.Close()); err != nil {
			t.Fatal(err)
		}
		note := "outbox/" + hex.EncodeToString(home[:]) + "/sent"
		size := int64(len(whole.Bytes(note)))
		for bit := range 8 * size {
			for _, cut := range []bool{false, true} {
				disk := whole.Clone()
				err := disk.Flip(note, bit)
				if cut {
					err = disk.Cut(note, bit/8)
				}
				if err != nil {
					t.Fatal(err)
				}
				r := &region{}
				o := open(t, disk, r, 0)
				time.Sleep(time.Second) // simulated
				if err := o.Close(); err != nil {
					t.Fatal(err)
				}
				for i := 10; i < 20; i++ {
					if !slices.Contains(r.arrived(), fmt.Sprint(i)) {
						t.Fatalf("bit %d, cut %v: record %d did not arrive: %v", bit, cut, i, r.arrived())
					}
				}
			}
		}
	})
}

// What waits for a destination that is gone for good is dropped, with its files; those
// who wait for it to go out do not wait on, and the room is others'.
func TestWhatWaitsForAGoneDestinationIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := storetest.NewDisk()
		var gone atomic.Bool
		var said bytes.Buffer
		o, err := Open(Config{
			FS: disk, Dir: "outbox", Files: segment.NewFiles(disk, 8, 0), MaxBytes: 1 << 10,
			Send: func(context.Context, ID, []segment.Record) error {
				if gone.Load() {
					return fmt.Errorf("%w: it was deleted", ErrGone)
				}
				return errDown
			},
			Log: slog.New(slog.NewTextHandler(&said, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Put(t.Context(), home, records(0, 30)); err != nil {
			t.Fatal(err)
		}
		if err := o.Put(t.Context(), ID{8}, records(0, 1)); !errors.Is(err, ErrFull) {
			t.Errorf("it is not full: %v", err)
		}
		gone.Store(true)
		time.Sleep(2 * pauseMax) // simulated
		if n := o.Waiting(); n != 0 || !o.Drained(t.Context(), home) {
			t.Errorf("%d records wait", n)
		}
		if names, err := disk.List("outbox"); err != nil || len(names) > 0 {
			t.Errorf("%v is left, %v", names, err)
		}
		if err := errors.Join(o.Put(t.Context(), ID{8}, records(0, 1)), o.Put(t.Context(), home, records(0, 1)), o.Close()); err != nil {
			t.Error(err)
		}
		if text := said.String(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, "events=30") {
			t.Errorf("it said %q", text)
		}
	})
}
