package journal

import (
	"errors"
	"fmt"
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
