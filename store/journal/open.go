package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/skeinmesh/skein/store"
)

// Open opens the journal of a directory, or begins one there. It reads all of
// it. Groups that lost something say so when they are used; the error is
// ErrCorrupt only if nothing can be read at all, ErrForeign or ErrNewer if the
// journal is not this node's to write: then nothing was changed.
//
// Nothing here keeps two processes from opening the same directory: who has a
// data directory locks it.
//
// A disk without room for a new segment lets the journal be read, and refuses
// changes with ErrFull until there is room.
func Open(cfg Config) (*Journal, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := newJournal(cfg)
	if err := j.open(); err != nil {
		j.segs.close()
		return nil, fmt.Errorf("journal: open %s: %w", cfg.Dir, err)
	}
	j.signalRecycle()
	j.wg.Go(j.write)
	j.wg.Go(j.recycleSegments)
	return j, nil
}

// newJournal makes a journal that is not open.
func newJournal(cfg Config) *Journal {
	return &Journal{
		cfg:     cfg,
		tail:    tail{size: cfg.CacheBytes},
		wake:    make(chan struct{}, 1),
		recycle: make(chan struct{}, 1),
		stop:    make(chan struct{}),
		groups:  make(map[ID]*Group),
	}
}

// open recovers what there is and begins a segment.
func (j *Journal) open() error {
	fs := j.cfg.FS
	r, err := recoverFrom(fs, j.cfg.Dir, &header{mesh: j.cfg.Mesh, node: j.cfg.Node}, nil)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := fs.MkdirAll(j.cfg.Dir); err != nil {
			return err
		}
		fallthrough
	case errors.Is(err, errNone):
		r = &recovery{}
	case err != nil:
		return err
	}
	if r.unfinished != nil {
		r.unfinished.file.Close()
		if err := fs.Remove(filepath.Join(j.cfg.Dir, r.unfinished.name)); err != nil {
			return err
		}
		if err := fs.SyncDir(j.cfg.Dir); err != nil {
			return err
		}
	}
	if err := j.revive(r); err != nil {
		return err
	}
	seg, limit, err := j.create(j.w.last+1, j.w.before, 0)
	switch {
	case errors.Is(err, store.ErrFull) && len(r.files) > 0:
		return nil // it can be read
	case err != nil:
		return err
	}
	if n := len(r.files); n > 0 {
		// What was reserved, or torn, goes. Not synced: the new segment says
		// where the old one ends.
		r.files[n-1].file.Truncate(j.w.before)
	}
	j.adopt(seg, limit)
	return nil
}

// revive takes over what was recovered.
func (j *Journal) revive(r *recovery) error {
	j.salt = r.salt
	if len(r.files) == 0 {
		var b [4]byte
		rand.Read(b[:])
		j.salt = binary.LittleEndian.Uint32(b[:])
	}
	live := make(map[uint32]int)
	for id, was := range r.groups {
		g := newGroup(j, id)
		g.state = was.state
		if lost := was.damage(); lost != nil {
			g.err = lost
		}
		g.release(0, g.places.count, func(segment uint32, n int) { live[segment] += n })
		j.groups[id] = g
	}
	j.doubt = r.doubt
	for _, f := range r.files {
		j.segs.add(&segment{
			sequence: f.sequence, name: f.name, file: f.file,
			end: f.end, live: live[uint32(f.sequence)],
		})
		j.w.last, j.w.before = f.sequence, f.end
	}
	j.w.number = r.number
	return nil
}
