package replication

import (
	"errors"

	"github.com/skeinmesh/skein/replication/meta"
)

// Learn tells which streams of other regions are new or have changed. Those that are
// to be kept here, too, get their partitions from whoever leads the region's metadata.
func (r *Member) Learn(streams []meta.Stream) {
	if len(streams) == 0 {
		return
	}
	r.mu.Lock()
	for _, s := range streams {
		if was, known := r.foreign[s.UUID]; !known || s.Newer(was) {
			r.foreign[s.UUID] = s
		}
	}
	r.mu.Unlock()
	r.poke()
}

// adopt brings the metadata up to what other regions say of their streams. What it
// has done is not looked at again.
func (r *Member) adopt() {
	r.mu.Lock()
	due := make([]meta.Stream, 0, len(r.foreign))
	for _, s := range r.foreign {
		due = append(due, s)
	}
	r.mu.Unlock()
	for _, s := range due {
		if err := r.adoptStream(&s); err != nil {
			r.log.Debug("a stream of another region was not taken over", "stream", s.Name, "owner", s.Owner, "err", err)
			if meta.Code(err) == "" {
				return // nobody decides now
			}
			if errors.Is(err, meta.ErrLimit) {
				return // there is room for none
			}
			continue // it is refused: others may not be
		}
		r.mu.Lock()
		if now := r.foreign[s.UUID]; !now.Newer(s) {
			delete(r.foreign, s.UUID)
		}
		r.mu.Unlock()
	}
}

func (r *Member) adoptStream(s *meta.Stream) error {
	a, assigned := r.meta.state().Assignment(s.UUID)
	switch {
	case !assigned && s.Tombstone != nil:
	case !assigned && !s.KeptIn(r.cfg.Self.Region):
		return r.command(&meta.AssignStream{Stream: s.UUID, Foreign: s}) // to be remembered
	case !assigned && !r.enough():
		return ErrNoLeader
	case !assigned:
		return r.assignStream(s, s)
	case a.Foreign != nil && s.Newer(*a.Foreign):
		return r.command(&meta.LearnStream{Stream: *s})
	}
	return nil
}
