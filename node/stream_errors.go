package node

import (
	"errors"
	"fmt"

	"github.com/skeinmesh/skein/replication"
	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/store"
)

// What is wrapped by what goes wrong with streams.
var (
	// ErrUnknown: what was asked for may have been done, or not.
	ErrUnknown = replication.ErrUnknown
	// ErrNoLeader: no node leads the partition now, for want of a quorum.
	ErrNoLeader = replication.ErrNoLeader
	// ErrBusy: too much waits already; nothing was done.
	ErrBusy = replication.ErrBusy
	// ErrFull: there is no room on a disk.
	ErrFull = store.ErrFull
	// ErrExists: the region owns a stream of that name.
	ErrExists = meta.ErrExists
	// ErrInvalid: what was asked for cannot be; the text says what can.
	ErrInvalid = meta.ErrInvalid
	// ErrLimit: there are as many as there may be.
	ErrLimit = meta.ErrLimit
	// ErrRefused: it is not for this region to do.
	ErrRefused = meta.ErrRefused
	// ErrUnreachable: no way leads to the region now; nothing was done.
	ErrUnreachable = errors.New("node: region out of reach")
	// ErrPosition is wrapped by what is wrong with where reading should begin.
	ErrPosition = errors.New("node: bad position")
)

// TrimmedError says that retention has passed what should be read.
type TrimmedError struct {
	Stream    string `json:"stream"`
	Region    string `json:"region"`
	Partition uint32 `json:"partition"`
	Offset    int64  `json:"offset"` // that was asked for
	Start     int64  `json:"start"`  // the first that is still there
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("stream %s, %s/%d: offset %d has been trimmed, the first that is still there is %d",
		e.Stream, e.Region, e.Partition, e.Offset, e.Start)
}
