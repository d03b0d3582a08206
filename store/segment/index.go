package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sort"

	"github.com/skeinmesh/skein/store"
)

// sparse is the index of a file: the first record of every indexEvery bytes.
type sparse struct {
	entries []entry
	mark    int64 // the first record from here on has the next entry
}

// entry says where a record lies.
type entry struct {
	relative uint32 // its offset, less the file's first
	position uint32 // bytes into the file
	time     int64
}

// indexEvery is the distance of entries in bytes: so much is read at most, one
// record more, to find an offset.
const indexEvery = 128 << 10

// add offers a record, in order.
func (x *sparse) add(first, offset, position, time int64) {
	if position < x.mark {
		return
	}
	x.entries = append(x.entries, entry{uint32(offset - first), uint32(position), time})
	x.mark = (position/indexEvery + 1) * indexEvery
}

// before is the last entry that good holds for; it must hold for those up to
// some point and for none after. Without any, it is the file's beginning.
func (x *sparse) before(good func(entry) bool) entry {
	i := sort.Search(len(x.entries), func(i int) bool { return !good(x.entries[i]) })
	if i == 0 {
		return entry{position: headerSize}
	}
	return x.entries[i-1]
}

// clone is a copy that shares nothing, and no larger than it need be.
func (x *sparse) clone() *sparse {
	return &sparse{entries: slices.Clip(slices.Clone(x.entries)), mark: x.mark}
}

// index: magic "SKEINIDX" | version u16 | 0 u16 | entries u32 | log id [16] | file info [56] |
// per entry: relative offset u32, position u32, time i64 | crc u32 of all before
const (
	indexMagic     = "SKEINIDX"
	indexVersion   = 1
	indexFixed     = 8 + 2 + 2 + 4 + 16 + manifestFileSize
	indexEntrySize = 4 + 4 + 8
	maxIndexBytes  = indexFixed + (MaxFileBytes/indexEvery+2)*indexEntrySize + 4
)

var errNoIndex = errors.New("the index is missing, damaged or of another file")

func encodeIndex(id ID, info FileInfo, x *sparse) []byte {
	b := make([]byte, 0, indexFixed+len(x.entries)*indexEntrySize+4)
	b = append(b, indexMagic...)
	b = binary.LittleEndian.AppendUint16(b, indexVersion)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(x.entries)))
	b = append(b, id[:]...)
	b = info.appendTo(b)
	for _, e := range x.entries {
		b = binary.LittleEndian.AppendUint32(b, e.relative)
		b = binary.LittleEndian.AppendUint32(b, e.position)
		b = binary.LittleEndian.AppendUint64(b, uint64(e.time))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// parseIndex reads an index. Whatever is wrong with it, it is errNoIndex: an
// index can always be made anew.
func parseIndex(id ID, b []byte) (info FileInfo, x *sparse, err error) {
	if len(b) < indexFixed+4 || string(b[:8]) != indexMagic || binary.LittleEndian.Uint16(b[8:]) != indexVersion {
		return info, nil, errNoIndex
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	count := int(binary.LittleEndian.Uint32(b[12:]))
	if crc32.Checksum(body, castagnoli) != sum || [16]byte(b[16:32]) != id || len(body) != indexFixed+count*indexEntrySize {
		return info, nil, errNoIndex
	}
	info = parseFileInfo(b[32:])
	x = &sparse{entries: make([]entry, count)}
	for i := range x.entries {
		e := body[indexFixed+i*indexEntrySize:]
		x.entries[i] = entry{binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:]), int64(binary.LittleEndian.Uint64(e[8:]))}
	}
	return info, x, nil
}

// writeIndex puts the index of a file that is synced on the disk, in place of
// what was there. The name is certain after a SyncDir.
func writeIndex(fs store.FS, path string, id ID, info FileInfo, x *sparse) error {
	temp := path + tempSuffix
	err := func() error {
		f, err := fs.Open(temp, true)
		if err != nil {
			return err
		}
		b := encodeIndex(id, info, x)
		err = f.Truncate(int64(len(b)))
		if err == nil {
			_, err = f.WriteAt(b, 0)
		}
		if err == nil {
			err = f.Sync()
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		return fs.Rename(temp, path)
	}()
	if err != nil {
		return fmt.Errorf("segment: write index %s: %w", path, err)
	}
	return nil
}

// readIndex reads the index of a file.
func readIndex(fs store.FS, path string, id ID) (FileInfo, *sparse, error) {
	f, err := fs.Open(path, false)
	if err != nil {
		return FileInfo{}, nil, errNoIndex
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size > maxIndexBytes {
		return FileInfo{}, nil, errNoIndex
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return FileInfo{}, nil, errNoIndex
	}
	return parseIndex(id, b)
}
