package client

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Cursor says where the reader is: a Read from there goes on with what Next has not
// handed out.
func (r *Reader) Cursor() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cursorNow()
}

// cursorNow is Cursor with the lock held.
func (r *Reader) cursorNow() string {
	var parts []string
	for _, log := range slices.Sorted(maps.Keys(r.cursor)) {
		at := r.cursor[log]
		if at.read {
			parts = append(parts, fmt.Sprintf("%s:%d", log, at.next))
		} else if at.begin != "" {
			parts = append(parts, log+":"+at.begin)
		}
	}
	return strings.Join(parts, ",")
}
