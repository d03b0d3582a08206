package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/skeinmesh/skein/store"
)

// maxRound is how many bytes of changes are taken into a round, unless the
// first change alone is larger.
const maxRound = 4 << 20

// maxIdleRound is the largest buffer that is kept between rounds, in bytes.
const maxIdleRound = 8 << 20

// marksSize is kept free at the end of a segment for a mark and a close.
const marksSize = 2 * sectorSize

// writer is what the goroutine that writes owns.
type writer struct {
	current *segment // nil until there is room for one
	limit   int64    // of the current segment, up to which room is reserved
	last    uint64   // sequence of the newest segment there ever was
	before  int64    // up to where that one is synced
	number  uint64   // of the last round
	marked  bool     // the last round says only that the one before was synced

	taken []*change // of the round being written
	later []*change // for which there is no room in the current segment
	buf   []byte    // the round, encoded
}

// write is the goroutine that writes. It makes rounds of whatever is queued, and
// when nothing is for a while, a mark.
func (j *Journal) write() {
	mark := time.NewTimer(j.cfg.MarkAfter)
	defer mark.Stop()
	for {
		select {
		case <-j.wake:
			for j.take() {
				j.answer(j.commit())
			}
			mark.Reset(j.cfg.MarkAfter)
		case <-mark.C:
			j.mark(kindPlain) // if it fails, so does the next change
		case <-j.stop:
			for j.take() {
				j.answer(j.commit())
			}
			j.end()
			return
		}
	}
}

// take moves queued changes to the next round. It reports whether there are any.
func (j *Journal) take() bool {
	// Those whom the last round woke are about to queue their next change, and
	// so are those who wait for a processor: let them.
	runtime.Gosched()
	w := &j.w
	w.taken = w.taken[:0]
	j.mu.Lock()
	defer j.mu.Unlock()
	sum, n := 0, 0
	for _, c := range j.queue {
		if sum += len(c.records); sum > maxRound && n > 0 {
			break
		}
		n++
	}
	if n == 0 {
		return false
	}
	w.taken = append(w.taken, j.queue[:n]...)
	left := copy(j.queue, j.queue[n:])
	clear(j.queue[left:])
	j.queue = j.queue[:left]
	j.flying = w.taken[0].since
	return true
}

// answer tells everybody in the round how it went.
func (j *Journal) answer(err error) {
	j.mu.Lock()
	j.flying = time.Time{}
	if errors.Is(err, store.ErrFull) {
		j.counters.Full += uint64(len(j.w.taken))
	}
	j.mu.Unlock()
	for i, c := range j.w.taken {
		j.w.taken[i] = nil
		c.done <- err
	}
}

// commit puts the changes that were taken on the disk, and makes them. On a full
// disk those are made that fit into what is reserved: a vote is small, and
// without it there is no leader.
func (j *Journal) commit() error {
	w := &j.w
	if j.Err() != nil {
		return j.Err()
	}
	w.later = w.later[:0]
	err := j.room(roundSize(w.taken))
	if errors.Is(err, store.ErrFull) && w.current != nil {
		w.shed()
		for _, c := range w.later {
			c.done <- err
		}
		j.count(func(s *Stats) { s.Full += uint64(len(w.later)) })
		clear(w.later)
		if len(w.taken) == 0 {
			return nil
		}
		err = nil
	}
	if err != nil {
		return err
	}
	w.encode(w.taken, j.salt, kindPlain)
	if err := j.put(); err != nil {
		return err
	}
	j.apply()
	return nil
}

// shed keeps of the changes taken those for which there is room.
func (w *writer) shed() {
	all := w.taken
	w.taken = w.taken[:0]
	for _, c := range all {
		w.taken = append(w.taken, c)
		if roundSize(w.taken) > w.limit-w.current.end {
			w.taken = w.taken[:len(w.taken)-1]
			w.later = append(w.later, c)
		}
	}
}

// roundSize is what a round of these changes takes, up to the end of its last
// sector.
func roundSize(changes []*change) int64 {
	size := headSize + padded(int64(len(changes))*memberSize)
	for _, c := range changes {
		size += int64(len(c.records))
	}
	return toSector(size)
}

// encode makes a round of changes.
func (w *writer) encode(changes []*change, salt uint32, kind uint8) {
	b := append(w.buf[:0], zeros[:headSize]...)
	records := 0
	for _, c := range changes {
		m := member{c.group.id, c.nth, uint32(max(1, len(c.sizes)))}
		b = m.append(b)
		records += int(m.records)
	}
	for _, c := range changes {
		b = append(b, c.records...)
	}
	w.buf = sealRound(b, w.number+1, len(changes), records, kind, salt)
}

// sealRound completes a round whose head was left empty: its directory has so
// many members, and so many records follow.
func sealRound(b []byte, number uint64, members, records int, kind uint8, salt uint32) []byte {
	h := head{
		typ: typeRound, kind: kind, data: uint32(members * memberSize),
		index: number, term: uint64(len(b)), time: int64(records),
	}
	h.bodyCRC = checksum(b[headSize : headSize+h.data])
	b = append(b, zeros[:toSector(int64(len(b)))-int64(len(b))]...)
	for at := sectorSize; at < len(b); at += sectorSize {
		if nonZero(b[at:at+sectorSize]) < 0 {
			h.nth++
		}
	}
	h.put(b[:headSize], salt)
	return b
}

// put writes the round in w.buf to the current segment and syncs it. When it
// returns nil the round is on the disk for good.
func (j *Journal) put() error {
	w := &j.w
	seg := w.current
	if _, err := seg.file.WriteAt(w.buf, seg.end); err != nil {
		if !store.IsFull(err) {
			return j.fail(fmt.Errorf("write %s: %w", seg.name, err))
		}
		// The disk reserved the room and does not have it. Part of the round may
		// be in the file: the next segment says that it ends before that.
		w.current = nil
		return fmt.Errorf("journal: write %s: %w (%v)", seg.name, store.ErrFull, err)
	}
	// The sync keeps this thread busy: whoever can run should run now, or he
	// waits for it behind this goroutine and comes too late for the next round.
	runtime.Gosched()
	began := time.Now()
	if err := seg.file.Sync(); err != nil {
		return j.fail(fmt.Errorf("sync %s: %w", seg.name, err))
	}
	took := time.Since(began)
	j.tail.add(uint32(seg.sequence), seg.end, w.buf)
	j.segs.grow(seg, int64(len(w.buf)))
	w.before = seg.end
	w.number++
	w.marked = false
	j.count(func(s *Stats) {
		s.Rounds++
		s.Bytes += uint64(len(w.buf))
		s.SyncTime += took
	})
	return nil
}

// apply makes the changes of the round that was put.
func (j *Journal) apply() {
	w := &j.w
	sequence := uint32(w.current.sequence)
	at := w.current.end - int64(len(w.buf)) + headSize + int64(len(w.taken))*memberSize
	entries := 0
	for _, c := range w.taken {
		c.group.apply(c, sequence, at, j.segs.keep)
		at += int64(len(c.records))
		entries += len(c.sizes)
	}
	j.count(func(s *Stats) {
		s.Changes += uint64(len(w.taken))
		s.Entries += uint64(entries)
	})
	if cap(w.buf) > maxIdleRound {
		w.buf = nil
	}
	if j.segs.dead() != nil {
		j.signalRecycle()
	}
}

// room makes sure that a round of this size can be written: it goes on to a new
// segment when the current one is full.
func (j *Journal) room(size int64) error {
	w := &j.w
	if w.current != nil && size <= w.limit-w.current.end {
		return nil
	}
	seg, limit, err := j.create(w.last+1, w.before, size)
	switch {
	case errors.Is(err, store.ErrFull):
		return err
	case err != nil:
		return j.fail(err)
	}
	if old := w.current; old != nil {
		// What was reserved and not used is given back. That this is not synced
		// does no harm: the new segment says where the old one ends.
		old.file.Truncate(old.end)
	}
	j.adopt(seg, limit)
	j.signalRecycle()
	return nil
}

// adopt makes a segment that was created the current one.
func (j *Journal) adopt(seg *segment, limit int64) {
	w := &j.w
	w.current, w.limit, w.last, w.before = seg, limit, seg.sequence, seg.end
	w.number++
	w.marked = true // it says up to where the one before was synced
	j.segs.add(seg)
	j.count(func(s *Stats) {
		s.Created++
		s.Bytes += uint64(seg.end)
	})
}

// create makes a segment that begins with the state of every group, with room
// for size bytes after that. Nothing of it remains if there is no room.
func (j *Journal) create(sequence uint64, before, size int64) (seg *segment, limit int64, err error) {
	w := &j.w
	if sequence > maxSequence {
		return nil, 0, errors.New("no numbers are left for segments")
	}
	h := header{
		version: formatVersion, sequence: sequence, salt: j.salt, firstRound: w.number + 1,
		before: before, mesh: j.cfg.Mesh, node: j.cfg.Node,
	}
	round := j.checkpoint()
	h.allocated = toSector(max(j.cfg.SegmentBytes, headersSize+int64(len(round))+size+marksSize))
	b := append(h.put(nil), round...)

	name := fileName(sequence)
	path := filepath.Join(j.cfg.Dir, name)
	file, err := j.cfg.FS.Open(path, true)
	if err != nil {
		return nil, 0, fullOr(fmt.Errorf("create %s: %w", name, err))
	}
	err = errors.Join(
		file.Truncate(0), // an attempt before this one may have left something
		file.Allocate(h.allocated),
	)
	if err == nil {
		// Before anything is in the file: so one with a header that is smaller
		// than allocated has been cut, and is not just unfinished.
		if err := file.Sync(); err != nil {
			file.Close()
			return nil, 0, fmt.Errorf("sync %s: %w", name, err)
		}
		if _, err = file.WriteAt(b, 0); err != nil {
			// Whatever is in the file now says where the segment before it ends:
			// so nothing more may be written to that one.
			w.current = nil
		}
	}
	if err != nil {
		file.Close()
		j.cfg.FS.Remove(path)
		return nil, 0, fullOr(fmt.Errorf("create %s: %w", name, err))
	}
	if err := errors.Join(file.Sync(), j.cfg.FS.SyncDir(j.cfg.Dir)); err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("sync %s: %w", name, err)
	}
	return &segment{sequence: sequence, name: name, file: file, end: int64(len(b))}, h.allocated - marksSize, nil
}

// checkpoint is the round that begins a segment: the state of every group.
func (j *Journal) checkpoint() []byte {
	groups := j.everyGroup()
	j.mu.Lock()
	doubt := j.doubt
	j.mu.Unlock()
	var directory, records []byte
	members, count := 0, 0
	for _, g := range groups {
		g.mu.RLock()
		if g.nth != 0 || g.err != nil || doubt != nil {
			kind := uint8(kindPlain)
			if g.err != nil {
				kind = kindCorrupt
			}
			m := member{g.id, g.nth, 1}
			directory = m.append(directory)
			records = g.record(records, g.id, kind, j.salt)
			members++
		}
		g.mu.RUnlock()
	}
	count = members
	if doubt != nil {
		h := head{typ: typeDoubt, time: noTime}
		records = appendRecord(records, &h, nil, nil, j.salt)
		count++
	}
	b := append(make([]byte, headSize, headSize+len(directory)+len(records)+sectorSize), directory...)
	b = append(b, records...)
	return sealRound(b, j.w.number+1, members, count, kindCheckpoint, j.salt)
}

// mark writes a round without changes. That it is there says that the round
// before it was synced, and kindClose that nothing follows.
func (j *Journal) mark(kind uint8) error {
	w := &j.w
	if err := j.Err(); err != nil || w.current == nil || w.marked && kind == kindPlain {
		return err
	}
	w.encode(nil, j.salt, kind)
	if err := j.put(); err != nil {
		return err
	}
	w.marked = true
	return nil
}

// end closes the segment as that of a journal that was closed.
func (j *Journal) end() {
	if err := j.mark(kindClose); err != nil || j.w.current == nil {
		return
	}
	j.w.current.file.Truncate(j.w.current.end) // gives back what was reserved
}

// fail ends the journal: what is on the disk is not known any more, and syncing
// again would succeed without having written anything.
func (j *Journal) fail(cause error) error {
	err := fmt.Errorf("journal: %w: %w", store.ErrFailed, cause)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.failure, j.refusal = err, err
	return err
}

// fullOr makes ErrFull of an error that says that the disk is full.
func fullOr(err error) error {
	if store.IsFull(err) {
		return fmt.Errorf("journal: %w: %w", store.ErrFull, err)
	}
	return err
}
