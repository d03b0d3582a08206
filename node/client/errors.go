package client

import (
	"errors"
	"fmt"

	"github.com/skeinmesh/skein/transport/wire"
)

// Errors. Those that a node gave are wrapped in a *RefusedError.
var (
	// ErrClosed is returned by what was waiting, and by what is called, when the
	// client is closed, or its connection broke and is not to be made again.
	ErrClosed = errors.New("client: closed")
	// ErrUnknownOutcome ends a publish whose connection broke before the
	// acknowledgement came: the event may have been routed or not.
	ErrUnknownOutcome = errors.New("client: the connection broke before the acknowledgement: outcome unknown")
	// ErrTooLarge means that an event exceeds what the node takes.
	ErrTooLarge = errors.New("client: event is too large")

	ErrDenied       = errors.New("client: denied")                      // token or certificate missing or wrong
	ErrVersion      = errors.New("client: protocol version not spoken") // client and node are of different times
	ErrNotReady     = errors.New("client: node is not ready")           // try again later, or elsewhere
	ErrInvalidEvent = errors.New("client: not a valid CloudEvent")      // never try again
	ErrBadFilter    = errors.New("client: filter does not parse")       // position and reason are in the text
	ErrBadNamespace = errors.New("client: bad namespace")               //
	ErrOverloaded   = errors.New("client: there was no room in time")   // try again later; see Block
	ErrSlow         = errors.New("client: the handler was too slow")    // see WithDisconnect
	ErrTooMany      = errors.New("client: too many subscriptions")      // of one client

	ErrNoStream    = errors.New("client: no such stream")
	ErrBadPosition = errors.New("client: a stream cannot be read from there")
	ErrTrimmed     = errors.New("client: trimmed")                         // see TrimmedError
	ErrMissing     = errors.New("client: a region is out of reach")        // see MissingError
	ErrNotKept     = errors.New("client: a stream could not keep it")      // and it is not kept; try again later
	ErrMaybeKept   = errors.New("client: nobody knows whether it is kept") // try again with the same id: it is kept once
)

// RefusedError is a node's no. errors.Is finds the error of this package that
// belongs to its code.
type RefusedError struct {
	Code   string // for programs, see wire.Code
	Reason string // for people
}

// Error is the reason and the code.
func (e *RefusedError) Error() string {
	if e.Reason == "" {
		return "client: refused by the node: " + e.Code
	}
	return fmt.Sprintf("client: refused by the node: %s (%s)", e.Reason, e.Code)
}

// Unwrap is the error that belongs to the code, or nil.
func (e *RefusedError) Unwrap() error {
	switch wire.Code(e.Code) {
	case wire.CodeVersion:
		return ErrVersion
	case wire.CodeDenied:
		return ErrDenied
	case wire.CodeNotReady, wire.CodeClosing:
		return ErrNotReady
	case wire.CodeInvalid:
		return ErrInvalidEvent
	case wire.CodeTooLarge:
		return ErrTooLarge
	case wire.CodeFilter:
		return ErrBadFilter
	case wire.CodeNamespace:
		return ErrBadNamespace
	case wire.CodeBusy:
		return ErrOverloaded
	case wire.CodeSlow:
		return ErrSlow
	case wire.CodeTooMany:
		return ErrTooMany
	case wire.CodeNoStream:
		return ErrNoStream
	case wire.CodePosition:
		return ErrBadPosition
	case wire.CodeTrimmed:
		return ErrTrimmed
	case wire.CodeMissing:
		return ErrMissing
	case wire.CodeNotKept:
		return ErrNotKept
	case wire.CodeUnknown:
		return ErrMaybeKept
	}
	return nil
}

// errReads is for what a node that reads streams the old way cannot do.
var errReads = fmt.Errorf("%w: the node reads streams whole, from all regions and in its own order only", ErrVersion)

// errNoStreams is for what a node of before streams cannot do.
var errNoStreams = fmt.Errorf("%w: the node knows nothing of streams", ErrVersion)

func refused(why *wire.Refusal) error {
	return &RefusedError{Code: string(why.Code), Reason: why.Reason}
}

// final reports whether connecting again cannot help.
func final(err error) bool {
	return errors.Is(err, ErrVersion) || errors.Is(err, ErrDenied)
}
