package node

import (
	"errors"
	"fmt"
)

var (
	// ErrConfig is wrapped by what Open says of a Config that cannot be.
	ErrConfig = errors.New("node: configuration")
	// ErrNotReady is wrapped with the reason while the node has not entered
	// its mesh, and once it leaves. The caller may try again later.
	ErrNotReady = errors.New("node: not ready")
	// ErrOverloaded means that there was no room for an event in time, for a
	// publisher who asked to wait. The caller may try again later.
	ErrOverloaded = errors.New("node: overloaded")
	// ErrSlow ends a subscription that asked for that instead of a gap, when it
	// does not keep up.
	ErrSlow = errors.New("node: the subscriber did not keep up")
	// ErrClosed is returned by what was waiting when it, or the node, closed.
	ErrClosed = errors.New("node: closed")
	// ErrNotKept is wrapped when a stream that wants an event could not keep it. With
	// replication.ErrUnknown it may have: nobody knows. The publisher may try again,
	// since a stream knows what it has by source and id.
	ErrNotKept = errors.New("node: not kept")
	// ErrNoStream means that no stream has that name.
	ErrNoStream = errors.New("node: no such stream")
	// ErrNamespace is wrapped by errors about a namespace's name.
	ErrNamespace = errors.New("node: bad namespace")
)

// PartialError says that only the first of the events of a call of Publish are
// routed, and why the next one is not.
type PartialError struct {
	Routed int // at least 1
	Err    error
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("%v, after %d events were routed", e.Err, e.Routed)
}

func (e *PartialError) Unwrap() error { return e.Err }
