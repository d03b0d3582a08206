package segment

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/skeinmesh/skein/store"
)

// FileInfo is one file of a log, or the beginning of one that is still written.
type FileInfo struct {
	First, Next         int64 // offsets: of its first record, and after its last
	Bytes               int64 // its length
	FirstTime, LastTime int64 // of its first and last record; zero if it has none
	Hash                Hash
}

// add counts a record in.
func (f *FileInfo) add(head []byte) {
	t := headTime(head)
	if f.Next == f.First {
		f.FirstTime = t
	}
	f.LastTime = t
	f.Next++
	f.Bytes += int64(headSize + dataSize(head))
	f.Hash = f.Hash.chain(head)
}

// Manifest is a log at a moment: enough to bring a directory back to it, or to
// fetch the log from replicas. The zero manifest is an empty log. It holds on
// disk after a Sync that began when it was taken already, and may be persisted
// only then.
type Manifest struct {
	Start, Next int64 // the first offset, and the one after the last
	// Time is that of the last record ever appended: none comes before it.
	Time int64
	// Files hold the offsets from Start to Next, and maybe some before, in order.
	// All but the last have the length they will always have.
	Files []FileInfo
}

// Bytes is the length of all files.
func (m Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Bytes
	}
	return n
}

// manifest: version u8 | start i64 | next i64 | time i64 | files u32 |
// per file: first, next, bytes, first time, last time i64 | hash [16]
const (
	manifestVersion  = 1
	manifestFixed    = 1 + 8 + 8 + 8 + 4
	manifestFileSize = 5*8 + 16
)

// AppendTo appends the manifest in its binary form.
func (m Manifest) AppendTo(b []byte) []byte {
	b = append(b, manifestVersion)
	for _, n := range []int64{m.Start, m.Next, m.Time} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Files)))
	for _, f := range m.Files {
		b = f.appendTo(b)
	}
	return b
}

func (f FileInfo) appendTo(b []byte) []byte {
	for _, n := range []int64{f.First, f.Next, f.Bytes, f.FirstTime, f.LastTime} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return append(b, f.Hash[:]...)
}

func parseFileInfo(b []byte) (f FileInfo) {
	for i, n := range []*int64{&f.First, &f.Next, &f.Bytes, &f.FirstTime, &f.LastTime} {
		*n = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
	copy(f.Hash[:], b[40:])
	return f
}

// ParseManifest reads a manifest from the front of b and returns what follows
// it. What it returns is sound in itself: files are in order and without holes.
func ParseManifest(b []byte) (Manifest, []byte, error) {
	var m Manifest
	switch {
	case len(b) < manifestFixed:
		return m, nil, errors.New("segment: the manifest is cut short")
	case b[0] != manifestVersion:
		return m, nil, fmt.Errorf("segment: the manifest: %w: it is of version %d, this program knows %d", store.ErrNewer, b[0], manifestVersion)
	}
	m.Start = int64(binary.LittleEndian.Uint64(b[1:]))
	m.Next = int64(binary.LittleEndian.Uint64(b[9:]))
	m.Time = int64(binary.LittleEndian.Uint64(b[17:]))
	count := int64(binary.LittleEndian.Uint32(b[25:]))
	b = b[manifestFixed:]
	if int64(len(b)) < count*manifestFileSize {
		return Manifest{}, nil, errors.New("segment: the manifest is cut short")
	}
	if count > 0 {
		m.Files = make([]FileInfo, count)
	}
	for i := range m.Files {
		m.Files[i] = parseFileInfo(b)
		b = b[manifestFileSize:]
	}
	if err := m.check(); err != nil {
		return Manifest{}, nil, err
	}
	return m, b, nil
}

// check says whether a manifest is sound.
func (m Manifest) check() error {
	if m.Start < 0 || m.Next < m.Start {
		return fmt.Errorf("segment: the manifest goes from offset %d to %d", m.Start, m.Next)
	}
	if len(m.Files) == 0 {
		if m.Start != m.Next {
			return fmt.Errorf("segment: the manifest has no files for offsets %d to %d", m.Start, m.Next)
		}
		return nil
	}
	at := m.Files[0].First
	if at < 0 || at > m.Start {
		return fmt.Errorf("segment: the manifest starts at %d, its first file at %d", m.Start, at)
	}
	for _, f := range m.Files {
		if f.First != at || f.Next <= f.First || f.Bytes < headerSize+(f.Next-f.First)*headSize || f.Bytes > MaxFileBytes+MaxData {
			return fmt.Errorf("segment: the manifest's file of offset %d does not follow or makes no sense", f.First)
		}
		at = f.Next
	}
	if at != m.Next {
		return fmt.Errorf("segment: the manifest ends at %d, its last file at %d", m.Next, at)
	}
	return nil
}
