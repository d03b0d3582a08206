package segment_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/skeinmesh/skein/store/segment"
	"github.com/skeinmesh/skein/store/storetest"
)

// replica is a log on a disk of its own, and what it should be.
type replica struct {
	disk   *storetest.Disk
	log    *segment.Log
	bytes  int64 // of a file
	behind int   // bytes that may wait in memory

	saved    segment.Manifest // what was persisted last
	savedLog int              // len(history) then
}

// model is what a partition knows: all that was ever appended, and the commands
// since then, as a journal has them.
type model struct {
	records  []segment.Record // by offset, with the times they got
	start    int64
	time     int64
	history  []command
	replicas [2]*replica
}

// command is an append, a trim or a truncation, the same on all replicas.
type command struct {
	records  []segment.Record
	trim     int64
	truncate int64 // -1 is none
	fail     int   // the write that fails, and is tried again; 0 is none
}

func (r *replica) config() segment.Config {
	return segment.Config{Files: segment.NewFiles(r.disk, 2, r.behind), Dir: "/log", ID: logID, FileBytes: r.bytes}
}

func (r *replica) open(t *rapid.T) {
	log, err := segment.Open(r.config(), &r.saved)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	r.log = log
}

// do carries a command out; the second replica appends one by one.
func (r *replica) do(t *rapid.T, c command, single bool) {
	step := max(1, len(c.records))
	if single {
		step = 1
	}
	for chunk := range slices.Chunk(c.records, step) {
		if c.fail > 0 {
			r.disk.FailWrite(c.fail, syscall.ENOSPC)
			_, err := r.log.Append(chunk)
			r.disk.FailWrite(0, nil)
			if err == nil {
				continue
			}
		}
		if _, err := r.log.Append(chunk); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
	if c.truncate >= 0 {
		if err := r.log.TruncateTo(c.truncate); err != nil {
			t.Fatalf("truncate: %v", err)
		}
	}
	r.log.Trim(c.trim)
}

func (m *model) do(t *rapid.T, c command) {
	for _, r := range c.records {
		m.time = max(m.time, r.Time)
		r.Time = m.time
		m.records = append(m.records, r)
	}
	if c.truncate >= 0 {
		m.records = m.records[:c.truncate]
	}
	m.start = max(m.start, c.trim)
	m.history = append(m.history, c)
	for i, r := range m.replicas {
		r.do(t, c, i == 1)
	}
	if c.truncate >= 0 {
		m.time = m.replicas[0].log.Manifest().Time
	}
}

func TestALogIsWhatWasAppendedThroughTrimsTruncationsAndCrashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{}
		size := rapid.SampledFrom([]int64{200, 5000, 600 << 10}).Draw(t, "file bytes")
		for i := range m.replicas {
			m.replicas[i] = &replica{disk: storetest.NewDisk(), bytes: size, behind: rapid.SampledFrom([]int{0, 500, 1 << 20}).Draw(t, "behind")}
			m.replicas[i].open(t)
		}
		data := rapid.Custom(func(t *rapid.T) []byte {
			n := rapid.IntRange(0, int(min(size*2/3, 70<<10))).Draw(t, "size")
			if rapid.Bool().Draw(t, "small") {
				n = min(n, 40)
			}
			return bytes.Repeat([]byte{byte(n), byte(n >> 8), 7}, n/3+1)[:n]
		})
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				c := command{truncate: -1, fail: rapid.IntRange(0, 3).Draw(t, "failing write")}
				for range rapid.IntRange(1, 12).Draw(t, "records") {
					c.records = append(c.records, segment.Record{
						Time: int64(rapid.IntRange(0, 1000).Draw(t, "time")),
						Key:  segment.Key{byte(len(m.records)), byte(len(c.records))},
						Data: data.Draw(t, "data"),
					})
				}
				m.do(t, c)
			},
			"trim": func(t *rapid.T) {
				m.do(t, command{trim: rapid.Int64Range(m.start, int64(len(m.records))).Draw(t, "to"), truncate: -1})
			},
			"truncate": func(t *rapid.T) {
				// Nothing below a manifest that was persisted is ever truncated.
				from := max(m.start, m.replicas[0].saved.Next, m.replicas[1].saved.Next)
				m.do(t, command{truncate: rapid.Int64Range(from, int64(len(m.records))).Draw(t, "to")})
			},
			"snapshot": func(t *rapid.T) {
				r := rapid.SampledFrom(m.replicas[:]).Draw(t, "replica")
				manifest := r.log.Manifest()
				if err := r.log.Sync(); err != nil {
					t.Fatal(err)
				}
				r.saved, r.savedLog = manifest, len(m.history)
				if rapid.Bool().Draw(t, "release") {
					if err := r.log.Release(manifest.Start); err != nil {
						t.Fatal(err)
					}
				}
			},
			"restart": func(t *rapid.T) {
				i := rapid.IntRange(0, 1).Draw(t, "replica")
				r := m.replicas[i]
				rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
				switch rapid.SampledFrom([]string{"kill", "power loss", "power loss in sync"}).Draw(t, "how") {
				case "kill":
					r.disk.Kill()
				case "power loss":
					r.disk.Crash(rng)
				case "power loss in sync":
					r.disk.CrashAfter(rapid.IntRange(1, 8).Draw(t, "operation"), rng)
					if r.log.Sync() == nil {
						r.disk.Crash(rng)
					}
				}
				r.disk.Start()
				if rapid.Bool().Draw(t, "losing indexes") {
					for _, f := range r.saved.Files {
						_ = r.disk.Remove(indexPath("/log", f.First))
					}
				}
				// Once more while it is being opened.
				r.disk.CrashAfter(rapid.IntRange(1, 8).Draw(t, "operation of open"), rng)
				if l, err := segment.Open(r.config(), &r.saved); err == nil {
					l.Close()
					r.disk.Crash(rng)
				}
				r.disk.Start()
				r.open(t)
				for _, c := range m.history[r.savedLog:] {
					r.do(t, c, i == 1)
				}
			},
			"": func(t *rapid.T) { m.check(t) },
		})
	})
}

// check compares the replicas with the model and each other.
func (m *model) check(t *rapid.T) {
	next := int64(len(m.records))
	for _, r := range m.replicas {
		if r.log.Start() != m.start || r.log.Next() != next {
			t.Fatalf("the log goes from %d to %d, it should from %d to %d", r.log.Start(), r.log.Next(), m.start, next)
		}
		from := rapid.Int64Range(m.start, next).Draw(t, "from")
		reader := r.log.Reader(from)
		buf := make([]byte, rapid.IntRange(0, 3000).Draw(t, "buffer"))
		for at := from; ; {
			b, err := reader.Read(buf)
			if err != nil {
				t.Fatalf("read at %d: %v", at, err)
			}
			if b.Len() == 0 {
				if at != next {
					t.Fatalf("the log was read to %d, it ends at %d", at, next)
				}
				break
			}
			for offset, got := range b.Records() {
				if want := m.records[at]; offset != at || !same(got, want) {
					t.Fatalf("record %d read at %d is of time %d, key %x and %d bytes; it should be %d, %x, %d",
						offset, at, got.Time, got.Key[:2], len(got.Data), want.Time, want.Key[:2], len(want.Data))
				}
				at++
			}
		}
		at := from
		err := r.log.Keys(from, func(offset, time int64, key segment.Key) bool {
			if offset != at || time != m.records[at].Time || key != m.records[at].Key {
				t.Fatalf("key of record %d at %d is wrong", offset, at)
			}
			at++
			return true
		})
		if err != nil || at != next {
			t.Fatalf("keys were read to %d of %d: %v", at, next, err)
		}
		time := int64(rapid.IntRange(0, 1001).Draw(t, "at time"))
		want := m.start
		for want < next && m.records[want].Time < time {
			want++
		}
		if got, err := r.log.OffsetAt(time); err != nil || got != want {
			t.Fatalf("the first offset of time %d is %d (%v), it should be %d", time, got, err, want)
		}
		most := rapid.Int64Range(0, 1000+r.log.Manifest().Bytes()).Draw(t, "at most bytes")
		if got, err := r.log.OffsetWithin(most); err != nil || got != m.within(r.log.Files(), most) {
			t.Fatalf("the first offset of the last %d bytes is %d (%v), it should be %d", most, got, err, m.within(r.log.Files(), most))
		}
		if m.start > 0 {
			if _, err := r.log.Reader(m.start - 1).Read(buf); !errors.Is(err, segment.ErrTrimmed) {
				t.Fatalf("reading what was trimmed: %v", err)
			}
		}
		if _, err := r.log.Reader(next + 1).Read(buf); !errors.Is(err, segment.ErrAhead) {
			t.Fatalf("reading beyond the end: %v", err)
		}
	}
	a, b := m.replicas[0].log.Manifest(), m.replicas[1].log.Manifest()
	if !slices.Equal(a.Files, b.Files) {
		t.Fatalf("replicas have different files:\n%+v\n%+v", a, b)
	}
	parsed, rest, err := segment.ParseManifest(a.AppendTo(nil))
	if err != nil || len(rest) > 0 || !slices.Equal(parsed.Files, a.Files) || parsed.Time != a.Time {
		t.Fatalf("a manifest read back is %+v (%v), it was %+v", parsed, err, a)
	}
}

// within is the first offset from which on there are so many bytes at most.
func (m *model) within(files []segment.FileInfo, bytes int64) int64 {
	const header, head = 56, 36 // of a file and of a record
	at := int64(len(m.records))
	for _, f := range slices.Backward(files) {
		for ; at > max(f.First, m.start); at-- {
			if bytes -= head + int64(len(m.records[at-1].Data)); bytes < 0 {
				return at
			}
		}
		bytes -= header
	}
	return m.start
}

func same(a, b segment.Record) bool {
	return a.Time == b.Time && a.Key == b.Key && bytes.Equal(a.Data, b.Data)
}
