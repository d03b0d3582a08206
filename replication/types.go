package replication

import (
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/replication/partition"
)

// What partitions keep; see package partition.
type (
	Record   = partition.Record
	Appended = partition.Appended
	Window   = partition.Window
	Key      = partition.Key
	LogID    = partition.LogID
)

var (
	// ErrUnknown: what was asked for may have been done, or not.
	ErrUnknown = multiraft.ErrUnknown
	// ErrBusy: too much waits already; nothing was done.
	ErrBusy = partition.ErrBusy
)
