package journal

import (
	"errors"
	"fmt"
	"io"

	"github.com/skeinmesh/skein/store"
)

// read reads the record of an entry and checks it. What the disk gave back and
// should not have is told as lost; what kept it from giving anything, as err.
// With fromDisk, what was written not long ago is not read from memory.
func (j *Journal) read(id ID, index uint64, at place, fromDisk bool) (record []byte, lost *store.CorruptError, err error) {
	record = make([]byte, headSize+padded(int64(at.size)-headSize))
	if !fromDisk && j.tail.read(at.segment, int64(at.at), record) {
		j.cacheReads.Add(1)
		return record, nil, nil
	}
	if at.segment == 0 {
		return nil, nil, store.ErrNotFound
	}
	seg := j.segs.acquire(at.segment)
	if seg == nil { // it was deleted meanwhile, or all are closed
		select {
		case <-j.stop:
			return nil, nil, store.ErrClosed
		default:
			return nil, nil, store.ErrNotFound
		}
	}
	defer j.segs.release(seg)
	j.diskReads.Add(1)
	// A second time, because the bits may have changed on their way here.
	for range 2 {
		if _, err = seg.file.ReadAt(record, int64(at.at)); err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, fmt.Errorf("read %s: %w", seg.name, err)
		}
		h, ok := readHead(record, j.salt)
		if err == nil && ok && h.typ == typeEntry && h.group == id && h.index == index &&
			headSize+h.data+h.ext == at.size && h.whole(record[headSize:]) {
			return record, nil, nil
		}
	}
	return nil, &store.CorruptError{
		Log: id.String(), File: seg.name, Offset: int64(at.at),
		What: fmt.Sprintf("entry %d cannot be read back", index),
	}, nil
}
