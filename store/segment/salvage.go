package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/skeinmesh/skein/store"
)

// Salvage reads what can still be read of a log that lies in a directory and is not
// open, for those who have no other copy of it. It calls each with the records from an
// offset on, in order, which must not keep their data; those that it leaves out are
// damaged, or missing. lost says which, and where. It changes nothing, and takes memory
// for a whole file. The error is store.ErrNewer, store.ErrForeign, the disk's, or that of
// each.
func Salvage(fs store.FS, dir string, from int64, each func(offset int64, r Record) error) (lost []error, err error) {
	d, err := lookAny(fs, dir)
	if err != nil {
		return nil, fmt.Errorf("segment: salvage %s: %w", dir, err)
	}
	s := salvage{each: func(offset int64, r Record) error {
		if offset < from {
			return nil
		}
		return each(offset, r)
	}}
	firsts := d.firsts()
	for i, first := range firsts {
		last := i == len(firsts)-1
		if !last && firsts[i+1] <= from {
			continue
		}
		lies, path := d.files[first], d.file(first, fileSuffix)
		if last && lies.size < headerSize {
			break // it was being begun
		}
		b := make([]byte, lies.size)
		err := withFile(fs, path, false, func(f store.File) error {
			n, err := f.ReadAt(b, 0)
			if b = b[:n]; errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		})
		if err != nil {
			return s.lost, fmt.Errorf("segment: salvage %s: %w", dir, err)
		}
		if lies.damage != nil { // where records are follows from the file's name
			s.lost = append(s.lost, lies.damage)
		}
		s.name, s.position, s.offset = path, headerSize, first
		if err := s.run(b); err != nil {
			return s.lost, fmt.Errorf("segment: salvage %s: %w", dir, err)
		}
		if !last && s.offset < firsts[i+1] {
			s.lost = append(s.lost, damage(path, s.position, s.offset, fmt.Sprintf("it and all up to %d cannot be read", firsts[i+1]-1)))
		}
	}
	return s.lost, nil
}

// salvage goes through a file, and over what is damaged of it.
type salvage struct {
	name     string
	position int64 // in the file
	offset   int64 // of the record there
	each     func(offset int64, r Record) error
	lost     []error
}

// run goes through a file's bytes, up to where no more of it can be read.
func (s *salvage) run(b []byte) error {
	for s.position < int64(len(b)) {
		rest := b[s.position:]
		size, reason := whole(s.offset, rest)
		records := int64(1)
		if reason == "" {
			if err := s.each(s.offset, record(rest[:headSize], rest[headSize:size:size])); err != nil {
				return err
			}
		} else {
			if size == 0 {
				size, records = findRecord(rest, s.offset)
			}
			if size > len(rest) {
				size, records = 0, 0
			}
			s.lost = append(s.lost, damage(s.name, s.position, s.offset, lostWords(reason, records)))
		}
		if size == 0 {
			return nil
		}
		s.position, s.offset = s.position+int64(size), s.offset+records
	}
	return nil
}

func lostWords(reason string, records int64) string {
	switch records {
	case 0:
		return reason + ", and nothing behind it can be read"
	case 1:
		return reason
	}
	return fmt.Sprintf("%s; of this one and the %d after it nothing can be read", reason, records-1)
}

// whole says why the record of an offset is not whole that b begins with, or "", and its
// size; 0 if that is not known either.
func whole(offset int64, b []byte) (size int, reason string) {
	if len(b) < headSize {
		return 0, "the last record is cut short"
	}
	if reason := checkHead(offset, b); reason != "" {
		return 0, reason
	}
	if size = headSize + dataSize(b); size > len(b) {
		return size, "the last record is cut short"
	}
	return size, checkData(b, b[headSize:size])
}

const (
	findWithin  = 2*MaxData + 1<<20 // bytes that are searched for a record
	findRecords = 4096              // that may be missing before it
)

// findRecord finds the next whole record in b, which begins with a damaged one of an
// offset. It is so many bytes and records further on; both are 0 if there is none.
func findRecord(b []byte, offset int64) (size int, records int64) {
	// The checksum of a head begins with its offset. Since a CRC is linear, what that
	// adds is the same for all heads: all offsets are tried at once.
	var blank [headSize]byte
	nothing := crc32.Checksum(blank[4:], castagnoli)
	adds := make(map[uint32]int64, findRecords)
	for n := int64(1); n <= findRecords; n++ {
		adds[headSum(offset+n, blank[:])^nothing] = n
	}
	for at := 1; at+headSize <= min(len(b), findWithin); at++ {
		head := b[at : at+headSize]
		n, fits := adds[binary.LittleEndian.Uint32(head)^crc32.Checksum(head[4:], castagnoli)]
		if !fits {
			continue
		}
		if _, reason := whole(offset+n, b[at:]); reason == "" {
			return at, n
		}
	}
	return 0, 0
}

// errFound ends a salvage that has found what it looked for.
var errFound = errors.New("found")

// goesOn reports whether a whole record lies in the rest of a file, which begins with one
// of an offset that is damaged. Behind what a crash has torn lies none, as a rule.
func goesOn(file store.File, position, end, offset int64) (bool, error) {
	b := make([]byte, end-position)
	if n, err := file.ReadAt(b, position); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	} else {
		b = b[:n]
	}
	s := salvage{offset: offset, each: func(int64, Record) error { return errFound }}
	return s.run(b) != nil, nil
}
