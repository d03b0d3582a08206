package journal

import (
	"fmt"
	"sync"
	"testing"

	"github.com/skeinmesh/skein/store"
)

// BenchmarkAppend appends entries of 256 bytes on the real disk, each synced
// before its append returns. An append brings as many entries as raft would in
// one round of its own with 1 024 in flight over all groups.
func BenchmarkAppend(b *testing.B) {
	for _, groups := range []int{1, 16, 128} {
		for _, batch := range []int{1, 1024 / groups} {
			b.Run(fmt.Sprintf("groups=%d/batch=%d", groups, batch), func(b *testing.B) {
				j := open(b, Config{Dir: b.TempDir()})
				data := make([]byte, 256)
				b.ReportAllocs()
				b.ResetTimer()
				before := j.Stats()
				var all sync.WaitGroup
				for n := range groups {
					all.Go(func() {
						g, next := j.Group(id(n)), uint64(1)
						list := make([]store.Entry, batch)
						for next <= uint64(b.N/groups) {
							for i := range list {
								list[i] = store.Entry{Index: next, Term: 1, Data: data}
								next++
							}
							if err := g.Append(list); err != nil {
								b.Error(err)
								return
							}
							if next%65536 < uint64(batch) { // as after a snapshot
								if err := g.DeleteRange(1, next-2); err != nil {
									b.Error(err)
								}
							}
						}
					})
				}
				all.Wait()
				b.StopTimer()
				s := j.Stats()
				if entries, rounds := float64(s.Entries-before.Entries), float64(s.Rounds-before.Rounds); rounds > 0 {
					b.ReportMetric(entries/b.Elapsed().Seconds(), "entries/s")
					b.ReportMetric(entries/rounds, "entries/sync")
					b.ReportMetric(float64((s.SyncTime-before.SyncTime).Microseconds())/rounds, "µs/sync")
					b.ReportMetric(float64(s.Bytes-before.Bytes)/(entries*256), "bytes/byte")
				}
				j.Close()
			})
		}
	}
}

// BenchmarkSync is what the disk can do: one write of a sector, one sync.
func BenchmarkSync(b *testing.B) {
	f, err := store.OS{}.Open(b.TempDir()+"/f", true)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Allocate(64 << 20); err != nil {
		b.Fatal(err)
	}
	at := int64(0)
	for b.Loop() {
		if _, err := f.WriteAt(zeros[:], at%(64<<20)); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		at += sectorSize
	}
}

// BenchmarkOpen opens a journal of a million entries of 256 bytes.
func BenchmarkOpen(b *testing.B) {
	cfg := Config{Dir: b.TempDir(), HoldSegments: 1 << 20}
	j := open(b, cfg)
	list := make([]store.Entry, 1000)
	data := make([]byte, 256)
	for next := uint64(1); next <= 1_000_000; {
		for i := range list {
			list[i] = store.Entry{Index: next, Term: 1, Data: data}
			next++
		}
		if err := j.Group(id(1)).Append(list); err != nil {
			b.Fatal(err)
		}
	}
	bytes := j.Stats().DiskBytes
	j.Close()
	b.SetBytes(bytes)
	b.ReportAllocs()
	for b.Loop() {
		j := open(b, cfg)
		if last, err := j.Group(id(1)).LastIndex(); last != 1_000_000 || err != nil {
			b.Fatal(last, err)
		}
		j.Close()
	}
}

// BenchmarkGet reads entries from memory and from files.
func BenchmarkGet(b *testing.B) {
	for _, cache := range []int{-1, 8 << 20} {
		b.Run(fmt.Sprintf("cache=%v", cache > 0), func(b *testing.B) {
			j := open(b, Config{Dir: b.TempDir(), CacheBytes: cache})
			g := j.Group(id(1))
			list := make([]store.Entry, 10_000)
			for i := range list {
				list[i] = store.Entry{Index: uint64(i + 1), Data: make([]byte, 256)}
			}
			if err := g.Append(list); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var e store.Entry
			for i := uint64(0); b.Loop(); i++ {
				if err := g.Get(1+i%10_000, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
