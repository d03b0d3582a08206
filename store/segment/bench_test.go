package segment_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/segment"
)

// BenchmarkAppend appends batches of 256 records, and releases what is behind,
// so that the disk's cache is what it would be.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{128, 256, 1024} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			l := open(b, segment.Config{Files: segment.NewFiles(store.OS{}, 8, 0), Dir: b.TempDir(), ID: logID}, &segment.Manifest{})
			records := numbered(0, 256, size)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, err := l.Append(records); err != nil {
					b.Fatal(err)
				}
				if l.Next()%(1<<20) == 0 {
					l.Trim(l.Next() - 1<<19)
					if err := l.Release(l.Start()); err != nil {
						b.Fatal(err)
					}
				}
			}
			perSecond(b, float64(b.N)*256, "records/s")
		})
	}
}

// BenchmarkRead reads a log from its beginning, in batches of 64 KiB, and
// touches every record.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{128, 1024} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			l := open(b, segment.Config{Files: segment.NewFiles(store.OS{}, 8, 0), Dir: b.TempDir(), ID: logID}, &segment.Manifest{})
			for l.Next() < 256<<20/int64(size) {
				appendTo(b, l, 1024, size)
			}
			buf := make([]byte, 64<<10)
			var count, sum int64
			b.ReportAllocs()
			b.ResetTimer()
			r := l.Reader(0)
			for range b.N {
				batch, err := r.Read(buf)
				if err != nil {
					b.Fatal(err)
				}
				for _, rec := range batch.Records() {
					sum += rec.Time + int64(rec.Data[0])
				}
				count += int64(batch.Len())
				if batch.Len() == 0 {
					r = l.Reader(0)
				}
			}
			perSecond(b, float64(count), "records/s")
			runtime.KeepAlive(sum)
		})
	}
}

// BenchmarkOpen opens ten thousand logs by their manifests.
func BenchmarkOpen(b *testing.B) {
	const n = 10_000
	dir := b.TempDir()
	manifests := make([]segment.Manifest, n)
	at := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
	files := segment.NewFiles(store.OS{}, 64, 0)
	for i := range manifests {
		l := open(b, segment.Config{Files: files, Dir: at(i), ID: logID}, &segment.Manifest{})
		appendTo(b, l, 40, 256)
		manifests[i] = l.Manifest()
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for range b.N {
		logs := make([]*segment.Log, n)
		before := heap()
		files := segment.NewFiles(store.OS{}, 64, 0)
		for i := range logs {
			l, err := segment.Open(segment.Config{Files: files, Dir: at(i), ID: logID}, &manifests[i])
			if err != nil {
				b.Fatal(err)
			}
			logs[i] = l
		}
		b.ReportMetric(float64(heap()-before)/n, "bytes/log")
		b.ReportMetric(float64(files.Open()), "files")
		runtime.KeepAlive(logs)
	}
}

// BenchmarkSyncAll syncs a thousand logs with one small record more each.
func BenchmarkSyncAll(b *testing.B) {
	const n = 1000
	dir := b.TempDir()
	files := segment.NewFiles(store.OS{}, 64, 0)
	logs := make([]*segment.Log, n)
	for i := range logs {
		logs[i] = open(b, segment.Config{Files: files, Dir: filepath.Join(dir, fmt.Sprint(i)), ID: logID}, &segment.Manifest{})
	}
	for _, parallel := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			var spent time.Duration
			for range b.N {
				for _, l := range logs {
					appendTo(b, l, 1, 256)
				}
				began := time.Now()
				if err := segment.SyncAll(logs, parallel); err != nil {
					b.Fatal(err)
				}
				spent += time.Since(began)
			}
			b.ReportMetric(float64(b.N)*n/spent.Seconds(), "logs/s")
			b.ReportMetric(spent.Seconds()*1000/float64(b.N), "ms/sync")
		})
	}
}

func perSecond(b *testing.B, n float64, unit string) {
	b.ReportMetric(n/b.Elapsed().Seconds(), unit)
}

// heap is the memory in use, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
