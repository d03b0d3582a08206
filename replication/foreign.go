package replication

import (
	"slices"

	"github.com/skeinmesh/skein/replication/meta"
)

// Learn tells which streams other regions own. Those that are to be kept here, too,
// get their partitions from whoever leads the region's metadata.
func (r *Member) Learn(streams map[meta.ID]meta.Stream) {
	r.mu.Lock()
	r.foreign = streams
	r.mu.Unlock()
	r.poke()
}

// keptHere reports whether a stream's events that are published in a region are
// kept in it.
func keptHere(s *meta.Stream, region string) bool {
	home, regions, err := meta.ParsePlacement(s.Placement)
	return err == nil && (!home && len(regions) == 0 || slices.Contains(regions, region))
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
		case !keptHere(&s, r.cfg.Self.Region):
		case !assigned && s.Tombstone == nil:
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
