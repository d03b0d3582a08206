package meta

// A region may have thousands of streams, and what follows its metadata must not
// look at all of them because one has changed. So the state says which streams have
// changed since somebody last asked, and keeps lists of those that somebody has to do
// something about. Neither is in snapshots: they follow from the records, and from
// when the asker asked.

// historyLength is how many changes are remembered at least. Who asks more seldom
// looks at all streams, which costs about as much as looking at so many.
const historyLength = 4096

// history is which streams have changed, in order. Changes are numbered from 1.
type history struct {
	before uint64 // number of the last change that is not in ids
	ids    []ID
}

func (h *history) last() uint64 { return h.before + uint64(len(h.ids)) }

func (h *history) note(id ID) {
	if len(h.ids) >= 2*historyLength {
		n := copy(h.ids, h.ids[len(h.ids)-historyLength:])
		h.before += uint64(len(h.ids) - n)
		h.ids = h.ids[:n]
	}
	h.ids = append(h.ids, id)
}

// lose forgets all changes: anything may have changed.
func (h *history) lose() { h.before, h.ids = h.last()+1, nil }

// Succeed has the state be asked for changes in another's place, from which any stream
// may differ.
func (s *State) Succeed(was *State) {
	was.mu.RLock()
	last := was.history.last()
	was.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.before = max(s.history.before, last)
	s.history.lose()
}

// ChangedStreams names the streams whose definition, assignment or grave has changed
// since an earlier call, which returned since as now; the first call says 0. A stream
// may be named several times, and may be gone. all means that any may have changed:
// the state was restored, or the earlier call was too many changes ago.
func (s *State) ChangedStreams(since uint64) (ids []ID, now uint64, all bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now = s.history.last()
	if since < s.history.before || since > now {
		return nil, now, true
	}
	return append(ids, s.history.ids[since-s.history.before:]...), now, false
}

// KnownStreams names the streams that the region owns or has an assignment of, each
// once, in no order.
func (s *State) KnownStreams() []ID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ids := make([]ID, 0, max(len(s.streams), len(s.assignments)))
	for id := range s.streams {
		ids = append(ids, id)
	}
	for id := range s.assignments {
		if _, own := s.streams[id]; !own {
			ids = append(ids, id)
		}
	}
	return ids
}

// Unassigned lists the streams that the region owns and is to keep, and has not given
// partitions yet, by UUID. It costs as much as they are many.
func (s *State) Unassigned() []Stream {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return byID(s.unassigned)
}

// Deleted lists the streams that the region owns and that are deleted and not purged,
// by UUID. It costs as much as they are many.
func (s *State) Deleted() []Stream {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return byID(s.deleted)
}

// putStream makes or replaces the record of a stream that the region owns.
func (s *State) putStream(d Stream) {
	s.streams[d.UUID] = d
	s.changed(d.UUID)
}

// putAssignment makes or replaces a record.
func (s *State) putAssignment(a Assignment) {
	s.assignments[a.Stream] = a
	s.changed(a.Stream)
}

// changed notes that a stream's records are others now, and derives from them what is
// due for it.
func (s *State) changed(id ID) {
	s.history.note(id)
	s.derive(id)
}

func (s *State) derive(id ID) {
	delete(s.unassigned, id)
	delete(s.deleted, id)
	d, own := s.streams[id]
	_, assigned := s.assignments[id]
	switch {
	case !own:
	case d.Tombstone != nil:
		s.deleted[id] = d
	case !assigned && d.KeptIn(s.region):
		s.unassigned[id] = d
	}
}
