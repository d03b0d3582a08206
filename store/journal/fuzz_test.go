package journal

import (
	"encoding/binary"
	"math/rand/v2"
	"path"
	"runtime"
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

// FuzzOpen opens a journal of arbitrary bytes: as they are, or sealed, so that
// every checksum is right and only what the records say is arbitrary. It may be
// refused, but nothing panics, and memory stays in proportion.
func FuzzOpen(f *testing.F) {
	disk := storetest.NewDisk()
	cfg := small(disk)
	j, err := Open(cfg)
	if err != nil {
		f.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	models := make([]model, 3)
	for range 10 { // small inputs are soon made smaller
		n := rng.IntN(len(models))
		op := random(rng, models[n], 1)
		if err := op.do(j.Group(id(n))); err != nil {
			f.Fatal(err)
		}
		models[n] = models[n].after(op)
	}
	j.Close()
	names, _ := disk.List(cfg.Dir)
	for _, name := range names {
		data := disk.Bytes(path.Join(cfg.Dir, name))
		data = data[:writtenBytes(data)]
		f.Add(data, false)
		f.Add(data[headersSize:], true)
	}
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if len(data) > 1<<20 {
			return
		}
		disk := storetest.NewDisk()
		cfg := small(disk)
		cfg.CacheBytes = -1
		if err := disk.MkdirAll(cfg.Dir); err != nil {
			t.Fatal(err)
		}
		if sealed {
			data = seal(data)
		}
		disk.Put(path.Join(cfg.Dir, fileName(1)), data)

		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		report, err := Verify(disk, cfg.Dir)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20+64*uint64(len(data)) {
			t.Fatalf("%d bytes were allocated for a file of %d", used, len(data))
		}
		// Without goroutines, which would make the coverage of a run random.
		j := newJournal(cfg)
		defer j.segs.close()
		if j.open() != nil {
			return
		}
		if err != nil {
			t.Fatalf("a journal that can be opened can not be verified: %v", err)
		}
		for _, id := range j.Groups() {
			read(t, j.Group(id))
		}
		// What was opened is in order, but for what it says is lost.
		lost := j.Stats().Corrupt
		again, err := Verify(disk, cfg.Dir)
		if err != nil {
			t.Fatalf("after opening: %v", err)
		}
		if lost == 0 && j.doubt == nil && len(again.Corrupt) > 0 {
			t.Fatalf("opening broke %v", again.Corrupt)
		}
		if len(report.Corrupt) == 0 && lost > 0 {
			t.Fatalf("%d groups have lost what was verified", lost)
		}
	})
}

// read reads a group that was recovered.
func read(t *testing.T, g *Group) {
	var e store.Entry
	first, err := g.FirstIndex()
	if err != nil {
		return
	}
	last, _ := g.LastIndex()
	for _, index := range []uint64{first, last, first + (last-first)/2} {
		if err := g.Get(index, &e); err != nil && index > 0 {
			t.Fatalf("entry %d of %d to %d: %v", index, first, last, err)
		}
	}
	if err := g.Get(last+1, &e); err == nil {
		t.Fatalf("there is an entry after the last one, %d", last)
	}
}

// seal makes a segment of arbitrary bytes. They are taken as a row of heads with
// their bodies; lengths are made to fit, and checksums are computed.
func seal(data []byte) []byte {
	h := header{version: formatVersion, sequence: 1, firstRound: 1, mesh: "mesh", node: "node"}
	file := h.put(nil)
	for number := uint64(1); len(data) >= headSize; number++ {
		members := int(data[0] % 4)
		kind := data[1] % 4
		round := make([]byte, headSize)
		for i := range members {
			m := member{nth: uint32(data[2+i]), records: 1}
			copy(m.group[:], data[16:32])
			m.group[15] += byte(i)
			round = m.append(round)
		}
		count := 0
		for range 1 + int(data[6]%8) {
			if len(data) < headSize {
				break
			}
			var r head
			copy(r.group[:], data[16:32])
			r.index = binary.LittleEndian.Uint64(data[32:])
			r.term = binary.LittleEndian.Uint64(data[40:])
			r.nth = uint32(data[56])
			r.typ = typeEntry + recordType(data[60]%6)
			r.kind = data[61] % 2
			size := min(int(binary.LittleEndian.Uint16(data[8:]))%600, len(data)-headSize)
			round = appendRecord(round, &r, data[headSize:headSize+size], nil, 0)
			data = data[headSize+size:]
			count++
		}
		file = append(file, sealRound(round, number, members, count, kind, 0)...)
	}
	return file
}
