package partition

import "sync"

// haste has a replica that is fetched at a bounded pace catch up with a log that
// grows faster than that. The leader keeps entries for a while only: a replica that
// has a snapshot, and finds that the entries after it are gone, gets the next
// snapshot, and so on, until less is written meanwhile than the leader has entries
// of. If it grows by more than half of what is fetched, each time, that takes long
// or never comes: then the pace is doubled. The zero value is ready.
type haste struct {
	mu        sync.Mutex      // guards the fields below
	ends      map[LogID]int64 // of the last snapshot's logs; nil if there was none
	fetched   int64           // since it came
	doublings uint
}

// maxHaste bounds how often the pace is doubled: beyond that there is none.
const maxHaste = 10

// next says how often the pace is to be doubled for a snapshot. What counts is what was
// written since the one before: retention may have taken as much at the other end.
func (h *haste) next(s *state) uint {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ends != nil && s.beyond(h.ends) > h.fetched/2 {
		h.doublings = min(h.doublings+1, maxHaste)
	}
	h.ends, h.fetched = s.ends(), 0
	return h.doublings
}

// note counts what was fetched.
func (h *haste) note(bytes int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fetched += int64(bytes)
}

// over says that the replica goes by entries: the next time it begins anew.
func (h *haste) over() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends, h.fetched, h.doublings = nil, 0, 0
}
