package journal

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/skeinmesh/skein/store"
)

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

// firstBytes is the size of a journal's first file, so that a node with little to
// keep takes little room; each later one is twice as large, up to SegmentBytes.
const firstBytes = 16 << 20

func (j *Journal) segmentBytes(sequence uint64) int64 {
	return min(j.cfg.SegmentBytes, firstBytes<<min(sequence-1, 10))
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
	h.allocated = toSector(max(j.segmentBytes(sequence), headersSize+int64(len(round))+size+marksSize))
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

// fullOr makes ErrFull of an error that says that the disk is full.
func fullOr(err error) error {
	if store.IsFull(err) {
		return fmt.Errorf("journal: %w: %w", store.ErrFull, err)
	}
	return err
}
