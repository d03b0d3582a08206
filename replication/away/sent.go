package away

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/skeinmesh/skein/store"
)

// How far a box is, in little endian:
//
//	"SKAW" | version (1) | zero (3) | offset before which all has arrived (8) | CRC32C of all before (4)
//
// Before there was a version, it was the offset alone.
const (
	sentFile    = "sent"
	sentMagic   = "SKAW"
	sentVersion = 1
	sentSize    = 20
	bareSize    = 8
)

// readSent reads how far a box is; 0 if it has sent nothing. The error is
// store.ErrNewer, store.ErrCorrupt, or the disk's.
func readSent(fs store.FS, dir string) (int64, error) {
	name := filepath.Join(dir, sentFile)
	f, err := fs.Open(name, false)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, sentSize+1)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	sent, err := parseSent(b[:n])
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return sent, nil
}

func parseSent(b []byte) (int64, error) {
	if len(b) == bareSize && string(b[:4]) != sentMagic {
		return int64(binary.LittleEndian.Uint64(b)), nil
	}
	if len(b) < sentSize || string(b[:4]) != sentMagic || crc32.Checksum(b[:16], castagnoli()) != binary.LittleEndian.Uint32(b[16:]) {
		return 0, fmt.Errorf("%w: %d bytes, or a wrong checksum", store.ErrCorrupt, len(b))
	}
	if b[4] > sentVersion {
		return 0, fmt.Errorf("version %d, this one knows %d: %w", b[4], sentVersion, store.ErrNewer)
	}
	return int64(binary.LittleEndian.Uint64(b[8:])), nil
}

func writeSent(fs store.FS, dir string, sent int64) error {
	b := append([]byte(sentMagic), sentVersion, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(sent))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
	return store.Replace(fs, filepath.Join(dir, sentFile), b)
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }
