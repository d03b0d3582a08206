package replication

import "github.com/skeinmesh/skein/replication/meta"

// Learn tells which streams other regions own. Those that are to be kept here, too,
// get their partitions from whoever leads the region's metadata.
func (r *Member) Learn(streams map[meta.ID]meta.Stream) {
	r.mu.Lock()
	r.foreign = streams
	r.mu.Unlock()
	r.poke()
}

// adopt brings the metadata up to what other regions say of their streams.
func (r *Member) adopt() {
	r.mu.Lock()
	foreign := r.foreign
	r.mu.Unlock()
	for id, s := range foreign {
		a, assigned := r.meta.state.Assignment(id)
		var err error
		switch {
		case !assigned && s.Tombstone != nil:
		case !assigned && !s.KeptIn(r.cfg.Self.Region):
			err = r.command(&meta.AssignStream{Stream: id, Foreign: &s}) // to be remembered
		case !assigned:
			if r.enough() {
				err = r.assignStream(&s, &s)
			}
		case assigned && a.Foreign != nil && s.Newer(*a.Foreign):
			err = r.command(&meta.LearnStream{Stream: s})
		}
		if err != nil {
			r.log.Debug("a stream of another region was not taken over", "stream", s.Name, "owner", s.Owner, "err", err)
			return
		}
	}
}
