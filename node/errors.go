package node

import "errors"

var (
	// ErrConfig is wrapped by what Open says of a Config that cannot be.
	ErrConfig = errors.New("node: configuration")
	// ErrNotReady is wrapped with the reason while the node has not entered
	// its mesh, and once it leaves. The caller may try again later.
	ErrNotReady = errors.New("node: not ready")
	// ErrBusy means that the queue towards a peer had no room in time.
	ErrBusy = errors.New("node: busy")
	// ErrClosed is returned by what was waiting when it, or the node, closed.
	ErrClosed = errors.New("node: closed")
	// ErrNamespace is wrapped by errors about a namespace's name.
	ErrNamespace = errors.New("node: bad namespace")
)
