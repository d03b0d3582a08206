package meta

import (
	"errors"
	"fmt"
)

// What Apply and Restore refuse with. The message says what was wrong and what
// would be right; the state is unchanged, but for the index, the clock and what
// is remembered of commands that are too new.
var (
	ErrExists    = errors.New("exists already")
	ErrUnknown   = errors.New("unknown")
	ErrInvalid   = errors.New("invalid")
	ErrRefused   = errors.New("refused")
	ErrConflict  = errors.New("changed meanwhile")
	ErrLimit     = errors.New("limit reached")
	ErrClone     = errors.New("restored image or clone")
	ErrTooNew    = errors.New("too new")
	ErrOutdated  = errors.New("this program is too old")
	ErrMalformed = errors.New("malformed")
	ErrReplayed  = errors.New("applied already")
)

// coded gives each kind of error a name that goes over the wire.
func coded() map[string]error {
	return map[string]error{
		"exists": ErrExists, "unknown": ErrUnknown, "invalid": ErrInvalid, "refused": ErrRefused,
		"conflict": ErrConflict, "limit": ErrLimit, "clone": ErrClone, "too-new": ErrTooNew, "outdated": ErrOutdated,
		"malformed": ErrMalformed, "replayed": ErrReplayed,
	}
}

// Code is the name of an error's kind, for sending it to another node; empty if
// it is none of this package's.
func Code(err error) string {
	for code, kind := range coded() {
		if errors.Is(err, kind) {
			return code
		}
	}
	return ""
}

// FromCode makes an error of its code and its text, as they came from another
// node, so that errors.Is works on it as it did there.
func FromCode(code, text string) error {
	return &told{coded()[code], text}
}

// told is an error that another node told.
type told struct {
	kind error
	text string
}

func (e *told) Error() string { return e.text }
func (e *told) Unwrap() error { return e.kind }

// refuse makes an error of a kind.
func refuse(kind error, format string, args ...any) error {
	return fmt.Errorf("meta: %s (%w)", fmt.Sprintf(format, args...), kind)
}
