package replication

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/partition"
)

// perByte is how many bytes of memory a reader may take for each that it is given:
// the smallest record of a message has two bytes, and takes forty here.
const perByte = 64

// thrift fails the test if reading takes more memory than it may.
func thrift(t *testing.T, b []byte, read func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(perByte*len(b)+64<<10) {
		t.Fatalf("%d bytes of memory for %d bytes", took, len(b))
	}
}

func FuzzDecodeAppend(f *testing.F) {
	f.Add(encodeAppend(nil, 7, []partition.Record{event(meta.ID{1}, 1), event(meta.ID{2}, 2)}))
	f.Add(encodeAppend(nil, 0, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		thrift(t, b, func() {
			number, records, err := decodeAppend(b)
			if err != nil {
				return
			}
			again, list, err := decodeAppend(encodeAppend(nil, number, records))
			if err != nil || again != number || len(list) != len(records) {
				t.Fatalf("%d records of partition %d come back as %d of %d: %v", len(records), number, len(list), again, err)
			}
			for i := range list {
				if list[i].Log != records[i].Log || list[i].Key != records[i].Key || list[i].Window != records[i].Window || !bytes.Equal(list[i].Data, records[i].Data) {
					t.Fatalf("%+v comes back as %+v", records[i], list[i])
				}
			}
		})
	})
}

func FuzzDecodeAway(f *testing.F) {
	f.Add(AppendAway(nil, []Away{{Key{1}, []byte("x")}, {}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		thrift(t, b, func() {
			records, err := DecodeAway(b)
			if err != nil {
				return
			}
			again, err := DecodeAway(AppendAway(nil, records))
			if err != nil || len(again) != len(records) {
				t.Fatalf("%d records come back as %d: %v", len(records), len(again), err)
			}
			for i := range again {
				if again[i].Key != records[i].Key || !bytes.Equal(again[i].Data, records[i].Data) {
					t.Fatalf("%+v comes back as %+v", records[i], again[i])
				}
			}
		})
	})
}

func FuzzDecodeAppended(f *testing.F) {
	f.Add([]byte{2, 5}, 2)
	f.Fuzz(func(t *testing.T, b []byte, count int) {
		if count < 0 || count > 1<<16 {
			return // how many were asked for is known
		}
		decodeAppended(b, count)
	})
}

func FuzzDecodeRecords(f *testing.F) {
	r := Records{Start: 1, End: 9, Offset: 5, List: []Stored{{Time: -3, Data: []byte("x")}, {Time: 1 << 60}}}
	f.Add(r.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		thrift(t, b, func() {
			got, err := DecodeRecords(b)
			if err != nil {
				return
			}
			again, err := DecodeRecords(got.AppendTo(nil))
			if err != nil || again.Start != got.Start || again.End != got.End || again.Offset != got.Offset || len(again.List) != len(got.List) {
				t.Fatalf("%+v comes back as %+v: %v", got, again, err)
			}
		})
	})
}

// What another node answers is an error or is not, and never the end of this one.
func FuzzRefusal(f *testing.F) {
	f.Add(encode(ErrNoLeader)[1:])
	f.Add(encode(&TrimmedError{Start: 9})[1:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := decode(b); err == nil || len(encode(err)) < 2 {
			t.Fatalf("%q is no error", b)
		}
	})
}
