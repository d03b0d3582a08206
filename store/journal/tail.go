package journal

import "sync"

// tail holds the newest bytes of the journal, so that followers that keep up
// are served from memory. It is a ring over the rounds of all segments, one
// behind the other. All methods may be called concurrently.
type tail struct {
	mu   sync.RWMutex // guards the fields below
	ring []byte       // made at the first round
	size int
	end  int64 // bytes that ever came in
	// bases say where in those bytes a segment would begin, newest last.
	bases []base
}

// base is where a segment's first byte would be among the bytes of a tail, and
// from where on there are bytes of it.
type base struct {
	segment  uint32
	at, from int64
}

// add takes in a round that was written to a segment at this offset.
func (t *tail) add(segment uint32, at int64, round []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size == 0 {
		return
	}
	if t.ring == nil {
		t.ring = make([]byte, t.size)
	}
	if n := len(t.bases); n == 0 || t.bases[n-1].segment != segment || t.bases[n-1].at+at != t.end {
		t.bases = append(t.bases, base{segment, t.end - at, t.end})
		// Keep one base that begins before the ring does, and all after it.
		for len(t.bases) > 1 && t.bases[1].from <= t.end-int64(t.size) {
			t.bases = append(t.bases[:0], t.bases[1:]...)
		}
	}
	if skip := len(round) - t.size; skip > 0 {
		round = round[skip:]
		t.end += int64(skip)
	}
	n := copy(t.ring[t.end%int64(t.size):], round)
	copy(t.ring, round[n:])
	t.end += int64(len(round))
}

// read copies what lies in a segment at this offset, if it is held.
func (t *tail) read(segment uint32, at int64, to []byte) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i := len(t.bases) - 1; i >= 0; i-- {
		b := t.bases[i]
		if b.segment != segment {
			continue
		}
		from, limit := b.at+at, t.end
		if i+1 < len(t.bases) {
			limit = t.bases[i+1].from
		}
		if from < b.from || from < t.end-int64(t.size) || from+int64(len(to)) > limit {
			return false
		}
		n := copy(to, t.ring[from%int64(t.size):])
		copy(to[n:], t.ring)
		return true
	}
	return false
}
