package partition

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/skeinmesh/skein/store/segment"
)

// thrift fails the test if reading takes more than 64 bytes of memory for each
// byte that is read.
func thrift(t *testing.T, b []byte, read func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(64*len(b)+64<<10) {
		t.Fatalf("%d bytes of memory for %d bytes", took, len(b))
	}
}

func FuzzEntry(f *testing.F) {
	var b batch
	b.reset()
	for _, r := range records(orders, 0, 3) {
		b.add(&r)
	}
	f.Add(b.entry(77))
	f.Add(trimEntry(1, orders, 5))
	f.Add(dropEntry(1, orders))
	f.Fuzz(func(t *testing.T, data []byte) {
		thrift(t, data, func() {
			var c command
			if c.read(data) != nil || c.kind != kindAppend {
				return
			}
			var again batch
			again.reset()
			for _, a := range c.records {
				again.add(&Record{Log: c.logs[a.log].id, Window: c.logs[a.log].window, Key: a.key, Data: a.data})
			}
			var other command
			if err := other.read(again.entry(c.now)); err != nil || len(other.records) != len(c.records) || other.now != c.now {
				t.Fatalf("%d records come back as %d: %v", len(c.records), len(other.records), err)
			}
			for i, a := range other.records {
				if was := c.records[i]; other.logs[a.log] != c.logs[was.log] || a.key != was.key || !bytes.Equal(a.data, was.data) {
					t.Fatalf("record %d comes back as another", i)
				}
			}
		})
	})
}

func FuzzSnapshot(f *testing.F) {
	b := append([]byte{snapshotVersion}, make([]byte, 16)...)
	f.Add(append(b, 0))
	b = append(append(b, 1), make([]byte, 24)...)
	f.Add(segment.Manifest{}.AppendTo(b))
	f.Fuzz(func(t *testing.T, data []byte) {
		thrift(t, data, func() { parseSnapshot(data) })
	})
}
