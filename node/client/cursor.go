package client

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Cursor says where the reader is: a Read from there goes on with what Next has not
// handed out. It moves over what a filter does not want, too, a little later.
func (r *Reader) Cursor() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cursorNow()
}

// pass hears how far the node is with a read.
func (r *Reader) pass(cursor string) {
	r.mu.Lock()
	if n := len(r.frames); n > 0 && r.frames[n-1].passed != "" {
		r.frames[n-1].passed = cursor // nobody calls Next
	} else if cursor != "" {
		r.frames = append(r.frames, frame{passed: cursor})
	}
	r.mu.Unlock()
	r.signal()
}

// advance moves the cursor to where the node is. The lock is held.
func (r *Reader) advance(cursor string) {
	for part := range strings.SplitSeq(cursor, ",") {
		log, at, ok := strings.Cut(part, ":")
		if !ok {
			continue
		}
		place := r.cursor[log]
		if place == nil {
			place = &logPlace{}
			r.cursor[log] = place
		}
		if next, err := strconv.ParseInt(at, 10, 64); err == nil {
			place.read, place.next = true, max(next, place.next)
		} else if !place.read {
			place.begin = at
		}
	}
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
