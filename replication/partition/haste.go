package partition

import "sync"

// haste has a replica that is fetched at a bounded pace catch up with a log that
// grows faster than that. The leader keeps entries for a while only: a replica that
// has a snapshot, and finds that the entries after it are gone, gets the next
// snapshot, and so on, until less is written meanwhile than the leader has entries
// of. If it grows by more than half of what is fetched, each time, that takes long
// or never comes: then the pace is doubled. The zero value is ready.
type haste struct {
	mu        sync.Mutex // guards the fields below
	bytes     int64      // that the last snapshot stood for
	fetched   int64      // since it came
	doublings uint
}

// maxHaste bounds how often the pace is doubled: beyond that there is none.
const maxHaste = 10

// next says how often the pace is to be doubled for what a snapshot lacks that
// stands for so many bytes.
func (h *haste) next(bytes int64) uint {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bytes > 0 && bytes-h.bytes > h.fetched/2 {
		h.doublings = min(h.doublings+1, maxHaste)
	}
	h.bytes, h.fetched = bytes, 0
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
	h.bytes, h.fetched, h.doublings = 0, 0, 0
}
