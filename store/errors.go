package store

import (
	"errors"
	"fmt"
	"syscall"
)

// Errors that all stores return, wrapped with what was being done.
var (
	// ErrNotFound: there is no such entry or value.
	ErrNotFound = errors.New("not found")
	// ErrGap: what was to be appended does not follow the last, or a deletion
	// would leave a hole.
	ErrGap = errors.New("indexes must be contiguous")
	// ErrTooLarge: it is more than the store takes.
	ErrTooLarge = errors.New("too large")
	// ErrFull: there is no room on the disk. Nothing was changed, and the store
	// works again once there is room.
	ErrFull = errors.New("no space left on the disk")
	// ErrFailed: the disk failed to write or to sync, so nobody knows what is on
	// it. The store takes nothing any more until it is opened again.
	ErrFailed = errors.New("the disk has failed")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("closed")
	// ErrCorrupt: what had been put on the disk for certain is not there any
	// more. A CorruptError says where.
	ErrCorrupt = errors.New("corrupt")
	// ErrForeign: the directory belongs to another node or mesh.
	ErrForeign = errors.New("belongs to another node or mesh")
	// ErrNewer: the directory was written by a later version of Skein.
	ErrNewer = errors.New("written by a later version")
)

// CorruptError says what was lost and where. It is ErrCorrupt.
type CorruptError struct {
	Log    string // whose it was, as the store names its logs; empty if that is not known
	File   string
	Offset int64 // in bytes, from the start of the file
	What   string
}

func (e *CorruptError) Error() string {
	whose := ""
	if e.Log != "" {
		whose = e.Log + ": "
	}
	return fmt.Sprintf("%s%s at byte %d: %s", whose, e.File, e.Offset, e.What)
}

// Is makes every CorruptError an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// IsFull reports whether an error of an FS or a File means that the disk, or
// what this user may have of it, is full.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, ErrFull)
}
