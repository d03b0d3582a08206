// Package segment keeps what one partition keeps of one stream: records at
// contiguous offsets, in files that are only appended to and dropped from the
// front. It knows no events and no raft; records are bytes with a time and a key.
//
// # What it promises
//
// Append does not sync, and may not even write, since few bytes cost a disk nearly
// as much as many: what was appended is certain after a Sync that began later and
// returned nil, and until then lives in a journal above. Readers see
// only records whose Append has returned, whole and with the right checksum;
// anything else is a store.CorruptError, with file and position. An Append that
// fails leaves the log as it was. A directory with a file of another log, or of a
// newer format, is refused (store.ErrForeign, store.ErrNewer) and not touched.
//
// Where one file ends and the next begins follows from the records and trims
// alone: replicas that are told the same have files with equal hashes, and a
// file of one replica can take the place of another's.
//
// A manifest is a log in a few lines: where it starts and ends, and its files.
// Open brings a directory to what a manifest says, and reads no data for it:
// a manifest that is persisted only after a Sync needs no scan. The caller then
// appends again what came after the manifest. To be able to, a trim only moves
// the start; files are removed by Release, once a manifest is persisted that no
// longer has them.
//
// # What lies in a directory
//
//	0000000000000000000.seg   records from that offset on; the last is appended to
//	0000000000000000000.idx   of all files but the last: every 128 KiB an offset, its place and its time
//	staging/                  files on their way from another replica
//
// An index is written after its file was synced, and made anew from the file
// when it is missing or damaged.
//
// # What it costs
//
// A log that is idle has a few hundred bytes of memory, 16 more for every 128 KiB
// that were appended to its last file since it was opened, and no open file: all
// logs of a node share one Files. What is not written yet is bounded by that, and by
// 32 KiB for each log. The package starts no goroutines but those of
// SyncAll, which waits for them.
package segment

import (
	"errors"
	"fmt"

	"github.com/skeinmesh/skein/store"
)

// Limits, in bytes.
const (
	// DefaultFileBytes is the size of files if Config does not say.
	DefaultFileBytes = 64 << 20
	// MaxFileBytes bounds Config.FileBytes.
	MaxFileBytes = 1 << 30
	// MaxData bounds Record.Data.
	MaxData = 2 << 20
)

// ID tells one log from all others: replicas of a log have the same.
type ID [16]byte

func (id ID) String() string { return fmt.Sprintf("%x", id[:]) }

// Key is what a record is known by when the same is offered again.
type Key [16]byte

// Hash stands for all records of a file, or of its beginning. Files with the
// same hash are the same.
type Hash [16]byte

func (h Hash) String() string { return fmt.Sprintf("%x", h[:]) }

// Record is one record of a log.
type Record struct {
	// Time is the leader's, in nanoseconds since 1970. In a log it never goes
	// back: a record with an earlier time than the one before gets that one's.
	Time int64
	Key  Key
	// Data is at most MaxData bytes.
	Data []byte
}

// What is wrong with a request, not with the log; store.ErrTooLarge and
// store.ErrClosed besides.
var (
	// ErrTrimmed: the offset is below Start.
	ErrTrimmed = errors.New("it has been trimmed")
	// ErrAhead: the offset is beyond Next.
	ErrAhead = errors.New("it is beyond the end")
	// ErrNoFile: the log has no such file, or no longer.
	ErrNoFile = errors.New("no such file")
)

// damage says what is wrong with a file at a position in bytes, where the record
// of an offset should be; the offset is -1 if none is meant.
func damage(file string, position, offset int64, what string) error {
	if offset >= 0 {
		what = fmt.Sprintf("record %d: %s", offset, what)
	}
	return &store.CorruptError{File: file, Offset: position, What: what}
}
