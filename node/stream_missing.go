package node

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// MissingError says which of the regions that keep a stream cannot be read now. What
// they keep is not lost.
type MissingError struct {
	Stream  string   `json:"stream"`
	Regions []string `json:"regions"` // sorted; empty once all are read again
	Err     error    `json:"-"`       // why, of one of them at least; nil once all are read again
}

func (e *MissingError) Error() string {
	if len(e.Regions) == 0 {
		return fmt.Sprintf("stream %s: all regions that keep it are read again", e.Stream)
	}
	return fmt.Sprintf("stream %s: missing %s: out of reach now; what is kept there is not lost", e.Stream, strings.Join(e.Regions, ", "))
}

// Unwrap makes every such error an ErrUnreachable, beside its cause.
func (e *MissingError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrUnreachable}
	}
	return []error{ErrUnreachable, e.Err}
}

// Missing are the regions that are out of reach now, sorted.
func (r *StreamReader) Missing() []string {
	set := maps.Clone(r.absent)
	for _, l := range r.logs {
		if l.lost != nil {
			set[l.region] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// missed has Next tell of regions that are missing, if they are others than before.
func (r *StreamReader) missed() {
	now := r.Missing()
	if slices.Equal(now, r.missing) {
		return
	}
	r.missing = now
	e := &MissingError{Stream: r.stream.Name, Regions: now}
	for _, l := range r.logs {
		e.Err = errors.Join(e.Err, l.lost)
	}
	r.tell = append(r.tell, e)
}
